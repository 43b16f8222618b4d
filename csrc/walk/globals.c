#include "walk.h"

#include <string.h>

/* The names of a dotted path as a new list; AttributeError for a local one. */
static PyObject *
split_path(const fp_state *state, PyObject *name)
{
    PyObject *names = PyUnicode_Split(name, state->str_dot, -1);

    if (names == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(names); i++) {
        if (PyUnicode_CompareWithASCIIString(PyList_GET_ITEM(names, i),
                                             "<locals>")
            == 0)
        {
            PyErr_Format(PyExc_AttributeError, "Can't pickle local object %R",
                         name);
            Py_DECREF(names);
            return NULL;
        }
    }
    return names;
}

/* Follows the names from `object`; new reference, NULL with or without an
 * exception. *parent (a new reference, if asked for) holds the last name. */
static PyObject *
follow_path(PyObject *object, PyObject *names, PyObject **parent)
{
    PyObject *holder = NULL;

    Py_INCREF(object);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(names); i++) {
        Py_XSETREF(holder, object);
        object = fp_optional_attribute(holder, PyList_GET_ITEM(names, i));
        if (object == NULL) {
            Py_DECREF(holder);
            return NULL;
        }
    }
    if (parent != NULL) {
        *parent = holder;
    }
    else {
        Py_XDECREF(holder);
    }
    return object;
}

static int
module_holds(const fp_state *state, PyObject *module_name, PyObject *module,
             PyObject *object, PyObject *names)
{
    PyObject *candidate;

    if (module == Py_None
        || (PyUnicode_Check(module_name)
            && PyUnicode_Compare(module_name, state->str_main) == 0))
    {
        return 0;
    }
    candidate = follow_path(module, names, NULL);
    Py_XDECREF(candidate);
    return candidate == object;
}

/* The name of the module that `object` says it comes from, or of the first
 * one that has it. New reference. */
static PyObject *
find_module_name(const fp_state *state, PyObject *object, PyObject *names)
{
    PyObject *module_name, *modules, *pairs;
    PyObject *found = NULL;

    module_name = fp_optional_attribute(object, state->str_module);
    if (module_name == NULL && PyErr_Occurred()) {
        return NULL;
    }
    if (module_name != NULL && module_name != Py_None) {
        return module_name;
    }
    Py_XDECREF(module_name);
    modules = PyImport_GetModuleDict(); /* borrowed */
    if (modules == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "unable to get sys.modules");
        return NULL;
    }
    /* A copy: looking at modules may import more of them. */
    pairs = PyMapping_Items(modules);
    if (pairs == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pairs); i++) {
        PyObject *pair = PyList_GET_ITEM(pairs, i);
        if (module_holds(state, PyTuple_GET_ITEM(pair, 0),
                         PyTuple_GET_ITEM(pair, 1), object, names))
        {
            found = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
            break;
        }
        if (PyErr_Occurred()) {
            Py_DECREF(pairs);
            return NULL;
        }
    }
    Py_DECREF(pairs);
    return found != NULL ? found : Py_NewRef(state->str_main);
}

/* A class or function whose names can be read, and found in sys.modules,
 * without running anything. 1 and new references, 0, or -1. */
