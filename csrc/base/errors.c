#include "errors.h"

#include "compat.h"
#include "messages.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

int
fp_raise_status(fp_status status, int saved_errno, PyObject *path,
                const char *step)
{
    switch (status) {
    case FP_NO_MEMORY:
        PyErr_NoMemory();
        break;
    case FP_SINK_FAILED:
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_SystemError,
                            "a sink failed without saying why");
        }
        break;
    case FP_IO: {
        PyObject *error;
        const char *reason = strerror(saved_errno);
        PyObject *message =
            step == NULL ? PyUnicode_FromString(reason)
                         : PyUnicode_FromFormat("%s (%s)", reason, step);
        if (message == NULL) {
            break;
        }
        error = path == NULL
                    ? Py_BuildValue("(iO)", saved_errno, message)
                    : Py_BuildValue("(iOO)", saved_errno, message, path);
        Py_DECREF(message);
        if (error != NULL) {
            PyErr_SetObject(PyExc_OSError, error);
            Py_DECREF(error);
        }
        break;
    }
    default:
        PyErr_Format(PyExc_SystemError, "unexpected status %d", (int)status);
    }
    return -1;
}

/* --- damaged files ------------------------------------------------------ */

PyDoc_STRVAR(
    corrupt_doc,
    "A file is damaged: its bytes are not those that were written.\n"
    "\n"
    "Attributes: path (None for a file object), offset (in the file;\n"
    "for a file object from where reading began) and section\n"
    "(header, array bytes, graph, footer or trailing bytes; sidecar for the\n"
    "second file of a dump in two; pickle in a file of another writer; the\n"
    "name of a codec's stream).");

PyDoc_STRVAR(truncated_doc,
             "A file is damaged: it ends before what it announces.");

/* A new exception type of the package, which is also added to the module. */
static PyObject *
new_error_type(PyObject *module, const char *name, const char *doc,
               PyObject *bases, PyObject *attributes)
{
    char qualified[64];
    PyObject *type;

    snprintf(qualified, sizeof(qualified), "fastpersist.%s", name);
    type = PyErr_NewExceptionWithDoc(qualified, doc, bases, attributes);
    if (type != NULL && PyModule_AddObjectRef(module, name, type) < 0) {
        Py_CLEAR(type);
    }
    return type;
}

int
fp_errors_init(PyObject *module, fp_state *state)
{
    PyObject *bases =
        PyTuple_Pack(2, state->unpickling_error, PyExc_ValueError);
    PyObject *attributes = NULL;

    if (bases != NULL
        && (attributes = Py_BuildValue("{OOOOOO}", state->str_path, Py_None,
                                       state->str_offset, Py_None,
                                       state->str_section, Py_None))
               != NULL
        && (state->corrupt_error = new_error_type(
                module, "CorruptFileError", corrupt_doc, bases, attributes))
               != NULL)
    {
        state->truncated_error =
            new_error_type(module, "TruncatedFileError", truncated_doc,
                           state->corrupt_error, NULL);
    }
    Py_XDECREF(bases);
    Py_XDECREF(attributes);
    return state->truncated_error == NULL ? -1 : 0;
}

static const char *
section_name(fp_section section)
{
    switch (section) {
    case FP_SECTION_HEADER:
        return "header";
    case FP_SECTION_ARRAYS:
        return "array bytes";
    case FP_SECTION_GRAPH:
        return "graph";
    case FP_SECTION_FOOTER:
        return "footer";
    case FP_SECTION_PICKLE:
        return "pickle";
    case FP_SECTION_SIDECAR:
        return "sidecar";
    default:
        return "trailing bytes";
    }
}

/* What a message calls a file; new reference. */
static PyObject *
name_of(PyObject *path)
{
    return path == NULL ? PyUnicode_FromString("the file")
                        : PyUnicode_FromFormat("%R", path);
}

static PyObject *
damage_message(fp_status status, PyObject *path, const char *section,
               uint64_t offset, const char *expected)
{
    PyObject *where = name_of(path);
    PyObject *message = NULL;
    unsigned long long at = offset;

    if (where == NULL) {
        return NULL;
    }
    if (status == FP_TOO_NEW) {
        message = PyUnicode_FromFormat(
            "%U was written by a later version of fastpersist: expected %s at "
            "offset %llu (%s); a newer fastpersist can load it",
            where, expected, at, section);
    }
    else {
        message = PyUnicode_FromFormat(
            "%U is damaged: %s at offset %llu (%s), expected %s; restore it "
            "from a copy, or dump the object again",
            where,
            status == FP_TRUNCATED ? "it ends too early" : "wrong bytes", at,
            section, expected);
    }
    Py_DECREF(where);
    return message;
}

