/* Classes and functions by name; instances; what reducers answer. */
#include "hash_parts.h"

#include "base/compat.h"
#include "base/errors.h"

/* --- names ---------------------------------------------------------------- */

/* pickle's exception for what has no name becomes a TypeError, which it causes. */
static void
raise_unhashable(const fp_state *state)
{
    PyObject *error;

    if (!PyErr_ExceptionMatches(state->pickling_error)) {
        return;
    }
    error = fp_take_exception();
    PyErr_Format(PyExc_TypeError, "cannot hash: %S", error);
    fp_chain_exception(error);
}

/* NumPy 2 has moved what NumPy 1 calls numpy.core, and two classes to
 * numpy.rec. */
static int
put_module_name(fp_hasher *hasher, PyObject *name)
{
    static const char old[] = "numpy.core.";
    PyObject *renamed;
    int status;

    if (PyUnicode_Check(name)
        && PyUnicode_CompareWithASCIIString(name, "numpy.rec") == 0)
    {
        return fp_put_bytes(hasher, FP_STR_RECORD, "numpy", 5);
    }

    if (PyUnicode_Check(name)
        && PyUnicode_GET_LENGTH(name) > (Py_ssize_t)sizeof(old) - 1)
    {
        PyObject *head = PyUnicode_Substring(name, 0, sizeof(old) - 1);
        int is_old =
            head != NULL && PyUnicode_CompareWithASCIIString(head, old) == 0;
        Py_XDECREF(head);
        if (head == NULL) {
            return -1;
        }
        if (is_old) {
            PyObject *tail = PyUnicode_Substring(name, sizeof(old) - 1,
                                                 PyUnicode_GET_LENGTH(name));
            renamed = tail == NULL
                          ? NULL
                          : PyUnicode_FromFormat("numpy._core.%U", tail);
            Py_XDECREF(tail);
            status = renamed == NULL ? -1 : fp_put_text(hasher, renamed);
            Py_XDECREF(renamed);
            return status;
        }
    }
    return fp_put_text(hasher, name);
}

static int
put_names(fp_hasher *hasher, PyObject *object, PyObject *module_name,
          PyObject *name, int lonely)
{
    size_t start = hasher->bytes.n_used;

    return fp_put_tag(hasher, FP_GLOBAL_TAG) < 0
                   || put_module_name(hasher, module_name) < 0
                   || fp_put_text(hasher, name) < 0
               ? -1
               : fp_close_content(hasher, start, object, lonely);
}

/* Classes that no module has under their names. */
static const char *
name_of_singleton_type(PyObject *type)
{
    if (type == (PyObject *)Py_TYPE(Py_None)) {
        return "NoneType";
    }
    if (type == (PyObject *)Py_TYPE(Py_Ellipsis)) {
        return "ellipsis";
    }
    return type == (PyObject *)Py_TYPE(Py_NotImplemented)
               ? "NotImplementedType"
               : NULL;
}

/* A class or function, or with `given` what a reducer says the name of. */
static int
put_global(fp_hasher *hasher, PyObject *object, PyObject *given, int lonely)
{
    PyObject *module_name = NULL, *name = NULL;
    const char *singleton = name_of_singleton_type(object);
    int status;

    if (singleton != NULL) {
        module_name = PyUnicode_FromString("builtins");
        name = PyUnicode_FromString(singleton);
        status = module_name == NULL || name == NULL ? -1 : 0;
    }
    else {
        status =
            fp_find_names(&hasher->walk, object, given, &module_name, &name);
        if (status < 0) {
            raise_unhashable(hasher->state);
        }
    }
    if (status == 0) {
        status = put_names(hasher, object, module_name, name, lonely);
    }
    Py_XDECREF(module_name);
    Py_XDECREF(name);
    return status;
}

int
fp_put_class(fp_hasher *hasher, PyObject *type)
{
    int status = fp_put_known(hasher, type);

    return status != 0 ? (status < 0 ? -1 : 0)
                       : put_global(hasher, type, NULL, 0);
}

