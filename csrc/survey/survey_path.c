/* Paths, and the values of leaf opcodes: what of a survey becomes an object. */
#include "survey_parts.h"

/* Of a path that is cut so many steps are shown. */
#define SHOWN_STEPS 100
/* Of a step that is taken again and again so many are written out. */
#define SHOWN_LEVELS 8
/* Of a key. */
#define SHOWN_CHARACTERS 60

/* --- values -------------------------------------------------------------- */

/* Whole characters only, where the end is cut off. */
static PyObject *
decode(const unsigned char *data, uint64_t n_kept, uint64_t n_whole)
{
    if (n_kept < n_whole) {
        n_kept = fp_whole_characters(data, (size_t)n_kept);
    }
    return PyUnicode_DecodeUTF8((const char *)data, (Py_ssize_t)n_kept,
                                "surrogatepass");
}

static PyObject *
decode_old_string(const fp_leaf_bytes *leaf)
{
    const char *data = (const char *)leaf->data;
    Py_ssize_t n_bytes = (Py_ssize_t)leaf->n_kept;

    if (leaf->opcode == OP_STRING && n_bytes >= 2) {
        return PyBytes_DecodeEscape(data + 1, n_bytes - 2, NULL, 0, NULL);
    }
    return PyBytes_FromStringAndSize(data, n_bytes);
}

PyObject *
fp_survey_value(const fp_survey *survey, uint64_t place, uint64_t *n_whole)
{
    fp_leaf_bytes leaf;

    *n_whole = 0;
    if (!fp_leaf_at(survey, place, &leaf)) {
        return NULL;
    }
    *n_whole = leaf.n_whole;
    switch (leaf.opcode) {
    case OP_SHORT_BINUNICODE:
    case OP_BINUNICODE:
    case OP_BINUNICODE8:
        return decode(leaf.data, leaf.n_kept, leaf.n_whole);
    case OP_UNICODE:
        return PyUnicode_DecodeRawUnicodeEscape(
            (const char *)leaf.data, (Py_ssize_t)leaf.n_kept, "replace");
    case OP_SHORT_BINSTRING:
    case OP_BINSTRING:
    case OP_STRING:
        return decode_old_string(&leaf);
    default:
        return PyBytes_FromStringAndSize((const char *)leaf.data,
                                         (Py_ssize_t)leaf.n_kept);
    }
}