/* Steals `message`, which may be NULL. */
static int
raise_at(fp_state *state, PyObject *type, PyObject *path, fp_section section,
         uint64_t offset, PyObject *message)
{
    const char *name = section_name(section);
    PyObject *error = NULL, *offset_object = NULL, *section_object = NULL;

    if (message != NULL && (error = PyObject_CallOneArg(type, message)) != NULL
        && (offset_object = PyLong_FromUnsignedLongLong(offset)) != NULL
        && (section_object = PyUnicode_InternFromString(name)) != NULL
        && PyObject_SetAttr(error, state->str_path,
                            path == NULL ? Py_None : path)
               == 0
        && PyObject_SetAttr(error, state->str_offset, offset_object) == 0
        && PyObject_SetAttr(error, state->str_section, section_object) == 0)
    {
        PyErr_SetObject(type, error);
    }
    Py_XDECREF(error);
    Py_XDECREF(message);
    Py_XDECREF(offset_object);
    Py_XDECREF(section_object);
    return -1;
}

int
fp_raise_damage(fp_state *state, fp_status status, PyObject *path,
                fp_section section, uint64_t offset, const char *expected)
{
    PyObject *type = status == FP_TOO_NEW     ? state->unpickling_error
                     : status == FP_TRUNCATED ? state->truncated_error
                                              : state->corrupt_error;

    return raise_at(
        state, type, path, section, offset,
        damage_message(status, path, section_name(section), offset, expected));
}

int
fp_raise_bad_block(fp_state *state, PyObject *path, fp_section section,
                   uint64_t offset, uint64_t end)
{
    PyObject *where = name_of(path);
    PyObject *message = NULL;

    if (where != NULL) {
        message = PyUnicode_FromFormat(
            "%U is damaged: wrong bytes between offsets %llu and %llu (%s), "
            "which do not have the hash that they were written with; restore "
            "it from a copy, or dump the object again",
            where, (unsigned long long)offset, (unsigned long long)end,
            section_name(section));
        Py_DECREF(where);
    }
    return raise_at(state, state->corrupt_error, path, section, offset,
                    message);
}

int
fp_raise_corrupt(fp_state *state, PyObject *path, fp_section section,
                 PyObject *message)
{
    return raise_at(state, state->corrupt_error, path, section, 0, message);
}

int
fp_raise_over_limit(fp_state *state, PyObject *path, uint64_t max_bytes)
{
    unsigned long long limit = max_bytes;

    if (path == NULL) {
        PyErr_Format(state->unpickling_error,
                     "the file holds more than max_bytes=%llu bytes", limit);
    }
    else {
        PyErr_Format(state->unpickling_error,
                     "%R holds more than max_bytes=%llu bytes", path, limit);
    }
    return -1;
}

/* --- what opcodes raise -------------------------------------------------- */

/* Whether bytes alone can be the reason of such an exception. */
static int
is_about_bytes(const fp_state *state, PyObject *type)
{
    PyObject *const reasons[] = {
        state->unpickling_error, PyExc_EOFError,    PyExc_ValueError,
        PyExc_TypeError,         PyExc_LookupError, PyExc_ArithmeticError,
        PyExc_AttributeError,
    };

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (PyErr_GivenExceptionMatches(type, reasons[i])) {
            return 1;
        }
    }
    return 0;
}

/* Damage that the code which noticed it could not place. */
static void
place_damage(fp_state *state, PyObject *error, PyObject *path,
             fp_section section, uint64_t offset)
{
    PyObject *known = PyObject_GetAttr(error, state->str_offset);
    PyObject *offset_object = NULL, *section_object = NULL;

    if (known == Py_None
        && (offset_object = PyLong_FromUnsignedLongLong(offset)) != NULL
        && (section_object = PyUnicode_InternFromString(section_name(section)))
               != NULL
        && PyObject_SetAttr(error, state->str_path,
                            path == NULL ? Py_None : path)
               == 0
        && PyObject_SetAttr(error, state->str_offset, offset_object) == 0)
    {
        (void)PyObject_SetAttr(error, state->str_section, section_object);
    }
    Py_XDECREF(known);
    Py_XDECREF(offset_object);
    Py_XDECREF(section_object);
    PyErr_Clear(); /* the damage itself is what counts */
}

static PyObject *
no_pickle_message(PyObject *path, fp_section section, uint64_t offset,
                  PyObject *cause)
{
    PyObject *where = name_of(path);
    PyObject *message = NULL;
    unsigned long long at = offset;

    if (where != NULL) {
        message = PyUnicode_FromFormat(
            "%U is damaged%s: %S (at offset %llu of the %s)", where,
            section == FP_SECTION_PICKLE ? ", or no pickle" : "", cause, at,
            section_name(section));
        Py_DECREF(where);
    }
    return message;
}