/* --- what is made of parts ------------------------------------------------ */

/* Pushes a visit of a tuple (stolen; NULL with an exception set). */
static int
push_parts(fp_hasher *hasher, int tag, PyObject *object, PyObject *parts,
           int lonely)
{
    fp_visit *visit =
        fp_push_visit(hasher, FP_VISIT_PARTS, tag, object, parts, lonely);

    if (visit == NULL) {
        return -1;
    }
    visit->size = PyTuple_GET_SIZE(parts);
    return FP_PUSHED_VISIT;
}

/* A method: its name, its object, and the class of that. */
static int
push_method(fp_hasher *hasher, PyObject *method, PyObject *of, int lonely)
{
    PyObject *name = PyObject_GetAttr(
        PyMethod_Check(method) ? PyMethod_GET_FUNCTION(method) : method,
        hasher->state->str_name);
    PyObject *parts =
        name == NULL ? NULL : PyTuple_Pack(3, name, of, Py_TYPE(of));

    Py_XDECREF(name);
    return push_parts(hasher, FP_METHOD_TAG, method, parts, lonely);
}

/* A function written in C: of a module, or a method. */
static int
hash_c_function(fp_hasher *hasher, PyObject *function, int lonely)
{
    PyObject *of = PyCFunction_GET_SELF(function);
    PyObject *module_name = NULL, *name;
    int status;

    if (of != NULL && !PyModule_Check(of)) {
        return push_method(hasher, function, of, lonely);
    }
    if (of == NULL) {
        return put_global(hasher, function, NULL, lonely);
    }
    module_name = PyModule_GetNameObject(of);
    name = module_name == NULL
               ? NULL
               : PyObject_GetAttr(function, hasher->state->str_name);
    status = name == NULL
                 ? -1
                 : put_names(hasher, function, module_name, name, lonely);
    Py_XDECREF(module_name);
    Py_XDECREF(name);
    return status;
}

/* Whether numpy has the object under that name. 1, 0 or -1. */
static int
is_in_numpy(PyObject *object, PyObject *name)
{
    PyObject *module = PyImport_ImportModule("numpy");
    PyObject *found;

    if (module == NULL) {
        return -1;
    }
    found = fp_optional_attribute(module, name);
    Py_DECREF(module);
    if (found == NULL && PyErr_Occurred()) {
        return -1;
    }
    Py_XDECREF(found);
    return found == object;
}

/* What says its name and no module, as ufuncs: NumPy's, as newer versions say of
 * them; else by class, name, and a ufunc's loops. Which module has it first
 * differs from process to process. */
static int
hash_named(fp_hasher *hasher, PyObject *object, PyObject *name, int lonely)
{
    int is_numpys = is_in_numpy(object, name);
    PyObject *types, *parts;

    if (is_numpys != 0) {
        PyObject *module_name =
            is_numpys < 0 ? NULL : PyUnicode_FromString("numpy");
        int status =
            module_name == NULL
                ? -1
                : put_names(hasher, object, module_name, name, lonely);
        Py_XDECREF(module_name);
        return status;
    }
    types = PyObject_GetAttrString(object, "types");
    if (types == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        types = Py_NewRef(Py_None);
    }
    parts = PyTuple_Pack(3, Py_TYPE(object), name, types);
    Py_DECREF(types);
    return push_parts(hasher, FP_NAMED_TAG, object, parts, lonely);
}

/* --- instances ------------------------------------------------------------ */