PyObject *
fp_survey_encoded(const fp_survey *survey, uint64_t place)
{
    fp_leaf_bytes leaf;
    PyObject *text, *bytes;

    if (!fp_leaf_at(survey, place, &leaf)) {
        Py_RETURN_NONE;
    }
    if (leaf.opcode == OP_UNICODE) { /* a line is kept, however long it is */
        const unsigned char *end = survey->skeleton + survey->skeleton_bytes;
        const unsigned char *newline =
            memchr(leaf.data, '\n', (size_t)(end - leaf.data));
        if (newline == NULL) {
            Py_RETURN_NONE;
        }
        text = PyUnicode_DecodeRawUnicodeEscape((const char *)leaf.data,
                                                newline - leaf.data, NULL);
    }
    else if (leaf.n_kept < leaf.n_whole
             || (leaf.opcode != OP_SHORT_BINUNICODE
                 && leaf.opcode != OP_BINUNICODE
                 && leaf.opcode != OP_BINUNICODE8))
    {
        Py_RETURN_NONE;
    }
    else {
        text = decode(leaf.data, leaf.n_kept, leaf.n_whole);
    }
    if (text == NULL) {
        return NULL;
    }
    bytes = PyUnicode_AsLatin1String(text);
    Py_DECREF(text);
    if (bytes == NULL && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    return bytes;
}

/* --- steps --------------------------------------------------------------- */

static PyObject *
place_text(const char *format, uint64_t place)
{
    return PyUnicode_FromFormat(format, (unsigned long long)place);
}

/* Above all that 32 bits hold. */
enum {
    KEY_NONE = 1,
    KEY_TRUE,
    KEY_FALSE
};
#define KEY_WORDS (INT64_C(1) << 33)

int
fp_small_number_at(const fp_survey *survey, uint64_t place, int64_t *number)
{
    uint64_t n_left;
    const unsigned char *opcode = fp_opcode_at(survey, place, &n_left);
    size_t width;

    if (opcode == NULL) {
        return 0;
    }
    switch (*opcode) {
    case OP_NONE:
        *number = KEY_WORDS + KEY_NONE;
        return 1;
    case OP_NEWTRUE:
        *number = KEY_WORDS + KEY_TRUE;
        return 1;
    case OP_NEWFALSE:
        *number = KEY_WORDS + KEY_FALSE;
        return 1;
    case OP_BININT1:
        width = 1;
        break;
    case OP_BININT2:
        width = 2;
        break;
    case OP_BININT:
        width = 4;
        break;
    default:
        return 0;
    }
    if (n_left < width) {
        return 0;
    }
    *number = (int64_t)fp_le(opcode + 1, width);
    if (width == 4) {
        *number = (int32_t)(uint32_t)*number;
    }
    return 1;
}

/* A key that is no str: numbers and constants as they are, else its place. */
static PyObject *
other_key(const fp_survey *survey, uint64_t place)
{
    static const char *const words[] = {"", "[None]", "[True]", "[False]"};
    int64_t number;

    if (!fp_small_number_at(survey, place, &number)) {
        return place_text("[@%llu]", place);
    }
    return number > KEY_WORDS
               ? PyUnicode_FromString(words[number - KEY_WORDS])
               : PyUnicode_FromFormat("[%lld]", (long long)number);
}

/* Whether a str is an identifier, short, and no word that means something else
 * in a path. */
static int
is_attribute(PyObject *key)
{
    static const char *const words[] = {
        "args",   "kwargs", "state", "callable",
        "popped", "open",   "flat",  "keys",
    };

    if (!PyUnicode_CheckExact(key)
        || PyUnicode_GET_LENGTH(key) > SHOWN_CHARACTERS
        || PyUnicode_IsIdentifier(key) != 1)
    {
        return 0;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (PyUnicode_CompareWithASCIIString(key, words[i]) == 0) {
            return 0;
        }
    }
    return 1;
}

static PyObject *
key_text(const fp_survey *survey, uint64_t place, int of_state)
{
    uint64_t n_whole;
    fp_leaf_bytes leaf;
    PyObject *key, *shown, *text = NULL;

    if (fp_leaf_at(survey, place, &leaf) && fp_has_escapes(&leaf)) {
        return place_text("[@%llu]", place);
    }
    key = fp_survey_value(survey, place, &n_whole);
    if (key == NULL) {
        return PyErr_Occurred() ? NULL : other_key(survey, place);
    }
    if (of_state && is_attribute(key)) {
        text = PyUnicode_FromFormat(".%U", key);
    }
    else if (PyUnicode_CheckExact(key)) {
        int is_cut = PyUnicode_GET_LENGTH(key) > SHOWN_CHARACTERS
                     || n_whole >= FP_SURVEY_PAYLOAD_BYTES;
        shown = is_cut ? PyUnicode_Substring(key, 0, SHOWN_CHARACTERS)
                       : Py_NewRef(key);
        if (shown != NULL) {
            text = is_cut ? PyUnicode_FromFormat("[%R...@%llu]", shown,
                                                 (unsigned long long)place)
                          : PyUnicode_FromFormat("[%R]", shown);
            Py_DECREF(shown);
        }
    }
    else if (PyBytes_GET_SIZE(key) <= SHOWN_CHARACTERS) {
        text = PyUnicode_FromFormat("[%R]", key);
    }
    else {
        text = place_text("[@%llu]", place);
    }
    Py_DECREF(key);
    return text;
}


/* The node's step. What a reader of the path expects of an instance's state, or
 * of the elements of an array, is put together of several steps: those in front
 * are then left out ("" here, for them). `below` are the nodes on the way down,
 * from this one's child on. */
static PyObject *
step_text(const fp_survey *survey, const fp_survey_node *node,
          const fp_survey_node *const *below, size_t n_below)
{
    uint64_t value = fp_node_step_value(node);
    unsigned long long number = value;
    const fp_survey_node *parent =
        node->parent == FP_SURVEY_NONE ? NULL : &survey->nodes[node->parent];
    fp_step_kind of_parent =
        parent == NULL ? FP_STEP_ROOT : fp_node_step_kind(parent);
    fp_step_kind of_child =
        n_below > 0 ? fp_node_step_kind(below[0]) : FP_STEP_ROOT;

    switch (fp_node_step_kind(node)) {
    case FP_STEP_ROOT:
        return PyUnicode_FromString("");
    case FP_STEP_KEY: {
        int of_state = of_parent == FP_STEP_STATE;
        of_state |= fp_node_is_slots(survey, parent); /* (dict, slots) */
        return key_text(survey, value, of_state);
    }
    case FP_STEP_OBJECT_KEY:
        return place_text("[@%llu]", number);
    case FP_STEP_INDEX:
        /* What follows says it all: an attribute, or an element. */
        if (of_parent == FP_STEP_STATE && parent->parent != FP_SURVEY_NONE) {
            if (fp_node_kind(&survey->nodes[parent->parent]) == FP_VALUE_ARRAY
                && value + 1 == parent->what && of_child == FP_STEP_INDEX
                && fp_node_kind(node) == FP_VALUE_LIST)
            {
                return PyUnicode_FromString(".flat");
            }
            if (of_child == FP_STEP_KEY && parent->what == 2
                && fp_node_kind(parent) == FP_VALUE_TUPLE)
            {
                PyObject *next = step_text(survey, below[0], NULL, 0);
                int is_said = next != NULL && PyUnicode_GET_LENGTH(next) > 0
                              && PyUnicode_READ_CHAR(next, 0) == '.';
                if (next == NULL) {
                    return NULL;
                }
                Py_DECREF(next);
                if (is_said) {
                    return PyUnicode_FromString("");
                }
            }
        }
        return place_text("[%llu]", number);
    case FP_STEP_KEYS:
        return place_text(".keys[%llu]", number);
    case FP_STEP_MEMBER:
        return place_text("{%llu}", number);
    case FP_STEP_STATE:
        if (of_child == FP_STEP_KEY || of_child == FP_STEP_INDEX) {
            PyObject *next =
                step_text(survey, below[0], below + 1, n_below - 1);
            int is_said;
            if (next == NULL) {
                return NULL;
            }
            is_said = PyUnicode_GET_LENGTH(next) == 0
                      || PyUnicode_READ_CHAR(next, 0) == '.';
            Py_DECREF(next);
            if (is_said) {
                return PyUnicode_FromString("");
            }
        }
        return PyUnicode_FromString(".state");
    case FP_STEP_ARGS:
        return PyUnicode_FromString(".args");
    case FP_STEP_KWARGS:
        return PyUnicode_FromString(".kwargs");
    case FP_STEP_CALLABLE:
        return PyUnicode_FromString(".callable");
    case FP_STEP_POPPED:
        return place_text(".popped@%llu", number);
    default:
        return place_text(".open@%llu", number);
    }
}

/* ... and where it is not the only one of its kind, its place. */
static PyObject *
whole_step_text(const fp_survey *survey, const fp_survey_node *node,
                const fp_survey_node *const *below, size_t n_below)
{
    PyObject *text = step_text(survey, node, below, n_below);

    if (text != NULL && fp_node_levels(node) > 1) {
        unsigned levels = fp_node_levels(node);
        PyObject *one = text;
        if (levels > SHOWN_LEVELS) {
            text = PyUnicode_FromFormat("%U*%u", one, levels);
        }
        else {
            PyObject *number = PyLong_FromUnsignedLong(levels);
            text = number == NULL ? NULL : PyNumber_Multiply(one, number);
            Py_XDECREF(number);
        }
        Py_DECREF(one);
    }
    if (text != NULL && fp_node_is_repeated(node)) {
        Py_SETREF(text, PyUnicode_FromFormat(
                            "%U@%llu", text,
                            (unsigned long long)fp_node_step_value(node)));
    }
    return text;
}

/* --- paths --------------------------------------------------------------- */

/* Nodes from `number` up to the root, or as many as there is room for. */
static size_t
climb(const fp_survey *survey, uint32_t number, const fp_survey_node **nodes,
      size_t n_at_most)
{
    size_t n = 0;

    while (number != FP_SURVEY_NONE && n < n_at_most) {
        nodes[n++] = &survey->nodes[number];
        number = survey->nodes[number].parent;
    }
    return n;
}

/* Joins the steps; steals a reference to each. `parts` is a list. */
static PyObject *
join(PyObject *parts)
{
    PyObject *empty = PyUnicode_FromString("");
    PyObject *path = NULL;

    if (empty != NULL) {
        path = PyUnicode_Join(empty, parts);
        Py_DECREF(empty);
    }
    return path;
}

static int
append(PyObject *list, PyObject *text)
{
    int status = text == NULL ? -1 : PyList_Append(list, text);

    Py_XDECREF(text);
    return status;
}

PyObject *
fp_survey_path(const fp_survey *survey, uint32_t number)
{
    /* The way up; `down` is the same, turned round. */
    const fp_survey_node *up[FP_SURVEY_PATH_STEPS + 1];
    const fp_survey_node *down[FP_SURVEY_PATH_STEPS + 1];
    size_t n = climb(survey, number, up, FP_SURVEY_PATH_STEPS + 1);
    int is_cut = n > FP_SURVEY_PATH_STEPS;
    PyObject *parts = PyList_New(0);
    PyObject *path = NULL;

    if (parts == NULL) {
        return NULL;
    }
    if (is_cut) {
        n = SHOWN_STEPS;
    }
    for (size_t i = 0; i < n; i++) {
        down[i] = up[n - 1 - i];
    }
    if (is_cut && append(parts, PyUnicode_FromString("...")) < 0) {
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        if (append(parts,
                   whole_step_text(survey, down[i], down + i + 1, n - i - 1))
            < 0)
        {
            goto done;
        }
    }
    /* What hangs nowhere has its node's number. */
    if (is_cut
        || (n > 0 && survey->root != FP_SURVEY_NONE
            && down[0] != &survey->nodes[survey->root]))
    {
        if (append(parts, place_text("@node%llu", number)) < 0) {
            goto done;
        }
    }
    path = join(parts);
done:
    Py_DECREF(parts);
    return path;
}

/* Whether a path ends with a node's own step: asked before the whole path is
 * put together. */
static int
ends_with_step(const fp_survey *survey, uint32_t number, PyObject *path)
{
    const fp_survey_node *node = &survey->nodes[number];
    PyObject *step;
    Py_ssize_t matches;

    /* A path with a node behind it says which. */
    if (node->parent == FP_SURVEY_NONE
        || PyUnicode_FindChar(path, '@', 0, PyUnicode_GET_LENGTH(path), 1)
               >= 0)
    {
        return 1;
    }
    step = whole_step_text(survey, node, NULL, 0);
    if (step == NULL) {
        return -1;
    }
    matches =
        PyUnicode_Tailmatch(path, step, 0, PyUnicode_GET_LENGTH(path), 1);
    Py_DECREF(step);
    return (int)matches;
}

static int
is_path_of(const fp_survey *survey, uint32_t node, PyObject *path)
{
    PyObject *own;
    int status;

    if (node == FP_SURVEY_NONE) {
        return 0;
    }
    status = ends_with_step(survey, node, path);
    if (status <= 0) {
        return status;
    }
    own = fp_survey_path(survey, node);
    if (own == NULL) {
        return -1;
    }
    status = PyUnicode_Compare(own, path) == 0;
    Py_DECREF(own);
    return status;
}

int
fp_survey_find(const fp_survey *survey, PyObject *path, uint32_t *number,
               int *is_leaf)
{
    int status = 0;

    *number = FP_SURVEY_NONE;
    *is_leaf = 0;
    for (size_t i = 0; status == 0 && i < survey->n_arrays; i++) {
        status = is_path_of(survey, survey->arrays[i].node, path);
        if (status > 0) {
            *number = (uint32_t)i;
        }
    }
    for (size_t i = 0; status == 0 && i < survey->n_leaves; i++) {
        status = is_path_of(survey, survey->leaves[i].node, path);
        if (status > 0) {
            *number = (uint32_t)i;
            *is_leaf = 1;
        }
    }
    return status < 0 ? -1 : 0;
}