static int
silent_names(const fp_state *state, PyObject *object, PyObject **module_name,
             PyObject **name)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject *modules, *module, *dict;

    if (PyType_Check(object)) {
        if (_PyType_Lookup(type, state->str_module)
                != _PyType_Lookup(&PyType_Type, state->str_module)
            || _PyType_Lookup(type, state->str_qualname)
                   != _PyType_Lookup(&PyType_Type, state->str_qualname)
            || type->tp_getattro != PyType_Type.tp_getattro)
        {
            return 0;
        }
        *module_name = PyObject_GetAttr(object, state->str_module);
        *name = PyObject_GetAttr(object, state->str_qualname);
    }
    else if (PyFunction_Check(object)) {
        *module_name = Py_XNewRef(((PyFunctionObject *)object)->func_module);
        *name = Py_XNewRef(((PyFunctionObject *)object)->func_qualname);
    }
    else {
        return 0;
    }
    PyErr_Clear();
    modules = PyImport_GetModuleDict();
    if (*module_name != NULL && *name != NULL
        && PyUnicode_CheckExact(*module_name) && PyUnicode_CheckExact(*name)
        && PyUnicode_FindChar(*name, '.', 0, PyUnicode_GET_LENGTH(*name), 1)
               < 0
        && PyDict_CheckExact(modules))
    {
        module = PyDict_GetItemWithError(modules, *module_name);
        if (module != NULL && PyModule_Check(module)) {
            dict = PyModule_GetDict(module);
            if (PyDict_GetItemWithError(dict, *name) == object) {
                return 1;
            }
        }
        PyErr_Clear();
    }
    Py_CLEAR(*module_name);
    Py_CLEAR(*name);
    return 0;
}

/* What pickle does: look the object up by its name and insist that it is
 * found. New references; *parent holds the object itself. */
static int
find_names(fp_walk *walk, PyObject *object, PyObject *given,
           PyObject **module_name, PyObject **name, PyObject **parent,
           int *is_nested)
{
    const fp_state *state = walk->state;
    PyObject *names = NULL;
    PyObject *module = NULL;
    PyObject *found = NULL;
    int status = -1;

    if (given != NULL) {
        *name = Py_NewRef(given);
    }
    else {
        *name = fp_optional_attribute(object, state->str_qualname);
        if (*name == NULL && !PyErr_Occurred()) {
            *name = PyObject_GetAttr(object, state->str_name);
        }
        if (*name == NULL) {
            goto done;
        }
    }
    names = split_path(state, *name);
    if (names == NULL) {
        goto done;
    }
    *module_name = find_module_name(state, object, names);
    if (*module_name == NULL) {
        goto done;
    }
    module = PyImport_Import(*module_name);
    if (module == NULL) {
        PyErr_Format(state->pickling_error,
                     "Can't pickle %R: import of module %R failed", object,
                     *module_name);
        goto done;
    }
    found = follow_path(module, names, parent);
    if (found == NULL) {
        PyErr_Format(state->pickling_error,
                     "Can't pickle %R: attribute lookup %S on %S failed",
                     object, *name, *module_name);
        goto done;
    }
    if (found != object) {
        PyErr_Format(state->pickling_error,
                     "Can't pickle %R: it's not the same object as %S.%S",
                     object, *module_name, *name);
        goto done;
    }
    *is_nested = *parent != module;
    if (!*is_nested) {
        Py_ssize_t last = PyList_GET_SIZE(names) - 1;
        Py_SETREF(*name, Py_NewRef(PyList_GET_ITEM(names, last)));
    }
    status = 0;
done:
    Py_XDECREF(names);
    Py_XDECREF(module);
    Py_XDECREF(found);
    return status;
}

/* --- opcodes ------------------------------------------------------------ */