/* Class and attributes. `dict` is borrowed, NULL or a dict. */
static int
push_instance(fp_hasher *hasher, PyObject *object, PyObject *type,
              PyObject *dict, int lonely)
{
    PyObject *attributes = dict != NULL ? Py_NewRef(dict) : PyDict_New();
    fp_visit *visit = fp_push_visit(hasher, FP_VISIT_INSTANCE, FP_INSTANCE_TAG,
                                    object, attributes, lonely);

    if (visit == NULL || fp_put_class(hasher, type) < 0) {
        return -1;
    }
    fp_begin_items(hasher, visit);
    visit->size = PyDict_GET_SIZE(attributes);
    return FP_PUSHED_VISIT;
}

static int
has_dict(PyTypeObject *type)
{
    return (type->tp_flags & Py_TPFLAGS_MANAGED_DICT) != 0
           || type->tp_dictoffset != 0;
}

/* An instance of a plain class: -2 where it has a reducer of its own. */
static int
hash_plain(fp_hasher *hasher, PyObject *object, int lonely)
{
    PyObject *type = (PyObject *)Py_TYPE(object);
    PyObject *dict = NULL;
    int status;

    if (has_dict(Py_TYPE(object))) {
        dict = PyObject_GenericGetDict(object, NULL);
        if (dict == NULL) {
            return -1;
        }
        status = fp_carries_reducer(hasher->state, dict);
        if (status != 0) {
            Py_DECREF(dict);
            return status < 0 ? -1 : -2;
        }
    }
    status = push_instance(hasher, object, type, dict, lonely);
    Py_XDECREF(dict);
    return status;
}

/* --- reducers ------------------------------------------------------------- */

/* Item i of a reducer's tuple, None counting as absent. Borrowed. */
static PyObject *
part(PyObject *reduced, Py_ssize_t i)
{
    PyObject *item =
        i < PyTuple_GET_SIZE(reduced) ? PyTuple_GET_ITEM(reduced, i) : Py_None;

    return item == Py_None ? NULL : item;
}

/* Whether a reducer says the same as a plain class: copyreg.__newobj__, the class
 * alone, and a dict or nothing. */
static int
is_plain_answer(const fp_state *state, PyObject *reduced)
{
    PyObject *arguments = PyTuple_GET_ITEM(reduced, 1);

    return PyTuple_GET_ITEM(reduced, 0) == state->newobj_function
           && PyTuple_GET_SIZE(arguments) == 1
           && PyType_Check(PyTuple_GET_ITEM(arguments, 0))
           && (part(reduced, 2) == NULL || PyDict_CheckExact(part(reduced, 2)))
           && part(reduced, 3) == NULL && part(reduced, 4) == NULL
           && part(reduced, 5) == NULL;
}

static int
hash_reduced(fp_hasher *hasher, PyObject *object, int lonely)
{
    PyObject *reduced = fp_ask_reducer(&hasher->walk, object);
    fp_visit *visit;
    int status = -1;

    if (reduced == NULL) {
        raise_unhashable(hasher->state);
        return -1;
    }
    if (PyUnicode_Check(reduced)) {
        PyObject *module_name =
            fp_optional_attribute(object, hasher->state->str_module);
        if (module_name == NULL && PyErr_Occurred()) {
            goto done;
        }
        status = module_name != NULL && module_name != Py_None
                     ? put_global(hasher, object, reduced, lonely)
                     : hash_named(hasher, object, reduced, lonely);
        Py_XDECREF(module_name);
        goto done;
    }
    if (PyExceptionInstance_Check(object)) {
        Py_SETREF(reduced, fp_without_notes(hasher->state, reduced));
        if (reduced == NULL) {
            return -1;
        }
    }
    if (is_plain_answer(hasher->state, reduced)) {
        status = push_instance(
            hasher, object, PyTuple_GET_ITEM(PyTuple_GET_ITEM(reduced, 1), 0),
            part(reduced, 2), lonely);
        goto done;
    }
    visit = fp_push_visit(hasher, FP_VISIT_REDUCE, FP_REDUCE_TAG, object,
                          Py_NewRef(reduced), lonely);
    if (visit != NULL) {
        /* Order is part of what an OrderedDict is. */
        visit->size = PyODict_Check(object);
        status = FP_PUSHED_VISIT;
    }
done:
    Py_DECREF(reduced);
    return status;
}

