/* Texts and globals, each of them once; what leaf opcodes hold. */
#include "survey_parts.h"

#include "core/block_hash.h"

/* \UXXXXXXXX */
#define ESCAPE_BYTES 10

/* --- leaves -------------------------------------------------------------- */

/* How an opcode's length is written; 0: it has none. */
static unsigned
width_of(unsigned char opcode)
{
    static const unsigned char widths[256] = {
        [OP_SHORT_BINUNICODE] = 1, [OP_SHORT_BINBYTES] = 1,
        [OP_SHORT_BINSTRING] = 1,  [OP_BINUNICODE] = 4,
        [OP_BINBYTES] = 4,         [OP_BINSTRING] = 4,
        [OP_BINUNICODE8] = 8,      [OP_BINBYTES8] = 8,
        [OP_BYTEARRAY8] = 8,
    };

    return widths[opcode];
}

int
fp_leaf_at(const fp_survey *survey, uint64_t place, fp_leaf_bytes *leaf)
{
    uint64_t n_left;
    const unsigned char *opcode = fp_opcode_at(survey, place, &n_left);
    unsigned width;

    if (opcode == NULL) {
        return 0;
    }
    leaf->opcode = *opcode;
    width = width_of(*opcode);
    if (width > 0) {
        if (n_left < width) {
            return 0;
        }
        leaf->data = opcode + 1 + width;
        leaf->n_whole = leaf->n_kept = fp_le(opcode + 1, width);
        if (survey->is_cut && leaf->n_whole >= FP_SURVEY_PAYLOAD_BYTES) {
            leaf->n_kept = FP_SURVEY_KEPT_BYTES;
        }
        return leaf->n_kept <= n_left - width;
    }
    if (*opcode == OP_UNICODE || *opcode == OP_STRING) {
        /* Of a long line no more than tells that it is one: it may be asked
         * for again and again. */
        uint64_t n_at_most = FP_SURVEY_PAYLOAD_BYTES;
        const unsigned char *newline =
            memchr(opcode + 1, '\n',
                   (size_t)(n_left < n_at_most ? n_left : n_at_most));
        if (newline == NULL && n_left < n_at_most) {
            return 0;
        }
        leaf->data = opcode + 1;
        leaf->n_whole = leaf->n_kept =
            newline == NULL ? n_at_most : (uint64_t)(newline - opcode - 1);
        return 1;
    }
    return 0;
}

/* --- texts --------------------------------------------------------------- */

static int
grow_table(uint32_t **table, size_t *size, size_t n)
{
    size_t grown_size = *size == 0 ? 64 : *size;
    uint32_t *grown;

    while (n >= grown_size / 4 * 3) {
        grown_size *= 2;
    }
    if (grown_size == *size) {
        return 0;
    }
    grown = PyMem_RawMalloc(grown_size * sizeof(uint32_t));
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(grown, 0xff, grown_size * sizeof(uint32_t)); /* NONE */
    PyMem_RawFree(*table);
    *table = grown;
    *size = grown_size;
    return 1;
}

static const unsigned char *
bytes_of(const fp_survey_run_state *run, uint32_t number)
{
    return run->text_bytes.rows + run->texts.rows[number].offset;
}

static void
put_text(fp_survey_run_state *run, uint32_t number)
{
    size_t mask = run->text_table_size - 1;
    size_t slot = run->texts.rows[number].hash & mask;

    while (run->text_table[slot] != FP_SURVEY_NONE) {
        slot = (slot + 1) & mask;
    }
    run->text_table[slot] = number;
}

/* NONE: not there. */
static uint32_t
find_text(const fp_survey_run_state *run, const void *text, size_t n_bytes,
          uint32_t hash)
{
    size_t mask = run->text_table_size - 1;
    size_t slot = hash & mask;

    if (run->text_table_size == 0) {
        return FP_SURVEY_NONE;
    }
    while (run->text_table[slot] != FP_SURVEY_NONE) {
        const fp_text *known = &run->texts.rows[run->text_table[slot]];
        if (known->hash == hash && known->n_bytes == n_bytes
            && (n_bytes == 0
                || memcmp(run->text_bytes.rows + known->offset, text, n_bytes)
                       == 0))
        {
            return run->text_table[slot];
        }
        slot = (slot + 1) & mask;
    }
    return FP_SURVEY_NONE;
}