/* 1 where an extension code was written, 0 where there is none, -1. */
static int
emit_extension(fp_walk *walk, PyObject *object, PyObject *module_name,
               PyObject *name)
{
    PyObject *registry = walk->state->extension_registry;
    PyObject *key, *code_object;
    unsigned char out[5];
    size_t n_bytes;
    long code;

    if (PyDict_GET_SIZE(registry) == 0) {
        return 0;
    }
    key = PyTuple_Pack(2, module_name, name);
    if (key == NULL) {
        return -1;
    }
    code_object = PyDict_GetItemWithError(registry, key);
    Py_DECREF(key);
    if (code_object == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
#if PY_VERSION_HEX < 0x030d0000
    if (!PyLong_Check(code_object)) {
        PyErr_Format(walk->state->pickling_error,
                     "Can't pickle %R: extension code %R isn't an integer",
                     object, code_object);
        return -1;
    }
#endif
    code = PyLong_AsLong(code_object);
    if (code <= 0 || code > INT32_MAX) {
        if (!PyErr_Occurred()) {
#if PY_VERSION_HEX < 0x030d0000
            PyErr_Format(walk->state->pickling_error,
                         "Can't pickle %R: extension code %ld is out of "
                         "range",
                         object, code);
#else
            (void)object;
            PyErr_Format(PyExc_RuntimeError,
                         "extension code %ld is out of range", code);
#endif
        }
        return -1;
    }
    n_bytes = code <= 0xff ? 1 : code <= 0xffff ? 2 : 4;
    out[0] = n_bytes == 1 ? OP_EXT1 : n_bytes == 2 ? OP_EXT2 : OP_EXT4;
    for (size_t i = 0; i < n_bytes; i++) {
        out[1 + i] = (unsigned char)(code >> (8 * i));
    }
    return fp_emit(walk, out, 1 + n_bytes) < 0 ? -1 : 1;
}

/* Both majors of NumPy import these two by the old name without a warning;
 * 1.26 does not know the new one. */
static PyObject *
portable_module_name(const fp_walk *walk, PyObject *module_name,
                     PyObject *name)
{
    const fp_state *state = walk->state;

    if (walk->outlet != NULL
        && PyUnicode_Compare(module_name, state->str_numpy_new_multiarray) == 0
        && (PyUnicode_CompareWithASCIIString(name, "_reconstruct") == 0
            || PyUnicode_CompareWithASCIIString(name, "scalar") == 0))
    {
        return state->str_numpy_old_multiarray;
    }
    return module_name;
}

/* The footer names the version of every package that a global comes from. */
static int
note_package(fp_walk *walk, PyObject *module_name)
{
    Py_ssize_t end;
    PyObject *package;
    int status;

    if (walk->modules == NULL || !PyUnicode_CheckExact(module_name)) {
        return 0;
    }
    end = PyUnicode_FindChar(module_name, '.', 0,
                             PyUnicode_GET_LENGTH(module_name), 1);
    if (end == -2) {
        return -1;
    }
    if (end < 0) {
        return PySet_Add(walk->modules, module_name);
    }
    package = PyUnicode_Substring(module_name, 0, end);
    if (package == NULL) {
        return -1;
    }
    status = PySet_Add(walk->modules, package);
    Py_DECREF(package);
    return status;
}

/* Replaces the names by those of Python 2. */
static int
old_names(const fp_state *state, PyObject **module_name, PyObject **name)
{
    PyObject *key, *item;

    key = PyTuple_Pack(2, *module_name, *name);
    if (key == NULL) {
        return -1;
    }
    item = PyDict_GetItemWithError(state->name_mapping_3to2, key);
    Py_DECREF(key);
    if (item != NULL) {
        if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2
            || !PyUnicode_Check(PyTuple_GET_ITEM(item, 0))
            || !PyUnicode_Check(PyTuple_GET_ITEM(item, 1)))
        {
            PyErr_SetString(PyExc_RuntimeError,
                            "_compat_pickle.REVERSE_NAME_MAPPING values "
                            "should be pairs of str");
            return -1;
        }
        Py_SETREF(*module_name, Py_NewRef(PyTuple_GET_ITEM(item, 0)));
        Py_SETREF(*name, Py_NewRef(PyTuple_GET_ITEM(item, 1)));
        return 0;
    }
    if (PyErr_Occurred()) {
        return -1;
    }
    item = PyDict_GetItemWithError(state->import_mapping_3to2, *module_name);
    if (item == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (!PyUnicode_Check(item)) {
        PyErr_Format(PyExc_RuntimeError,
                     "_compat_pickle.REVERSE_IMPORT_MAPPING values should "
                     "be strings, not %.200s",
                     Py_TYPE(item)->tp_name);
        return -1;
    }
    Py_SETREF(*module_name, Py_NewRef(item));
    return 0;
}

/* A name as bytes, for a line of protocols below 4. New reference. */
static PyObject *
encode_name(const fp_walk *walk, PyObject *name, const char *what)
{
    PyObject *encoded = walk->protocol == 3 ? PyUnicode_AsUTF8String(name)
                                            : PyUnicode_AsASCIIString(name);

    if (encoded == NULL && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Format(walk->state->pickling_error,
                     "can't pickle %s identifier '%S' using pickle "
                     "protocol %i",
                     what, name, walk->protocol);
    }
    return encoded;
}

/* GLOBAL and its two lines, for protocols below 4, as bytes; the names may be
 * replaced by those of Python 2. New reference. */
static PyObject *
global_lines(const fp_walk *walk, PyObject **module_name, PyObject **name)
{
    PyObject *first, *second = NULL;
    PyObject *lines = NULL;

    if (walk->fix_imports && old_names(walk->state, module_name, name) < 0) {
        return NULL;
    }
    first = encode_name(walk, *module_name, "module");
    if (first != NULL) {
        second = encode_name(walk, *name, "global");
    }
    if (second != NULL) {
        lines = PyBytes_FromFormat("c%s\n%s\n", PyBytes_AS_STRING(first),
                                   PyBytes_AS_STRING(second));
    }
    Py_XDECREF(first);
    Py_XDECREF(second);
    return lines;
}

/* Steals `script`, which may be NULL with an exception set. */
static int
push_script(fp_walk *walk, PyObject *object, PyObject *script)
{
    fp_frame *frame;

    if (script == NULL) {
        return -1;
    }
    frame = fp_push(walk, FP_FRAME_SCRIPT, object);
    if (frame == NULL) {
        Py_DECREF(script);
        return -1;
    }
    frame->pending = script;
    frame->flags |= FP_FLAG_OWNS_PENDING;
    return FP_PUSHED;
}

/* STACK_GLOBAL: two strings, each of which persistent_id may want to see. */
static int
emit_stack_global(fp_walk *walk, PyObject *object, PyObject *module_name,
                  PyObject *name)
{
    PyObject *opcode, *script;

    module_name = portable_module_name(walk, module_name, name);
    if (!walk->hooked && PyUnicode_CheckExact(module_name)
        && PyUnicode_CheckExact(name))
    {
        if (fp_save(walk, module_name, 0) < 0 || fp_save(walk, name, 0) < 0
            || fp_emit_byte(walk, OP_STACK_GLOBAL) < 0)
        {
            return -1;
        }
        return fp_memo_put(walk, object, 0);
    }
    opcode = PyBytes_FromStringAndSize("\x93", 1);
    if (opcode == NULL) {
        return -1;
    }
    script = PyTuple_Pack(3, module_name, name, opcode);
    Py_DECREF(opcode);
    return push_script(walk, object, script);
}

int
fp_step_script(fp_walk *walk, fp_frame *frame)
{
    PyObject *script = frame->pending;

    while (frame->position < PyTuple_GET_SIZE(script)) {
        PyObject *item = PyTuple_GET_ITEM(script, frame->position);
        int status;
        frame->position++;
        status = PyBytes_CheckExact(item)
                     ? fp_emit(walk, PyBytes_AS_STRING(item),
                               (size_t)PyBytes_GET_SIZE(item))
                     : fp_save(walk, item, 0);
        if (status != FP_SAVED) {
            return status;
        }
    }
    if (fp_memo_put(walk, frame->object, 0) < 0) {
        return -1;
    }
    fp_pop(walk);
    return FP_SAVED;
}

/* Protocols below 4 cannot name what lies in a class: getattr is called. */
#if PY_VERSION_HEX < 0x030d0000
static int
save_nested(fp_walk *walk, PyObject *object, PyObject *module_name,
            PyObject *name, PyObject *parent)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(name);
    Py_ssize_t dot = PyUnicode_FindChar(name, '.', 0, length, -1);
    PyObject *reduced;
    int status;

    (void)module_name;
    reduced = Py_BuildValue("(O(ON))", walk->state->getattr, parent,
                            PyUnicode_Substring(name, dot + 1, length));
    if (reduced == NULL) {
        return -1;
    }
    status = fp_save_reduced(walk, reduced, object);
    Py_DECREF(reduced);
    return status;
}
#else
/* getattr(getattr(global, name), name): what Python 3.13 writes, with none of
 * it in the memo but getattr and the names. */
