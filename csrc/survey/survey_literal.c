/* A piece of the skeleton, parsed again as a literal: the arguments of a call or
 * a state, of which the stack has kept no more than where it begins.
 *
 * The opcodes were all run before, so what they take from the stack is there;
 * but the piece may have been fetched from the memo, and be asked for again and
 * again. So all literals together may take so many steps, and keep so much, as
 * the file has paid for with its length so far.
 */
#include "survey_parts.h"

/* Steps: so many, and so many for each byte. */
#define FREE_STEPS     ((uint64_t)1 << 20)
#define STEPS_PER_BYTE 32
#define BYTES_PER_STEP 64
#define STEPS_PER_NAME 64 /* may be as long as a payload */
/* Tuples from the memo in tuples from the memo ... */
#define MAX_DEPTH 16

static const uint8_t arguments[256] = {
#define X(name, code, argument, protocol, pops, pushes)                       \
    [code] = FP_ARGUMENT_##argument,
    FP_OPCODES(X)
#undef X
};

/* --- opcodes ------------------------------------------------------------- */

static int parse(fp_survey_run_state *run, uint64_t start, uint64_t end,
                 int depth);

/* A short decimal number, perhaps with an L behind. */
static int
plain_number(const unsigned char *line, size_t n_bytes, int64_t *number)
{
    size_t i = n_bytes > 0 && line[0] == '-';

    if (n_bytes > 0 && line[n_bytes - 1] == 'L') {
        n_bytes--;
    }
    if (i >= n_bytes || n_bytes > 18) {
        return 0;
    }
    *number = 0;
    for (; i < n_bytes; i++) {
        if (line[i] < '0' || line[i] > '9') {
            return 0;
        }
        *number = *number * 10 + (line[i] - '0');
    }
    if (line[0] == '-') {
        *number = -*number;
    }
    return 1;
}

static int
push_line(fp_survey_run_state *run, unsigned char opcode,
          const unsigned char *line, size_t n_bytes)
{
    int64_t number;

    if (!plain_number(line, n_bytes, &number)) {
        return fp_pile_other(run);
    }
    return fp_pile_number(run,
                          opcode == OP_INT && n_bytes == 2 && line[0] == '0'
                              ? FP_LITERAL_BOOL
                              : FP_LITERAL_INT,
                          number);
}

static int
push_long(fp_survey_run_state *run, const unsigned char *bytes, uint64_t n)
{
    uint64_t bits;

    if (n > 8) {
        return fp_pile_other(run);
    }
    bits = fp_le(bytes, (size_t)n);
    if (n > 0 && n < 8 && bytes[n - 1] & 0x80) {
        bits |= UINT64_MAX << (8 * n);
    }
    return fp_pile_number(run, FP_LITERAL_INT, (int64_t)bits);
}

static int
push_real(fp_survey_run_state *run, const unsigned char *bytes)
{
    fp_literal literal = {.kind = FP_LITERAL_FLOAT};
    uint64_t bits = 0;

    for (int i = 0; i < 8; i++) {
        bits = bits << 8 | bytes[i];
    }
    memcpy(&literal.u.real, &bits, 8);
    return fp_pile_push(run, literal);
}

/* The number of the row that says a place; rows ascend by it. */
static int
find_place(const uint64_t *first, size_t n, size_t stride, uint64_t place,
           size_t *number)
{
    const char *rows = (const char *)first;
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint64_t its_place;
        memcpy(&its_place, rows + middle * stride, sizeof(its_place));
        if (its_place < place) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    *number = low;
    if (low < n) {
        uint64_t its_place;
        memcpy(&its_place, rows + low * stride, sizeof(its_place));
        return its_place == place;
    }
    return 0;
}