/* At most FP_SURVEY_PAYLOAD_BYTES of text. */
int
fp_intern(fp_survey_run_state *run, const void *text, size_t n_bytes,
          uint32_t *number)
{
    uint32_t hash = (uint32_t)fp_xxh3_seeded(text, n_bytes, run->seed);
    int grown;

    *number = find_text(run, text, n_bytes, hash);
    if (*number != FP_SURVEY_NONE) {
        return 0;
    }
    grown = grow_table(&run->text_table, &run->text_table_size, run->texts.n);
    for (size_t i = 0; grown > 0 && i < run->texts.n; i++) {
        put_text(run, (uint32_t)i);
    }
    if (grown < 0 || fp_is_full(run->texts.n) || FP_ROWS_ROOM(run->texts) < 0
        || fp_rows_grow(&run->text_bytes.rows, &run->text_bytes.capacity,
                        run->text_bytes.n + n_bytes + 1, 1)
               < 0)
    {
        return -1;
    }
    run->texts.rows[run->texts.n] =
        (fp_text){run->text_bytes.n, (uint32_t)n_bytes, hash};
    if (n_bytes > 0) {
        memcpy(run->text_bytes.rows + run->text_bytes.n, text, n_bytes);
    }
    run->text_bytes.n += n_bytes;
    *number = (uint32_t)run->texts.n++;
    put_text(run, *number);
    return 0;
}

int
fp_is_text(const fp_survey_run_state *run, uint32_t number, const char *text)
{
    size_t n_bytes = strlen(text);

    return number != FP_SURVEY_NONE
           && run->texts.rows[number].n_bytes == n_bytes
           && memcmp(bytes_of(run, number), text, n_bytes) == 0;
}

const char *
fp_survey_text(const fp_survey *survey, uint32_t text, size_t *n_bytes)
{
    const fp_survey_run_state *run = survey->run;

    *n_bytes = run->texts.rows[text].n_bytes;
    return (const char *)bytes_of(run, text);
}

/* --- names --------------------------------------------------------------- */

int
fp_payload_at(const fp_survey *survey, uint64_t place, size_t *number)
{
    size_t low = 0, high = survey->n_payloads;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (survey->payloads[middle].place < place) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    *number = low;
    return low < survey->n_payloads && survey->payloads[low].place == place;
}

/* A name that no class has: its beginning stands for it, and behind that what
 * tells it from others. */
static int
intern_long(fp_survey_run_state *run, const fp_leaf_bytes *leaf,
            uint32_t *number)
{
    const fp_survey *survey = run->survey;
    unsigned char name[FP_SURVEY_KEPT_BYTES + 40];
    const unsigned char *text = leaf->data;
    size_t n = (size_t)FP_SURVEY_KEPT_BYTES;
    size_t payload;
    uint64_t hash =
        fp_payload_at(survey, (uint64_t)(leaf->data - survey->skeleton),
                      &payload)
            ? survey->payloads[payload].hash
            : fp_xxh3(leaf->data, (size_t)leaf->n_kept);

    if (leaf->opcode == OP_UNICODE) {
        /* Not from the middle of an escape on. */
        int is_valid = 0;
        for (size_t i = n; is_valid == 0 && i > n - ESCAPE_BYTES; i--) {
            if (text[i - 1] != '\\') {
                is_valid = fp_decode_raw_unicode(run, text, i);
            }
        }
        if (is_valid == 0) { /* backslashes */
            is_valid = fp_decode_raw_unicode(run, text, n);
        }
        if (is_valid < 0) {
            return -1;
        }
        text = run->decoded.rows;
        n = run->decoded.n < n ? run->decoded.n : n;
    }
    memcpy(name, text, n);
    n = fp_whole_characters(text, n);
    n += (size_t)PyOS_snprintf((char *)name + n, sizeof(name) - n,
                               "...(%016llx)", (unsigned long long)hash);
    return fp_intern(run, name, n, number);
}

int
fp_intern_literal(fp_survey_run_state *run, uint64_t place, uint32_t *number)
{
    fp_leaf_bytes leaf;

    *number = FP_SURVEY_NONE;
    if (!fp_leaf_at(run->survey, place, &leaf)
        || leaf.n_whole >= FP_SURVEY_PAYLOAD_BYTES || leaf.opcode == OP_STRING)
    {
        return 0;
    }
    if (leaf.opcode == OP_UNICODE) {
        int is_valid =
            fp_decode_raw_unicode(run, leaf.data, (size_t)leaf.n_kept);
        return is_valid <= 0
                   ? is_valid
                   : fp_intern(run, run->decoded.rows, run->decoded.n, number);
    }
    return fp_intern(run, leaf.data, (size_t)leaf.n_kept, number);
}