void
fp_name_damage(fp_state *state, PyObject *path, fp_section section,
               uint64_t offset, int is_truncated, int no_foreign_code)
{
    PyObject *cause = fp_take_exception();
    PyObject *type, *traceback, *error;
    int is_end, is_foreign;

    if (cause == NULL) {
        return;
    }
    type = (PyObject *)Py_TYPE(cause);
    if (PyErr_GivenExceptionMatches(type, state->corrupt_error)) {
        place_damage(state, cause, path, section, offset);
        fp_put_exception(cause);
        return;
    }
    is_end = type == PyExc_EOFError;
    traceback = PyException_GetTraceback(cause);
    is_foreign = traceback != NULL;
    Py_XDECREF(traceback);
    if (is_foreign || (is_end && offset == 0)
        || (type != state->unpickling_error && !is_end
            && !(no_foreign_code && is_about_bytes(state, type))))
    {
        fp_put_exception(cause);
        return;
    }
    raise_at(state,
             is_end || is_truncated ? state->truncated_error
                                    : state->corrupt_error,
             path, section, offset,
             no_pickle_message(path, section, offset, cause));
    error = fp_take_exception();
    PyException_SetCause(error, cause); /* steals */
    fp_put_exception(error);
}

/* --- notes -------------------------------------------------------------- */

#define DUMP_NOTE "while dumping value"

/* Whether a note is fp_note_path's, as far as its text tells: the way to an
 * object follows, or nothing. */
static int
is_of_dump(PyObject *note)
{
    static const char start[] = DUMP_NOTE;
    Py_ssize_t n_start = (Py_ssize_t)strlen(start);
    Py_ssize_t n_note;

    if (!PyUnicode_Check(note)) {
        return 0;
    }
    n_note = PyUnicode_GET_LENGTH(note);
    if (n_note < n_start) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < n_start; i++) {
        if (PyUnicode_READ_CHAR(note, i) != (Py_UCS4)start[i]) {
            return 0;
        }
    }
    if (n_note == n_start) {
        return 1;
    }
    Py_UCS4 next = PyUnicode_READ_CHAR(note, n_start);
    return next == '.' || next == '[' || next == '{';
}

/* The notes that are not of a dump, as a new list. */
static PyObject *
others(PyObject *notes)
{
    PyObject *kept = PyList_New(0);

    for (Py_ssize_t i = 0; kept != NULL && i < PyList_GET_SIZE(notes); i++) {
        PyObject *note = PyList_GET_ITEM(notes, i);
        if (!is_of_dump(note) && PyList_Append(kept, note) < 0) {
            Py_CLEAR(kept);
        }
    }
    return kept;
}

/* Before a note is added: an exception that is raised again and again, as one
 * that belongs to the object is, would collect them. Whether it is there
 * already; -1 where that could not be found out. */
static int
make_room(const fp_state *state, PyObject *error, PyObject *note)
{
    PyObject *notes = fp_optional_attribute(error, state->str_notes);
    PyObject *kept = NULL;
    int answer = -1;

    if (notes == NULL || !PyList_CheckExact(notes)) {
        answer = 0;
    }
    else if (!is_of_dump(note)) {
        answer = PySequence_Contains(notes, note);
    }
    else if ((kept = others(notes)) != NULL) {
        answer = PyList_SetSlice(notes, 0, PyList_GET_SIZE(notes), kept);
    }
    Py_XDECREF(notes);
    Py_XDECREF(kept);
    return answer;
}

/* Adds `make(context)`, a new reference to a str, as a note to the exception
 * that is set. A note that cannot be made, or is empty, is left out. */
static void
add_note(fp_state *state, PyObject *(*make)(const void *), const void *context)
{
    PyObject *error = fp_take_exception();
    PyObject *note, *done = NULL;

    if (error == NULL) {
        return;
    }
    note = make(context);
    if (note != NULL && PyUnicode_Check(note) && PyUnicode_GET_LENGTH(note) > 0
        && make_room(state, error, note) == 0)
    {
        done = PyObject_CallMethodOneArg(error, state->str_add_note, note);
    }
    Py_XDECREF(done);
    Py_XDECREF(note);
    PyErr_Clear();
    fp_put_exception(error);
}

void
fp_add_note(const char *format, ...)
{
#if FP_HAS_NOTES
    PyObject *error = fp_take_exception();
    PyObject *note, *done = NULL;
    va_list arguments;

    if (error == NULL) {
        return;
    }
    va_start(arguments, format);
    note = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    if (note != NULL) {
        /* Not the exception's own method, which may be another one. */
        done = PyObject_CallMethod(PyExc_BaseException, "add_note", "OO",
                                   error, note);
        Py_DECREF(note);
    }
    Py_XDECREF(done);
    fp_chain_exception(error);
#else
    (void)format;
#endif
}

