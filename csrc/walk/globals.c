#include "base/compat.h"
#include "base/messages.h"
#include "known.h"
#include "walk.h"

#include <string.h>

/* The names of a dotted path as a new list; an exception for a local one. */
static PyObject *
split_path(const fp_walk *walk, PyObject *object, PyObject *name)
{
    PyObject *names = PyUnicode_Split(name, walk->state->str_dot, -1);

    if (names == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(names); i++) {
        if (PyUnicode_CompareWithASCIIString(PyList_GET_ITEM(names, i),
                                             "<locals>")
            == 0)
        {
            FP_RAISE_LOCAL_OBJECT(walk->local_object_error, object, name);
            Py_DECREF(names);
            return NULL;
        }
    }
    return names;
}

#if PY_VERSION_HEX >= 0x030f0000
/* How the compiler calls a private name of a class: a new reference, or NULL
 * with an exception set. */
static PyObject *
private_name(PyObject *class_name, PyObject *name)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(class_name);
    Py_ssize_t start = 0;
    PyObject *stripped, *mangled;

    while (start < length && PyUnicode_READ_CHAR(class_name, start) == '_') {
        start++;
    }
    if (start == length) {
        return Py_NewRef(name);
    }
    stripped = PyUnicode_Substring(class_name, start, length);
    if (stripped == NULL) {
        return NULL;
    }
    mangled = PyUnicode_FromFormat("_%U%U", stripped, name);
    Py_DECREF(stripped);
    return mangled;
}

static int
is_private(PyObject *name)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(name);

    return length > 2 && PyUnicode_READ_CHAR(name, 0) == '_'
           && PyUnicode_READ_CHAR(name, 1) == '_'
           && !(PyUnicode_READ_CHAR(name, length - 1) == '_'
                && PyUnicode_READ_CHAR(name, length - 2) == '_');
}

/* From 3.15 on, the private names of a path are what attributes are called.
 * *name becomes the path they make. 0 or -1. */
static int
mangle_path(const fp_state *state, PyObject *names, PyObject **name)
{
    PyObject *class_name = NULL; /* as it stands in the path */
    PyObject *joined = NULL;
    int is_changed = 0;
    int status = -1;

    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(names); i++) {
        PyObject *part = Py_NewRef(PyList_GET_ITEM(names, i));
        if (class_name != NULL && is_private(part)) {
            PyObject *mangled = private_name(class_name, part);
            if (mangled == NULL || PyList_SetItem(names, i, mangled) < 0) {
                Py_DECREF(part);
                goto done;
            }
            is_changed = 1;
        }
        Py_XSETREF(class_name, part);
    }
    if (is_changed) {
        joined = PyUnicode_Join(state->str_dot, names);
        if (joined == NULL) {
            goto done;
        }
        Py_SETREF(*name, Py_NewRef(joined));
    }
    status = 0;
done:
    Py_XDECREF(class_name);
    Py_XDECREF(joined);
    return status;
}
#endif

/* Follows the names from `object`; new reference, NULL with or (always, where
 * `raises`) an exception. *parent (a new reference, if asked for) holds the last
 * name. */
static PyObject *
follow_path(PyObject *object, PyObject *names, PyObject **parent, int raises)
{
    PyObject *holder = NULL;

    Py_INCREF(object);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(names); i++) {
        PyObject *name = PyList_GET_ITEM(names, i);
        Py_XSETREF(holder, object);
        object = raises ? PyObject_GetAttr(holder, name)
                        : fp_optional_attribute(holder, name);
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
            && (PyUnicode_Compare(module_name, state->str_main) == 0
#if PY_VERSION_HEX >= 0x030f0000
                /* __main__ by the name that multiprocessing gives it */
                || PyUnicode_CompareWithASCIIString(module_name, "__mp_main__")
                       == 0
#endif
                )))
    {
        return 0;
    }
    candidate = follow_path(module, names, NULL, 0);
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

/* What a class says its __module__ is, where reading that runs nothing: a new
 * reference, or NULL with or without an exception. */
static PyObject *
module_of_class(const fp_state *state, PyTypeObject *type)
{
    PyObject *of_meta = fp_type_lookup(Py_TYPE(type), state->str_module);
    PyObject *own;

    if (of_meta == fp_type_lookup(&PyType_Type, state->str_module)) {
        return PyType_Type.tp_getattro((PyObject *)type, state->str_module);
    }
    /* A metaclass written in Python has a __module__ of its own, which comes
     * behind the class's. */
    if (of_meta == NULL || !PyUnicode_CheckExact(of_meta)
        || !fp_has_plain_names(type))
    {
        return NULL;
    }
    own = fp_type_lookup(type, state->str_module);
    return own != NULL && PyUnicode_CheckExact(own) ? Py_NewRef(own) : NULL;
}