#define N_PARTS 6

/* The items of a reducer's iterator. */
static int
push_items(fp_hasher *hasher, PyObject *iterator, fp_visit_kind kind, int tag)
{
    PyObject *items = PySequence_List(iterator);
    fp_visit *visit = fp_push_visit(hasher, kind, tag, NULL, items, 1);

    if (visit == NULL) {
        return -1;
    }
    visit->size = PyList_GET_SIZE(items);
    return FP_PUSHED_VISIT;
}

int
fp_step_reduce_visit(fp_hasher *hasher, fp_visit *visit)
{
    PyObject *reduced = visit->source;

    while (visit->position < N_PARTS) {
        Py_ssize_t i = visit->position++;
        PyObject *item = part(reduced, i);
        int status;
        if (item == NULL) {
            status = fp_put_tag(hasher, FP_NONE_RECORD);
        }
        else if (i == 3) {
            status = push_items(hasher, item, FP_VISIT_LIST, FP_ITEMS_TAG);
        }
        else if (i == 4) {
            status =
                visit->size
                    ? push_items(hasher, item, FP_VISIT_ORDERED_PAIRS,
                                 FP_ORDERED_PAIRS_TAG)
                    : push_items(hasher, item, FP_VISIT_PAIRS, FP_PAIRS_TAG);
        }
        else {
            status = fp_hash_child(hasher, item, 1);
        }
        if (status != FP_PUT_RECORD) {
            return status;
        }
    }
    return FP_PUT_RECORD;
}

/* --- pandas --------------------------------------------------------------- */

/* What pandas' objects are made of: a tuple of a name, a tuple of parts, and a
 * list of columns or None; None where their own reducer is right. */
static int
push_pandas(fp_hasher *hasher, PyObject *object, int lonely)
{
    PyObject *answer;
    fp_visit *visit;
    int status = -1;

    if (hasher->pandas_parts == NULL) {
        PyObject *module = PyImport_ImportModule("fastpersist._frames");
        if (module == NULL) {
            return -1;
        }
        hasher->pandas_parts = PyObject_GetAttrString(module, "parts");
        Py_DECREF(module);
        if (hasher->pandas_parts == NULL) {
            return -1;
        }
    }
    answer = PyObject_CallOneArg(hasher->pandas_parts, object);
    if (answer == NULL) {
        return -1;
    }
    if (answer == Py_None) {
        Py_DECREF(answer);
        return hash_reduced(hasher, object, lonely);
    }
    if (!PyTuple_CheckExact(answer) || PyTuple_GET_SIZE(answer) != 2
        || !PyTuple_CheckExact(PyTuple_GET_ITEM(answer, 0))
        || (!PyList_CheckExact(PyTuple_GET_ITEM(answer, 1))
            && PyTuple_GET_ITEM(answer, 1) != Py_None))
    {
        PyErr_SetString(PyExc_SystemError, "parts of a frame");
        goto done;
    }
    visit = fp_push_visit(hasher, FP_VISIT_PARTS, FP_FRAME_TAG, object,
                          Py_NewRef(PyTuple_GET_ITEM(answer, 0)), lonely);
    if (visit != NULL) {
        visit->size = PyTuple_GET_SIZE(PyTuple_GET_ITEM(answer, 0));
        if (PyTuple_GET_ITEM(answer, 1) != Py_None) {
            visit->ahead = Py_NewRef(PyTuple_GET_ITEM(answer, 1));
        }
        status = FP_PUSHED_VISIT;
    }
done:
    Py_DECREF(answer);
    return status;
}