/* What was a string in Python 2, where every reader takes it for the same
 * text: ASCII, without escapes. */
static int
plain_old_string(const fp_leaf_bytes *leaf, const unsigned char **text,
                 size_t *n_bytes)
{
    *text = leaf->data;
    *n_bytes = (size_t)leaf->n_kept;
    if (leaf->n_whole >= FP_SURVEY_PAYLOAD_BYTES) {
        return 0;
    }
    if (leaf->opcode == OP_STRING) {
        if (*n_bytes < 2) {
            return 0;
        }
        *text += 1;
        *n_bytes -= 2;
        if (memchr(*text, '\\', *n_bytes) != NULL) {
            return 0;
        }
    }
    return fp_is_short_ascii(*text, *n_bytes);
}

int
fp_intern_old_literal(fp_survey_run_state *run, uint64_t place,
                      uint32_t *number)
{
    fp_leaf_bytes leaf;
    const unsigned char *text;
    size_t n_bytes;

    if (fp_leaf_at(run->survey, place, &leaf)
        && (leaf.opcode == OP_STRING || leaf.opcode == OP_BINSTRING
            || leaf.opcode == OP_SHORT_BINSTRING))
    {
        *number = FP_SURVEY_NONE;
        return plain_old_string(&leaf, &text, &n_bytes)
                   ? fp_intern(run, text, n_bytes, number)
                   : 0;
    }
    return fp_intern_literal(run, place, number);
}

/* The text of a value that is to be a name; NONE with COMPUTED where only a
 * load could tell. */
static int
name_of(fp_survey_run_state *run, const fp_value *value, uint32_t *number,
        unsigned *flags)
{
    unsigned its_flags = fp_flags_of(value->head);
    uint64_t place =
        its_flags & FP_HAS_ORIGIN ? value->origin : fp_place_of(value->head);
    fp_leaf_bytes leaf;
    const unsigned char *text;
    size_t n_bytes;

    *number = FP_SURVEY_NONE;
    switch (fp_kind_of(value->head)) {
    case FP_VALUE_STR:
        if (!fp_leaf_at(run->survey, place, &leaf)) {
            break; /* from a blob */
        }
        if (leaf.n_whole >= FP_SURVEY_PAYLOAD_BYTES) {
            *flags |= FP_GLOBAL_LONG;
            return intern_long(run, &leaf, number);
        }
        return fp_intern_literal(run, place, number);
    case FP_VALUE_OLD_STR:
        *flags |= FP_GLOBAL_COMPUTED;
        /* A GET of one says nothing here, and stays unknown. */
        return fp_leaf_at(run->survey, place, &leaf)
                       && plain_old_string(&leaf, &text, &n_bytes)
                   ? fp_intern(run, text, n_bytes, number)
                   : 0;
    case FP_VALUE_INSTANCE:
    case FP_VALUE_GLOBAL:
    case FP_VALUE_PERSISTENT:
        break;
    default:
        return fp_survey_refuse(run, "STACK_GLOBAL requires str");
    }
    *flags |= FP_GLOBAL_COMPUTED | FP_GLOBAL_UNKNOWN;
    return 0;
}

/* --- globals ------------------------------------------------------------- */

static uint32_t
hash_of_pair(const fp_survey_run_state *run, uint32_t module, uint32_t name,
             unsigned flags)
{
    uint64_t pair = (uint64_t)module << 32 | name;

    return (uint32_t)fp_xxh3_seeded(&pair, sizeof(pair), run->seed + flags);
}

static int
is_numpy_part(const fp_survey_run_state *run, uint32_t module,
              const char *part)
{
    const char *data = (const char *)bytes_of(run, module);
    size_t n_bytes = run->texts.rows[module].n_bytes;
    size_t n_part = strlen(part);
    size_t n_core = n_bytes >= 11 && memcmp(data, "numpy._core", 11) == 0  ? 11
                    : n_bytes >= 10 && memcmp(data, "numpy.core", 10) == 0 ? 10
                                                                           : 0;

    return n_core > 0 && n_bytes == n_core + n_part
           && memcmp(data + n_core, part, n_part) == 0;
}