static int
push_fetched(fp_survey_run_state *run, uint64_t number, int depth)
{
    const fp_remembered *entry = fp_recall(&run->memo, number);
    uint64_t place;

    if (entry == NULL || fp_flags_of(entry->head) & FP_WAS_REPLACED) {
        return FP_NO_LITERAL;
    }
    place = fp_place_of(entry->head);
    switch (fp_kind_of(entry->head)) {
    case FP_VALUE_STR:
        return fp_pile_place(run, FP_LITERAL_STR, entry->origin);
    case FP_VALUE_GLOBAL:
        return fp_pile_number(run, FP_LITERAL_GLOBAL, entry->what);
    case FP_VALUE_DTYPE:
        return fp_pile_number(run, FP_LITERAL_DTYPE, entry->what);
    case FP_VALUE_BLOB:
        return fp_pile_number(run, FP_LITERAL_BLOB, entry->what);
    case FP_VALUE_BUFFER:
        return fp_pile_number(run, FP_LITERAL_BUFFER, entry->what);
    case FP_VALUE_NONE:
        return fp_pile_number(run, FP_LITERAL_NONE, 0);
    case FP_VALUE_BOOL:
    case FP_VALUE_INT:
    case FP_VALUE_FLOAT:
    case FP_VALUE_BYTES:
    case FP_VALUE_BYTEARRAY:
    case FP_VALUE_OLD_STR:
    case FP_VALUE_TUPLE:
    case FP_VALUE_INSTANCE: /* perhaps bytes, encoded */
        return entry->length == UINT32_MAX || depth >= MAX_DEPTH
                   ? fp_pile_other(run)
                   : parse(run, place, place + entry->length, depth + 1);
    case FP_VALUE_DICT: /* more may be put into it */
        return fp_pile_push(
            run, (fp_literal){.kind = FP_LITERAL_OTHER, .n = FP_PILE_DICT});
    default: /* what may have changed since */
        return fp_pile_other(run);
    }
}

static int
push_global(fp_survey_run_state *run, uint32_t number)
{
    return number == FP_SURVEY_NONE
               ? fp_pile_other(run)
               : fp_pile_number(run, FP_LITERAL_GLOBAL, number);
}

static int
do_stack_global(fp_survey_run_state *run, size_t base)
{
    const fp_literal *names;
    uint32_t number = FP_SURVEY_NONE;

    if (run->pile.n - base < 2) {
        return FP_NO_LITERAL;
    }
    names = run->pile.rows + run->pile.n - 2;
    if (names[0].kind == FP_LITERAL_STR && names[1].kind == FP_LITERAL_STR
        && fp_find_known_global(run, names[0].u.place, names[1].u.place,
                                &number)
               < 0)
    {
        return -1;
    }
    run->pile.n -= 2;
    run->n_steps += STEPS_PER_NAME;
    return push_global(run, number);
}

static int
do_reduce(fp_survey_run_state *run, size_t base, uint64_t place)
{
    const fp_survey *survey = run->survey;
    const fp_literal *callable, *args;
    int role = FP_ROLE_NONE;
    size_t number;

    if (run->pile.n - base < 2) {
        return FP_NO_LITERAL;
    }
    callable = run->pile.rows + run->pile.n - 2;
    args = callable + 1;
    if (callable->kind == FP_LITERAL_GLOBAL) {
        role = survey->globals[callable->u.number].role;
    }
    run->pile.n -= 2;
    if (role == FP_ROLE_DTYPE && survey->n_dtypes > 0
        && find_place(&survey->dtypes->place, survey->n_dtypes,
                      sizeof(fp_survey_dtype), place, &number))
    {
        return fp_pile_number(run, FP_LITERAL_DTYPE, (int64_t)number);
    }
    if (role == FP_ROLE_ENCODE && args->kind == FP_LITERAL_TUPLE
        && args->n == 2 && fp_literal_parts(run, args)->kind == FP_LITERAL_STR)
    {
        return fp_pile_place(run, FP_LITERAL_ENCODED,
                             fp_literal_parts(run, args)->u.place);
    }
    return fp_pile_other(run);
}

/* Bytes behind a BUILD that are no opcodes. */
static uint64_t
behind_foreign(const fp_survey_run_state *run, uint64_t place)
{
    size_t number;

    return run->foreign.n > 0
                   && find_place(&run->foreign.rows->start, run->foreign.n,
                                 sizeof(fp_foreign_bytes), place, &number)
               ? run->foreign.rows[number].end
               : place;
}

/* An opcode that makes something of what it takes, none of it a literal. */
static int
make_other(fp_survey_run_state *run, size_t base, size_t n, int to_mark)
{
    int status = FP_PARSED;

    if (to_mark) {
        status = fp_pile_above_mark(run, base, &n);
        n++;
    }
    if (status == FP_PARSED) {
        status = fp_pile_drop(run, base, n);
    }
    return status == FP_PARSED ? fp_pile_other(run) : status;
}

/* --- the loop ------------------------------------------------------------ */

typedef struct {
    uint64_t place; /* of the opcode */
    unsigned char opcode;
    const unsigned char *argument;
    uint64_t n_argument; /* bytes of it, without its length or newline */
    uint64_t next;
} step;