static int
is_in_pandas(PyObject *module_name)
{
    static const char pandas[] = "pandas";
    Py_ssize_t length = PyUnicode_GET_LENGTH(module_name);
    Py_ssize_t n = (Py_ssize_t)sizeof(pandas) - 1;

    if (length < n
        || (length > n && PyUnicode_READ_CHAR(module_name, n) != '.'))
    {
        return 0;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        if (PyUnicode_READ_CHAR(module_name, i) != (Py_UCS4)pandas[i]) {
            return 0;
        }
    }
    return 1;
}

/* Whether a base of the class is pandas' own. 1, 0 or -1. */
static int
is_of_pandas(const fp_state *state, PyTypeObject *type)
{
    PyObject *mro = type->tp_mro;

    for (Py_ssize_t i = 0; mro != NULL && i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        PyObject *dict = fp_type_dict(base);
        PyObject *module_name = NULL;
        int is_found = 0;
        if (dict != NULL) {
            (void)fp_dict_get(dict, state->str_module, &module_name);
            Py_DECREF(dict);
        }
        if (PyErr_Occurred()) {
            return -1;
        }
        if (module_name != NULL && PyUnicode_CheckExact(module_name)) {
            is_found = is_in_pandas(module_name);
        }
        Py_XDECREF(module_name);
        if (is_found) {
            return 1;
        }
    }
    return 0;
}

/* --- which way ------------------------------------------------------------ */

static int
kind_of_class(fp_hasher *hasher, PyTypeObject *type)
{
    PyObject *reducer = NULL;
    int is_pandas;

    if (Py_TYPE(type)->tp_hash != PyType_Type.tp_hash) {
        return FP_CLASS_REDUCED; /* a look-up would run its code */
    }
    (void)fp_dict_get(hasher->state->dispatch_table, (PyObject *)type,
                      &reducer);
    if (reducer != NULL) {
        Py_DECREF(reducer);
        return FP_CLASS_REDUCED;
    }
    if (PyErr_Occurred()) {
        return -1;
    }
    if (PyType_IsSubtype(type, &PyType_Type)) {
        return FP_CLASS_BY_NAME;
    }
    is_pandas = is_of_pandas(hasher->state, type);
    if (is_pandas != 0) {
        return is_pandas < 0 ? -1 : FP_CLASS_PANDAS;
    }
    return fp_is_plain_class(&hasher->walk, type) ? FP_CLASS_PLAIN
                                                  : FP_CLASS_REDUCED;
}

static int
class_of(fp_hasher *hasher, PyTypeObject *type)
{
    int64_t *known = fp_memo_find(&hasher->classes, (PyObject *)type);
    int kind;

    if (known != NULL) {
        return (int)*known;
    }
    kind = kind_of_class(hasher, type);
    return kind < 0
                   || fp_memo_set(&hasher->classes, (PyObject *)type, kind) < 0
               ? -1
               : kind;
}

int
fp_hash_other(fp_hasher *hasher, PyObject *object, int lonely)
{
    PyTypeObject *type = Py_TYPE(object);
    int status, found;

    if (type == &PyType_Type || type == &PyFunction_Type) {
        return put_global(hasher, object, NULL, lonely);
    }
    if (type == &PyMethod_Type) {
        return push_method(hasher, object, PyMethod_GET_SELF(object), lonely);
    }
    if (PyCFunction_CheckExact(object)) {
        return hash_c_function(hasher, object, lonely);
    }
    found = fp_hash_numpy(hasher, object, lonely, &status);
    if (found != 0) {
        return found < 0 ? -1 : status;
    }
    switch (class_of(hasher, type)) {
    case FP_CLASS_BY_NAME:
        return put_global(hasher, object, NULL, lonely);
    case FP_CLASS_PLAIN:
        status = hash_plain(hasher, object, lonely);
        return status == -2 ? hash_reduced(hasher, object, lonely) : status;
    case FP_CLASS_PANDAS:
        return push_pandas(hasher, object, lonely);
    case FP_CLASS_REDUCED:
        return hash_reduced(hasher, object, lonely);
    default:
        return -1;
    }
}