static int
save_nested(fp_walk *walk, PyObject *object, PyObject *module_name,
            PyObject *name, PyObject *parent)
{
    static const char call[] = {(char)OP_TUPLE2, OP_REDUCE};
    static const char old_call[] = {OP_TUPLE, OP_REDUCE};
    PyObject *names = PyUnicode_Split(name, walk->state->str_dot, -1);
    PyObject *steps = PyList_New(0);
    PyObject *top = NULL;
    PyObject *made = NULL;
    PyObject *script = NULL;
    int status = names == NULL || steps == NULL ? -1 : 0;

    (void)parent;
    for (Py_ssize_t i = 1; status == 0 && i < PyList_GET_SIZE(names); i++) {
        status = PyList_Append(steps, walk->state->getattr);
        if (status == 0 && walk->protocol < 2) {
            Py_XSETREF(made, PyBytes_FromStringAndSize("(", 1));
            status = made == NULL ? -1 : PyList_Append(steps, made);
        }
    }
    if (status == 0) {
        Py_INCREF(module_name);
        top = Py_NewRef(PyList_GET_ITEM(names, 0));
        Py_XSETREF(made, global_lines(walk, &module_name, &top));
        Py_DECREF(module_name);
        status = made == NULL ? -1 : PyList_Append(steps, made);
    }
    for (Py_ssize_t i = 1; status == 0 && i < PyList_GET_SIZE(names); i++) {
        status = PyList_Append(steps, PyList_GET_ITEM(names, i));
        if (status == 0) {
            Py_XSETREF(made, PyBytes_FromStringAndSize(
                                 walk->protocol < 2 ? old_call : call, 2));
            status = made == NULL ? -1 : PyList_Append(steps, made);
        }
    }
    if (status == 0) {
        script = PyList_AsTuple(steps);
    }
    Py_XDECREF(names);
    Py_XDECREF(steps);
    Py_XDECREF(top);
    Py_XDECREF(made);
    return push_script(walk, object, script);
}
#endif