/* Finds the argument. */
static int
read_step(const fp_survey_run_state *run, uint64_t place, uint64_t end,
          step *out)
{
    const fp_survey *survey = run->survey;
    const unsigned char *newline;
    uint64_t n_left = end - place - 1, n_kept;
    fp_argument argument;
    size_t width;

    out->place = place;
    out->opcode = survey->skeleton[place];
    out->argument = survey->skeleton + place + 1;
    argument = (fp_argument)arguments[out->opcode];
    switch (argument) {
    case FP_ARGUMENT_NONE:
        out->n_argument = 0;
        out->next = place + 1;
        return 1;
    case FP_ARGUMENT_LINE:
    case FP_ARGUMENT_TWO_LINES:
        newline = memchr(out->argument, '\n', (size_t)n_left);
        if (newline != NULL && argument == FP_ARGUMENT_TWO_LINES) {
            newline = memchr(newline + 1, '\n',
                             (size_t)(out->argument + n_left - newline - 1));
        }
        if (newline == NULL) {
            return 0;
        }
        out->n_argument = (uint64_t)(newline - out->argument);
        out->next = place + 2 + out->n_argument;
        return 1;
    default:
        break;
    }
    width = fp_argument_width(argument);
    if (n_left < width) {
        return 0;
    }
    if (argument < FP_ARGUMENT_COUNT_1) {
        out->n_argument = width;
        out->next = place + 1 + width;
        return 1;
    }
    out->n_argument = n_kept = fp_le(out->argument, width);
    out->argument += width;
    if (survey->is_cut && n_kept >= FP_SURVEY_PAYLOAD_BYTES) {
        n_kept = FP_SURVEY_KEPT_BYTES;
    }
    if (n_kept > n_left - width) {
        return 0;
    }
    out->next = place + 1 + width + n_kept;
    return 1;
}