static uint8_t
role_of(const fp_survey_run_state *run, uint32_t module, uint32_t name,
        unsigned flags)
{
    if (module == FP_SURVEY_NONE || name == FP_SURVEY_NONE
        || flags & (FP_GLOBAL_COMPUTED | FP_GLOBAL_EXTENSION | FP_GLOBAL_LONG))
    {
        return FP_ROLE_NONE;
    }
    if (fp_is_text(run, module, "numpy")) {
        return fp_is_text(run, name, "ndarray") ? FP_ROLE_NDARRAY
               : fp_is_text(run, name, "dtype") ? FP_ROLE_DTYPE
                                                : FP_ROLE_NONE;
    }
    if (fp_is_text(run, module, "copyreg")
        || fp_is_text(run, module, "copy_reg"))
    {
        return fp_is_text(run, name, "_reconstructor")
                       || fp_is_text(run, name, "__newobj__")
                       || fp_is_text(run, name, "__newobj_ex__")
                   ? FP_ROLE_MAKER
                   : FP_ROLE_NONE;
    }
    if (is_numpy_part(run, module, ".numeric")) {
        return fp_is_text(run, name, "_frombuffer") ? FP_ROLE_FROMBUFFER
                                                    : FP_ROLE_NONE;
    }
    if (is_numpy_part(run, module, ".multiarray")) {
        return fp_is_text(run, name, "_reconstruct") ? FP_ROLE_RECONSTRUCT
                                                     : FP_ROLE_NONE;
    }
    if (fp_is_text(run, module, "_codecs")) {
        return fp_is_text(run, name, "encode") ? FP_ROLE_ENCODE : FP_ROLE_NONE;
    }
    if (fp_is_text(run, name, "NumpyArrayWrapper")
        && (fp_is_text(run, module, "joblib.numpy_pickle")
            || fp_is_text(run, module,
                          "sklearn.externals.joblib.numpy_pickle")))
    {
        return FP_ROLE_WRAPPER;
    }
    return FP_ROLE_NONE;
}

/* Those that make two globals of one name. */
#define TELLING_FLAGS                                                         \
    (FP_GLOBAL_COMPUTED | FP_GLOBAL_UNKNOWN | FP_GLOBAL_RENAMED               \
     | FP_GLOBAL_EXTENSION)

static uint32_t
find_global(const fp_survey_run_state *run, uint32_t module, uint32_t name,
            unsigned flags)
{
    size_t mask = run->global_table_size - 1;
    size_t slot;

    if (run->global_table_size == 0) {
        return FP_SURVEY_NONE;
    }
    flags &= TELLING_FLAGS;
    slot = hash_of_pair(run, module, name, flags) & mask;
    while (run->global_table[slot] != FP_SURVEY_NONE) {
        const fp_survey_global *known =
            &run->survey->globals[run->global_table[slot]];
        if (known->module == module && known->name == name
            && (known->flags & TELLING_FLAGS) == flags)
        {
            return run->global_table[slot];
        }
        slot = (slot + 1) & mask;
    }
    return FP_SURVEY_NONE;
}

static void
put_global(fp_survey_run_state *run, uint32_t number)
{
    const fp_survey_global *global = &run->survey->globals[number];
    size_t mask = run->global_table_size - 1;
    size_t slot = hash_of_pair(run, global->module, global->name,
                               global->flags & TELLING_FLAGS)
                  & mask;

    while (run->global_table[slot] != FP_SURVEY_NONE) {
        slot = (slot + 1) & mask;
    }
    run->global_table[slot] = number;
}

int
fp_intern_global(fp_survey_run_state *run, uint32_t module, uint32_t name,
                 unsigned flags, uint32_t *number)
{
    fp_survey *survey = run->survey;
    size_t n = survey->n_globals;
    int grown;

    if (run->protocol < 3 && !(flags & FP_GLOBAL_EXTENSION)) {
        flags |= FP_GLOBAL_RENAMED;
    }
    *number = find_global(run, module, name, flags);
    if (*number != FP_SURVEY_NONE) {
        return 0;
    }
    grown = grow_table(&run->global_table, &run->global_table_size, n);
    for (size_t i = 0; grown > 0 && i < n; i++) {
        put_global(run, (uint32_t)i);
    }
    if (grown < 0 || fp_is_full(n)
        || fp_rows_grow(&survey->globals, &run->globals_capacity, n + 1,
                        sizeof(fp_survey_global))
               < 0)
    {
        return -1;
    }
    survey->globals[n] = (fp_survey_global){
        .module = module,
        .name = name,
        .first_node = FP_SURVEY_NONE,
        .flags = (uint8_t)flags,
        .role = role_of(run, module, name, flags),
    };
    survey->n_globals = n + 1;
    *number = (uint32_t)n;
    put_global(run, *number);
    return 0;
}