/* A class or function whose names can be read, and found in sys.modules,
 * without running anything. 1 and new references, 0, or -1. */
static int
silent_names(const fp_state *state, PyObject *object, PyObject **module_name,
             PyObject **name)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject *modules;
    PyObject *module = NULL;
    PyObject *found = NULL;
    int is_found;

    if (PyType_Check(object)) {
        if (fp_type_lookup(type, state->str_qualname)
                != fp_type_lookup(&PyType_Type, state->str_qualname)
            || fp_type_lookup(type, state->str_getattribute)
                   != fp_type_lookup(&PyType_Type, state->str_getattribute))
        {
            return 0;
        }
        *module_name = module_of_class(state, (PyTypeObject *)object);
        /* A __getattr__ is asked for what is not there only. */
        *name = PyType_Type.tp_getattro(object, state->str_qualname);
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
        is_found = fp_dict_get(modules, *module_name, &module) > 0
                   && PyModule_Check(module)
                   && fp_dict_get(PyModule_GetDict(module), *name, &found) > 0
                   && found == object;
        Py_XDECREF(module);
        Py_XDECREF(found);
        if (is_found) {
            return 1;
        }
        PyErr_Clear();
    }
    Py_CLEAR(*module_name);
    Py_CLEAR(*name);
    return 0;
}

/* An import failed; the exception that is set is its. */
static void
raise_no_module(const fp_state *state, PyObject *object, PyObject *module_name)
{
    PyObject *error;

    if (FP_KEEPS_CONTEXT && !PyErr_ExceptionMatches(PyExc_ImportError)
        && !PyErr_ExceptionMatches(PyExc_ValueError))
    {
        return;
    }
    error = fp_take_exception();
    FP_RAISE_NO_MODULE(state, object, module_name, error);
    fp_keep_context(error);
}

/* An attribute was looked for in vain; where the context is kept, the exception
 * that is set says which. */
static void
raise_not_found(const fp_state *state, PyObject *object, PyObject *module_name,
                PyObject *name)
{
    PyObject *error;

    if (FP_KEEPS_CONTEXT && !PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return;
    }
    error = fp_take_exception();
    FP_RAISE_NOT_FOUND(state, object, module_name, name);
    fp_keep_context(error);
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
    names = split_path(walk, object, *name);
    if (names == NULL) {
        goto done;
    }
#if PY_VERSION_HEX >= 0x030f0000
    if (mangle_path(state, names, name) < 0) {
        goto done;
    }
#endif
    *module_name = find_module_name(state, object, names);
    if (*module_name == NULL) {
        goto done;
    }
    module = PyImport_Import(*module_name);
    if (module == NULL) {
        raise_no_module(state, object, *module_name);
        goto done;
    }
    found = follow_path(module, names, parent, FP_KEEPS_CONTEXT);
    if (found == NULL) {
        raise_not_found(state, object, *module_name, *name);
        goto done;
    }
    if (found != object) {
        PyErr_Format(state->pickling_error,
                     "Can't pickle %R: it's not the same object as %S.%S",
                     object, *module_name, *name);
        goto done;
    }
#if PY_VERSION_HEX >= 0x030e0000
    *is_nested = PyList_GET_SIZE(names) > 1;
    if (walk->late_puts && !PyUnicode_CheckExact(*name)) {
        /* pickle writes the name as the object it is, and reads no such
         * pickle; a file is for being read. */
        Py_SETREF(*name, PyUnicode_FromObject(*name));
        if (*name == NULL) {
            goto done;
        }
    }
#else
    *is_nested = *parent != module;
    if (!*is_nested) {
        Py_ssize_t last = PyList_GET_SIZE(names) - 1;
        Py_SETREF(*name, Py_NewRef(PyList_GET_ITEM(names, last)));
    }
#endif
    status = 0;
done:
    Py_XDECREF(names);
    Py_XDECREF(module);
    Py_XDECREF(found);
    return status;
}