static int
run_step(fp_survey_run_state *run, const step *it, size_t base, int depth)
{
    const unsigned char *argument = it->argument;
    size_t n = (size_t)it->n_argument;
    fp_literal literal = {.kind = FP_LITERAL_OTHER};
    size_t number;
    int64_t index;
    int status;

    switch (it->opcode) {
    case OP_NONE:
        return fp_pile_number(run, FP_LITERAL_NONE, 0);
    case OP_NEWTRUE:
    case OP_NEWFALSE:
        return fp_pile_number(run, FP_LITERAL_BOOL, it->opcode == OP_NEWTRUE);
    case OP_BININT1:
    case OP_BININT2:
        return fp_pile_number(run, FP_LITERAL_INT,
                              (int64_t)fp_le(argument, n));
    case OP_BININT:
        return fp_pile_number(run, FP_LITERAL_INT,
                              (int32_t)(uint32_t)fp_le(argument, 4));
    case OP_LONG1:
    case OP_LONG4:
        return push_long(run, argument, n);
    case OP_INT:
    case OP_LONG:
        return push_line(run, it->opcode, argument, n);
    case OP_BINFLOAT:
        return push_real(run, argument);
    case OP_SHORT_BINUNICODE:
    case OP_BINUNICODE:
    case OP_BINUNICODE8:
    case OP_UNICODE:
    case OP_SHORT_BINSTRING:
    case OP_BINSTRING:
    case OP_STRING:
        return fp_pile_place(run, FP_LITERAL_STR, it->place);
    case OP_SHORT_BINBYTES:
    case OP_BINBYTES:
    case OP_BINBYTES8:
    case OP_BYTEARRAY8:
        return fp_pile_place(run, FP_LITERAL_BYTES, it->place);
    case OP_NEXT_BUFFER:
        return find_place(run->buffers.rows, run->buffers.n, sizeof(uint64_t),
                          it->place, &number)
                   ? fp_pile_number(run, FP_LITERAL_BUFFER, (int64_t)number)
                   : FP_NO_LITERAL;

    case OP_MARK:
        literal.kind = FP_LITERAL_MARK;
        return fp_pile_push(run, literal);
    case OP_EMPTY_TUPLE:
    case OP_TUPLE1:
    case OP_TUPLE2:
    case OP_TUPLE3:
        return fp_pile_tuple(run, base,
                             it->opcode == OP_EMPTY_TUPLE
                                 ? 0
                                 : (size_t)(it->opcode - OP_TUPLE1) + 1,
                             0);
    case OP_TUPLE:
        status = fp_pile_above_mark(run, base, &n);
        return status == FP_PARSED ? fp_pile_tuple(run, base, n, 1) : status;
    case OP_EMPTY_DICT:
        literal.kind = FP_LITERAL_DICT;
        return fp_pile_push(run, literal);
    case OP_DICT:
        status = fp_pile_above_mark(run, base, &n);
        if (status != FP_PARSED) {
            return status;
        }
        run->pile.rows[run->pile.n - n - 1].kind = FP_LITERAL_DICT;
        run->pile.rows[run->pile.n - n - 1].n = 0;
        return fp_pile_items(run, base, n, 0);
    case OP_SETITEM:
        return fp_pile_items(run, base, 2, 0);
    case OP_SETITEMS:
        status = fp_pile_above_mark(run, base, &n);
        return status == FP_PARSED ? fp_pile_items(run, base, n, 1) : status;
    case OP_EMPTY_LIST: /* what is in it is not asked for */
        literal.kind = FP_LITERAL_LIST;
        return fp_pile_push(run, literal);
    case OP_LIST:
        status = fp_pile_above_mark(run, base, &n);
        if (status != FP_PARSED) {
            return status;
        }
        run->pile.n -= n;
        run->pile.rows[run->pile.n - 1].kind = FP_LITERAL_LIST;
        return FP_PARSED;
    case OP_APPEND:
    case OP_POP:
    case OP_BUILD:
        return fp_pile_drop(run, base, 1);
    case OP_APPENDS:
    case OP_ADDITEMS:
    case OP_POP_MARK:
        status = fp_pile_above_mark(run, base, &n);
        return status == FP_PARSED ? fp_pile_drop(run, base, n + 1) : status;
    case OP_DUP:
        return run->pile.n > base
                       && run->pile.rows[run->pile.n - 1].kind
                              != FP_LITERAL_DICT
                   ? fp_pile_push(run, run->pile.rows[run->pile.n - 1])
                   : FP_NO_LITERAL;

    case OP_BINGET:
    case OP_LONG_BINGET:
        return push_fetched(run, fp_le(argument, n), depth);
    case OP_GET:
        return plain_number(argument, n, &index) && index >= 0
                   ? push_fetched(run, (uint64_t)index, depth)
                   : FP_NO_LITERAL;
    case OP_GLOBAL: {
        const unsigned char *newline = memchr(argument, '\n', n);
        uint32_t global;
        size_t n_module = (size_t)(newline - argument);
        if (fp_find_known_lines(run, argument, n_module, newline + 1,
                                n - n_module - 1, &global)
            < 0)
        {
            return -1;
        }
        return push_global(run, global);
    }
    case OP_STACK_GLOBAL:
        return do_stack_global(run, base);
    case OP_REDUCE:
        return do_reduce(run, base, it->place);
    case OP_NEWOBJ:
        return make_other(run, base, 2, 0);
    case OP_NEWOBJ_EX:
        return make_other(run, base, 3, 0);
    case OP_INST:
    case OP_OBJ:
    case OP_FROZENSET:
        return make_other(run, base, 0, 1);
    case OP_BINPERSID:
        return make_other(run, base, 1, 0);
    case OP_FLOAT:
    case OP_EMPTY_SET:
    case OP_PERSID:
    case OP_EXT1:
    case OP_EXT2:
    case OP_EXT4:
        return fp_pile_other(run);
    default: /* PUT and its like, FRAME, PROTO, READONLY_BUFFER */
        return FP_PARSED;
    }
}

/* One literal, onto the pile. */
static int
parse(fp_survey_run_state *run, uint64_t start, uint64_t end, int depth)
{
    size_t base = run->pile.n;
    uint64_t at_most = FREE_STEPS + STEPS_PER_BYTE * run->place;
    step it;

    while (start < end) {
        int status;
        if (++run->n_steps > at_most || !read_step(run, start, end, &it)) {
            return FP_NO_LITERAL;
        }
        run->n_steps += (it.next - start) / BYTES_PER_STEP; /* long lines */
        status = run_step(run, &it, base, depth);
        if (status != FP_PARSED) {
            return status;
        }
        start = it.next;
        if (it.opcode == OP_BUILD) {
            start = behind_foreign(run, start);
        }
    }
    return run->pile.n == base + 1
                   && run->pile.rows[base].kind != FP_LITERAL_MARK
               ? FP_PARSED
               : FP_NO_LITERAL;
}

int
fp_parse_literal(fp_survey_run_state *run, uint64_t start, uint64_t end,
                 const fp_literal **literal)
{
    static const fp_literal other = {.kind = FP_LITERAL_OTHER};
    int status;

    run->pile.n = 0;
    run->parts.n = 0;
    status = parse(run, start, end, 0);
    *literal = status == FP_PARSED ? run->pile.rows : &other;
    return status < 0 ? -1 : 0;
}