void
fp_use(fp_survey_run_state *run, uint32_t *count)
{
    (void)run;
    if (*count < UINT32_MAX) {
        ++*count;
    }
}

int
fp_stack_global(fp_survey_run_state *run, uint64_t place)
{
    fp_value *values, global;
    uint32_t module, name, number;
    unsigned flags = 0;

    if (fp_height(run) < run->fence + 2) {
        return fp_value_underflow(run);
    }
    values = run->top - 2;
    if (name_of(run, &values[0], &module, &flags) < 0
        || name_of(run, &values[1], &name, &flags) < 0
        || fp_intern_global(run, module, name, flags, &number) < 0)
    {
        return -1;
    }
    if (flags & FP_GLOBAL_COMPUTED) {
        fp_odd(run, FP_ODD_COMPUTED_NAME, place);
    }
    if (flags & FP_GLOBAL_LONG) {
        fp_odd(run, FP_ODD_LONG_NAME, place);
    }
    global.head =
        fp_place_of(values[0].head) | FP_HEAD(FP_VALUE_GLOBAL, FP_IS_NOTABLE);
    global.tail = FP_NO_TAIL | (uint64_t)number << 32;
    /* What a computed name is computed from hangs on the global. */
    if (fp_take_values(run, &global, values, 2, FP_STEP_INDEX, 0, place) < 0) {
        return -1;
    }
    values[0] = global;
    run->top = values + 1;
    return 0;
}

int
fp_find_known_global(fp_survey_run_state *run, uint64_t module_place,
                     uint64_t name_place, uint32_t *number)
{
    uint32_t module, name;

    *number = FP_SURVEY_NONE;
    if (fp_intern_literal(run, module_place, &module) < 0
        || fp_intern_literal(run, name_place, &name) < 0)
    {
        return -1;
    }
    *number = find_global(run, module, name,
                          run->protocol < 3 ? FP_GLOBAL_RENAMED : 0);
    return 0;
}

int
fp_find_known_lines(fp_survey_run_state *run, const unsigned char *module,
                    size_t n_module, const unsigned char *name, size_t n_name,
                    uint32_t *number)
{
    uint32_t texts[2];

    *number = FP_SURVEY_NONE;
    if (n_module >= FP_SURVEY_PAYLOAD_BYTES
        || n_name >= FP_SURVEY_PAYLOAD_BYTES)
    {
        return 0;
    }
    if (fp_intern(run, module, n_module, &texts[0]) < 0
        || fp_intern(run, name, n_name, &texts[1]) < 0)
    {
        return -1;
    }
    *number = find_global(run, texts[0], texts[1],
                          run->protocol < 3 ? FP_GLOBAL_RENAMED : 0);
    return 0;
}

/* Two lines. GLOBAL has UTF-8, INST ASCII. */
int
fp_global_of_lines(fp_survey_run_state *run, int is_ascii, uint32_t *number)
{
    uint32_t texts[2];
    unsigned flags = 0;

    for (int i = 0; i < 2; i++) {
        uint64_t line, n_bytes;
        const unsigned char *text;
        if (fp_source_line(run, &line, &n_bytes) < 0) {
            return -1;
        }
        text = run->survey->skeleton + line;
        if (n_bytes == 0) {
            return fp_survey_refuse(run, "pickle data was truncated");
        }
        if (is_ascii ? !fp_is_short_ascii(text, (size_t)n_bytes)
                     : !fp_is_utf8(text, (size_t)n_bytes, 0))
        {
            return fp_survey_refuse(run, is_ascii
                                             ? "a name that is not ASCII"
                                             : "a name that is not UTF-8");
        }
        if (n_bytes >= FP_SURVEY_PAYLOAD_BYTES) {
            fp_leaf_bytes leaf = {
                .data = text, .n_kept = n_bytes, .n_whole = n_bytes};
            flags |= FP_GLOBAL_LONG;
            fp_odd(run, FP_ODD_LONG_NAME, line);
            if (intern_long(run, &leaf, &texts[i]) < 0) {
                return -1;
            }
        }
        else if (fp_intern(run, text, (size_t)n_bytes, &texts[i]) < 0) {
            return -1;
        }
    }
    return fp_intern_global(run, texts[0], texts[1], flags, number);
}