int
fp_find_names(fp_walk *walk, PyObject *object, PyObject *given,
              PyObject **module_name, PyObject **name)
{
    PyObject *found_module = NULL, *found_name = NULL, *parent = NULL;
    int is_nested;
    int status = given == NULL
                     ? silent_names(walk->state, object, module_name, name)
                     : 0;

    if (status != 0) {
        return status < 0 ? -1 : 0;
    }
    status = find_names(walk, object, given, &found_module, &found_name,
                        &parent, &is_nested);
    if (status == 0) {
        /* Neither need be an exact str. */
        *module_name = PyObject_Str(found_module);
        *name = *module_name == NULL ? NULL : PyObject_Str(found_name);
        if (*name == NULL) {
            Py_CLEAR(*module_name);
            status = -1;
        }
    }
    Py_XDECREF(found_module);
    Py_XDECREF(found_name);
    Py_XDECREF(parent);
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
    int found;

    if (PyDict_GET_SIZE(registry) == 0) {
        return 0;
    }
    key = PyTuple_Pack(2, module_name, name);
    if (key == NULL) {
        return -1;
    }
    found = fp_dict_get(registry, key, &code_object);
    Py_DECREF(key);
    if (found <= 0) {
        return found;
    }
#if PY_VERSION_HEX < 0x030d0000
    if (!PyLong_Check(code_object)) {
        PyErr_Format(walk->state->pickling_error,
                     "Can't pickle %R: extension code %R isn't an integer",
                     object, code_object);
        Py_DECREF(code_object);
        return -1;
    }
#endif
    code = PyLong_AsLong(code_object);
    Py_DECREF(code_object);
    if (code <= 0 || code > INT32_MAX) {
        if (!PyErr_Occurred()) {
            FP_RAISE_EXTENSION_CODE(walk->state, object, code);
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
    PyObject *key;
    PyObject *item = NULL;
    int status = -1;
    int found;

    key = PyTuple_Pack(2, *module_name, *name);
    if (key == NULL) {
        return -1;
    }
    found = fp_dict_get(state->name_mapping_3to2, key, &item);
    Py_DECREF(key);
    if (found > 0) {
        if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2
            || !PyUnicode_Check(PyTuple_GET_ITEM(item, 0))
            || !PyUnicode_Check(PyTuple_GET_ITEM(item, 1)))
        {
            PyErr_SetString(PyExc_RuntimeError,
                            "_compat_pickle.REVERSE_NAME_MAPPING values "
                            "should be pairs of str");
            goto done;
        }
        Py_SETREF(*module_name, Py_NewRef(PyTuple_GET_ITEM(item, 0)));
        Py_SETREF(*name, Py_NewRef(PyTuple_GET_ITEM(item, 1)));
        status = 0;
        goto done;
    }
    if (found == 0) {
        found = fp_dict_get(state->import_mapping_3to2, *module_name, &item);
    }
    if (found <= 0) {
        return found;
    }
    if (!PyUnicode_Check(item)) {
        PyErr_Format(PyExc_RuntimeError,
                     "_compat_pickle.REVERSE_IMPORT_MAPPING values should "
                     "be strings, not %.200s",
                     Py_TYPE(item)->tp_name);
        goto done;
    }
    Py_SETREF(*module_name, Py_NewRef(item));
    status = 0;
done:
    Py_DECREF(item);
    return status;
}

/* A name as bytes, for a line of protocols below 4. New reference. */
static PyObject *
encode_name(const fp_walk *walk, PyObject *name, const char *what)
{
    PyObject *encoded = walk->protocol == 3 ? PyUnicode_AsUTF8String(name)
                                            : PyUnicode_AsASCIIString(name);

    if (encoded == NULL && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyObject *error = fp_take_exception();
        PyErr_Format(walk->state->pickling_error, FP_NOT_ENCODABLE, what, name,
                     walk->protocol);
        fp_keep_context(error);
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

/* What only stands for something of that name. Nothing of this process is asked,
 * so extension codes are not either. */
static int
save_by_its_names(fp_walk *walk, PyObject *object)
{
    PyObject *module_name = NULL, *name = NULL;
    int status = -1;

    if (fp_call_out(walk) < 0) {
        return -1;
    }
    module_name = PyObject_GetAttr(object, walk->state->str_module);
    if (module_name != NULL) {
        name = PyObject_GetAttr(object, walk->state->str_qualname);
    }
    if (name != NULL && PyUnicode_Check(module_name) && PyUnicode_Check(name)
        && walk->protocol >= 4)
    {
        status = note_package(walk, module_name) < 0
                     ? -1
                     : emit_stack_global(walk, object, module_name, name);
    }
    else if (name != NULL) {
        PyErr_Format(walk->state->pickling_error, "no names: %R, %R",
                     module_name, name);
    }
    Py_XDECREF(module_name);
    Py_XDECREF(name);
    return status;
}

int
fp_save_global(fp_walk *walk, PyObject *object, PyObject *given)
{
    PyObject *module_name = NULL;
    PyObject *name = NULL;
    PyObject *parent = NULL;
    int is_nested = 0;
    int status = -1;

    if (walk->names != NULL && given == NULL
        && Py_IS_TYPE(object, (PyTypeObject *)walk->names))
    {
        return save_by_its_names(walk, object);
    }
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