int
fp_save_global(fp_walk *walk, PyObject *object, PyObject *given)
{
    PyObject *module_name = NULL;
    PyObject *name = NULL;
    PyObject *parent = NULL;
    int is_nested = 0;
    int status = -1;

    if (given != NULL
        || silent_names(walk->state, object, &module_name, &name) != 1)
    {
        if (fp_call_out(walk) < 0
            || find_names(walk, object, given, &module_name, &name, &parent,
                          &is_nested)
                   < 0)
        {
            goto done;
        }
    }
    if (fp_keep(walk, module_name) < 0 || fp_keep(walk, name) < 0
        || note_package(walk, module_name) < 0)
    {
        goto done;
    }
    if (walk->protocol >= 2) {
        int written = emit_extension(walk, object, module_name, name);
        if (written != 0) {
            status = written < 0 ? -1 : FP_SAVED;
            goto done;
        }
    }
    if (walk->protocol >= 4) {
        status = emit_stack_global(walk, object, module_name, name);
    }
    else if (is_nested) {
        status = save_nested(walk, object, module_name, name, parent);
    }
    else {
        PyObject *lines = global_lines(walk, &module_name, &name);
        if (lines != NULL) {
            status = fp_emit(walk, PyBytes_AS_STRING(lines),
                             (size_t)PyBytes_GET_SIZE(lines));
            Py_DECREF(lines);
        }
        if (status == 0) {
            status = fp_memo_put(walk, object, 0);
        }
    }
done:
    Py_XDECREF(module_name);
    Py_XDECREF(name);
    Py_XDECREF(parent);
    return status;
}