typedef struct {
    PyObject *path;
    uint64_t offset;
} place;

static PyObject *
describe_place(const void *context)
{
    const place *at = context;
    unsigned long long offset = at->offset;

    return at->path == NULL
               ? PyUnicode_FromFormat("while loading, at offset %llu", offset)
               : PyUnicode_FromFormat("while loading %R, at offset %llu",
                                      at->path, offset);
}

void
fp_note_place(fp_state *state, PyObject *path, uint64_t offset)
{
    place at = {path, offset};

    add_note(state, describe_place, &at);
}

typedef struct {
    const char *json;
    size_t n_bytes;
} json_text;

static PyObject *
describe_environment(const void *context)
{
    const json_text *saved = context;
    PyObject *module = PyImport_ImportModule("fastpersist._environment");
    PyObject *note = NULL;

    if (module != NULL) {
        note = PyObject_CallMethod(module, "describe", "y#", saved->json,
                                   (Py_ssize_t)saved->n_bytes);
        Py_DECREF(module);
    }
    return note;
}

void
fp_note_environment(fp_state *state, const char *json, size_t n_bytes)
{
    json_text saved = {json, n_bytes};

    add_note(state, describe_environment, &saved);
}

/* --- the path to an object ---------------------------------------------- */

/* So many steps are shown at either end of a long path. */
#define SHOWN_STEPS 40

static PyObject *
describe_path(const void *context)
{
    const fp_path *path = context;
    PyObject *text = PyUnicode_FromString(DUMP_NOTE);

    for (size_t i = 0; text != NULL && i < path->n_steps; i++) {
        PyObject *step;
        if (i == SHOWN_STEPS && path->n_steps > 2 * SHOWN_STEPS) {
            i = path->n_steps - SHOWN_STEPS;
            step = PyUnicode_FromString(" ... ");
        }
        else {
            step = path->step(path->context, i);
        }
        if (step == NULL) {
            Py_CLEAR(text);
            break;
        }
        PyUnicode_Append(&text, step);
        Py_DECREF(step);
    }
    return text;
}

void
fp_note_path(fp_state *state, const fp_path *path)
{
    add_note(state, describe_path, path);
}

PyObject *
fp_without_notes(const fp_state *state, PyObject *reduced)
{
    PyObject *dict, *notes, *kept = NULL, *result = NULL;

    dict = PyTuple_GET_SIZE(reduced) < 3 ? NULL : PyTuple_GET_ITEM(reduced, 2);
    if (dict == NULL || !PyDict_CheckExact(dict)) {
        return Py_NewRef(reduced);
    }
    notes = PyDict_GetItemWithError(dict, state->str_notes);
    if (notes == NULL || !PyList_CheckExact(notes)) {
        return PyErr_Occurred() ? NULL : Py_NewRef(reduced);
    }
    kept = others(notes);
    if (kept == NULL) {
        return NULL;
    }
    if (PyList_GET_SIZE(kept) == PyList_GET_SIZE(notes)) {
        Py_DECREF(kept);
        return Py_NewRef(reduced);
    }
    dict = PyDict_Copy(dict);
    if (dict != NULL
        && (PyList_GET_SIZE(kept) > 0
                ? PyDict_SetItem(dict, state->str_notes, kept)
                : PyDict_DelItem(dict, state->str_notes))
               == 0)
    {
        result = PySequence_List(reduced);
    }
    if (result != NULL) {
        (void)PyList_SetItem(result, 2,
                             PyDict_GET_SIZE(dict) > 0 ? Py_NewRef(dict)
                                                       : Py_NewRef(Py_None));
        Py_SETREF(result, PyList_AsTuple(result));
    }
    Py_DECREF(kept);
    Py_XDECREF(dict);
    return result;
}

/* --- warnings ------------------------------------------------------------ */

int
fp_warn(PyObject *category, const char *format, ...)
{
    PyObject *module, *text, *warning = NULL, *answer = NULL;
    va_list arguments;

    va_start(arguments, format);
    text = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    if (text != NULL) {
        warning = PyObject_CallOneArg(category, text);
        Py_DECREF(text);
    }
    if (warning == NULL) {
        return -1;
    }
    module = PyImport_ImportModule("fastpersist._warn");
    if (module != NULL) {
        answer = PyObject_CallMethod(module, "at_caller", "O", warning);
        Py_DECREF(module);
    }
    Py_DECREF(warning);
    Py_XDECREF(answer);
    return answer == NULL ? -1 : 0;
}
