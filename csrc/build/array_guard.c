#include "array_guard.h"

#include "base/compat.h"
#include "base/numpy_api.h"

#include <stdarg.h>

/* --- refusals ------------------------------------------------------------ */

int
fp_refuse(fp_machine *machine, const char *format, ...)
{
    PyObject *error = machine->state->unpickling_error;
    unsigned long long offset = fp_input_offset(machine->input);
    PyObject *what;
    va_list arguments;

    va_start(arguments, format);
    what = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    if (what == NULL) {
        return -1;
    }
    if (machine->own_wrappers) { /* load() says itself where */
        PyErr_SetObject(error, what);
    }
    else {
        PyErr_Format(error, "%U (at offset %llu of the pickle)", what, offset);
    }
    Py_DECREF(what);
    return -1;
}

int
fp_is_only_here(const fp_machine *machine, PyObject *object)
{
    Py_ssize_t n_others = Py_REFCNT(object) - 1; /* less the stack's */
    Py_ssize_t position = 0;
    PyObject *key, *value;

    /* What is being built was numbered not long ago. */
    for (size_t i = machine->memo_capacity; n_others > 0 && i-- > 0;) {
        n_others -= machine->memo[i] == (fp_slot)object;
    }
    while (n_others > 0 && machine->sparse_memo != NULL
           && PyDict_Next(machine->sparse_memo, &position, &key, &value))
    {
        n_others -= value == object;
    }
    return n_others == 0;
}

/* --- calls --------------------------------------------------------------- */

/* What a call amounts to, where copyreg's functions stand for a class's
 * __new__: its arguments are those from `first` on. */
typedef struct {
    PyObject *callable;
    PyObject *args;     /* tuple, or NULL: nothing that can be read */
    PyObject *keywords; /* dict, or NULL */
    Py_ssize_t first;
} call;

static call
call_of(const fp_state *state, PyObject *callable, PyObject *args,
        PyObject *keywords)
{
    call made = {callable, args, keywords, 0};

    if (!PyTuple_Check(args)) {
        made.args = NULL;
    }
    else if (callable == state->newobj_function && PyTuple_GET_SIZE(args) > 0)
    {
        made.callable = PyTuple_GET_ITEM(args, 0);
        made.first = 1;
    }
    else if (callable == state->newobj_ex_function
             && PyTuple_GET_SIZE(args) == 3)
    {
        made.callable = PyTuple_GET_ITEM(args, 0);
        made.args = PyTuple_GET_ITEM(args, 1);
        made.keywords = PyTuple_GET_ITEM(args, 2);
        if (!PyTuple_Check(made.args)) {
            made.args = NULL;
        }
    }
    if (made.keywords != NULL && !PyDict_Check(made.keywords)) {
        made.keywords = NULL;
    }
    return made;
}

/* Borrowed; NULL: not given. */
static PyObject *
argument(const call *made, Py_ssize_t index, const char *name)
{
    index += made->first;
    if (made->args != NULL && index < PyTuple_GET_SIZE(made->args)) {
        return PyTuple_GET_ITEM(made->args, index);
    }
    return made->keywords == NULL ? NULL
                                  : PyDict_GetItemString(made->keywords, name);
}

/* A function of NumPy's own modules. */
static int
is_of_numpy(const fp_state *state, PyObject *function)
{
    PyObject *module = fp_optional_attribute(function, state->str_module);
    int answer = 0;

    if (module != NULL && PyUnicode_Check(module)) {
        answer = PyUnicode_CompareWithASCIIString(module, "numpy") == 0
                 || PyUnicode_Tailmatch(module, state->str_numpy_dot, 0,
                                        PyUnicode_GET_LENGTH(module), -1)
                        == 1;
    }
    Py_XDECREF(module);
    PyErr_Clear();
    return answer;
}

/* An array class whose constructor is NumPy's: in C, or a Python one. */
static int
is_numpys_class(const fp_state *state, PyObject *callable)
{
    PyTypeObject *type = (PyTypeObject *)callable;
    PyObject *constructor;
    int answer;

    if (!PyType_Check(callable) || !fp_is_array_class(state, type)) {
        return 0;
    }
    if (type->tp_new == PyArray_Type.tp_new) {
        return 1;
    }
    constructor = fp_optional_attribute(callable, state->str_new_);
    answer = constructor != NULL && is_of_numpy(state, constructor);
    Py_XDECREF(constructor);
    PyErr_Clear();
    return answer;
}

/* Of a shape: -1, or that alone in a sequence. */
static int
is_minus_one(PyObject *object)
{
    PyObject *item = NULL;
    int answer = 0;

    if (object == NULL || PyTuple_Check(object)) {
        if (object == NULL || PyTuple_GET_SIZE(object) != 1) {
            return 0;
        }
        item = Py_NewRef(PyTuple_GET_ITEM(object, 0));
    }
    else if (PyIndex_Check(object) && !PyArray_Check(object)) {
        item = Py_NewRef(object);
    }
    else if (PySequence_Check(object) && PySequence_Size(object) == 1) {
        item = PySequence_GetItem(object, 0);
    }
    if (item != NULL && PyIndex_Check(item)) {
        answer = PyNumber_AsSsize_t(item, NULL) == -1 && !PyErr_Occurred();
    }
    Py_XDECREF(item);
    PyErr_Clear();
    return answer;
}

/* The dtype that NumPy makes of it: new reference, NULL without an exception
 * where it makes none. */
static PyArray_Descr *
as_dtype(PyObject *object)
{
    PyArray_Descr *descr = NULL;

    if (object == NULL) {
        return NULL;
    }
    if (PyArray_DescrCheck(object)) {
        return (PyArray_Descr *)Py_NewRef(object);
    }
    if (!PyArray_DescrConverter(object, &descr)) {
        PyErr_Clear();
        descr = NULL;
    }
    return descr;
}

/* Items of no bytes, or of a size that an int of C takes for none: NumPy
 * divides by it to find a length of -1. */
static int
is_without_size(PyObject *given)
{
    PyArray_Descr *descr;
    int answer, overflow;

    if (given != NULL && PyLong_Check(given)) { /* chararray's itemsize */
        return PyLong_AsLongAndOverflow(given, &overflow) == 0;
    }
    descr = as_dtype(given);
    answer = descr != NULL && (int)PyDataType_ELSIZE(descr) == 0;
    Py_XDECREF(descr);
    return answer;
}

static int
guard_class(fp_machine *machine, const call *made)
{
    PyTypeObject *type = (PyTypeObject *)made->callable;
    PyObject *dtype = argument(made, 1, "dtype");
    PyObject *buffer = argument(made, 2, "buffer");
    int is_plain = type->tp_new == PyArray_Type.tp_new;
    int is_unsized = is_minus_one(argument(made, 0, "shape"));
    PyArray_Descr *descr;
    int has_objects;

    /* NumPy takes any class for a dtype of objects, and what a hook gives says
     * nothing about the class that it stands for. */
    if (machine->find_class != NULL && dtype != NULL && PyType_Check(dtype)) {
        return fp_refuse(machine, "%s of a dtype that is a class",
                         type->tp_name);
    }
    if (!is_plain) {
        /* memmap has its shape elsewhere, chararray its itemsize */
        is_unsized = is_unsized || is_minus_one(argument(made, 4, "shape"));
        if (dtype == NULL) {
            dtype = argument(made, 1, "itemsize");
        }
    }
    if (is_unsized && is_without_size(dtype)) {
        return fp_refuse(machine,
                         "%s of items without bytes, as many as there are",
                         type->tp_name);
    }
    /* Its __array_finalize__ sees the array before we do. */
    if (is_plain && type != &PyArray_Type && buffer != NULL
        && buffer != Py_None && !PyArray_Check(buffer))
    {
        descr = as_dtype(dtype);
        has_objects = descr != NULL && PyDataType_REFCHK(descr);
        Py_XDECREF(descr);
        if (has_objects) {
            return fp_refuse(machine,
                             "%s of %R over a buffer: its bytes are no "
                             "objects",
                             type->tp_name, dtype);
        }
    }
    return 0;
}

static int
guard_scalar(fp_machine *machine, const call *made)
{
    PyObject *dtype = argument(made, 0, "dtype");
    PyObject *value = argument(made, 1, "obj");
    PyArray_Descr *descr;

    if (dtype == NULL || !PyArray_DescrCheck(dtype)) {
        return 0;
    }
    descr = (PyArray_Descr *)dtype;
    if (value == NULL && PyDataType_ELSIZE(descr) == 0) {
        /* NumPy would make the dtype itself longer. */
        return fp_refuse(machine, "a scalar of %R without its bytes", dtype);
    }
    if (PyDataType_SUBARRAY(descr) != NULL) {
        return fp_refuse(machine, "a scalar of %R, which is an array's",
                         dtype);
    }
    if (PyDataType_FLAGCHK(descr, NPY_LIST_PICKLE) && value != NULL
        && PyArray_CheckExact(value)
        && PyArray_SIZE((PyArrayObject *)value) == 0)
    {
        return fp_refuse(machine, "a scalar of %R out of no item", dtype);
    }
    return 0;
}

int
fp_guard_call(fp_machine *machine, PyObject *callable, PyObject *args,
              PyObject *keywords)
{
    fp_state *state = machine->state;
    call made = call_of(state, callable, args, keywords);

    if (made.callable == state->scalar_function) {
        return guard_scalar(machine, &made);
    }
    return is_numpys_class(state, made.callable) ? guard_class(machine, &made)
                                                 : 0;
}

/* --- the arrays that calls made ------------------------------------------ */

typedef struct {
    const char *first, *end;
} extent;

/* Where its items lie. 0 where that overflows. */
static int
extent_of(PyArrayObject *array, extent *items)
{
    npy_intp below = 0, above = PyArray_ITEMSIZE(array);
    uintptr_t data = (uintptr_t)PyArray_BYTES(array);
    uintptr_t first, end;

    if (above == 0 || PyArray_SIZE(array) == 0) { /* nowhere */
        items->first = items->end = NULL;
        return 1;
    }
    for (int i = 0; i < PyArray_NDIM(array); i++) {
        npy_intp reach;
        if (__builtin_mul_overflow(PyArray_STRIDE(array, i),
                                   PyArray_DIM(array, i) - 1, &reach)
            || (reach < 0 ? __builtin_add_overflow(below, reach, &below)
                          : __builtin_add_overflow(above, reach, &above)))
        {
            return 0;
        }
    }
    first = data + (uintptr_t)below;
    end = data + (uintptr_t)above;
    if ((below < 0 && first > data) || (above > 0 && end < data)) {
        return 0;
    }
    items->first = (const char *)first;
    items->end = (const char *)end;
    return 1;
}

static int
is_empty(const extent *items)
{
    return items->first == items->end;
}

static int
is_within(const extent *items, const extent *memory)
{
    return is_empty(items)
           || (items->first >= memory->first && items->end <= memory->end);
}

/* Whether items with objects in them lie where the base has such items. */
static int
has_same_items(PyArrayObject *array, PyArrayObject *base)
{
    npy_intp n_bytes = PyArray_ITEMSIZE(array);

    if (!PyArray_EquivTypes(PyArray_DESCR(array), PyArray_DESCR(base))
        || n_bytes <= 0
        || (PyArray_BYTES(array) - PyArray_BYTES(base)) % n_bytes != 0)
    {
        return 0;
    }
    for (int i = 0; i < PyArray_NDIM(array); i++) {
        if (PyArray_DIM(array, i) > 1
            && PyArray_STRIDE(array, i) % n_bytes != 0)
        {
            return 0;
        }
    }
    return 1;
}

/* A record scalar that has objects in its memory: 1, 0 or -1. */
static int
is_scalar_of_objects(PyObject *object)
{
    PyArray_Descr *descr;
    int answer;

    if (!PyArray_IsScalar(object, Void)) {
        return 0;
    }
    descr = PyArray_DescrFromScalar(object);
    if (descr == NULL) {
        return -1;
    }
    answer = PyDataType_REFCHK(descr);
    Py_DECREF(descr);
    return answer;
}

static int
guard_over_array(fp_machine *machine, PyArrayObject *array,
                 PyArrayObject *base)
{
    int has_objects = PyDataType_REFCHK(PyArray_DESCR(array));
    extent items, memory;

    if (has_objects != PyDataType_REFCHK(PyArray_DESCR(base))
        || (has_objects && !has_same_items(array, base)))
    {
        return fp_refuse(machine,
                         "an array of %R over one of %R: objects "
                         "are no bytes",
                         PyArray_DESCR(array), PyArray_DESCR(base));
    }
    if (!extent_of(array, &items) || !extent_of(base, &memory)
        || !is_within(&items, &memory))
    {
        return fp_refuse(machine, "an array beyond the one that it lies in");
    }
    return 0;
}

/* Whether a buffer says that objects are in it; names stand between colons. */
static int
is_buffer_of_objects(PyObject *base)
{
    Py_buffer view;
    int in_name = 0, answer = 0;

    if (PyObject_GetBuffer(base, &view, PyBUF_FULL_RO) < 0) {
        PyErr_Clear();
        return 0;
    }
    for (const char *p = view.format; p != NULL && *p != '\0'; p++) {
        in_name ^= *p == ':';
        answer |= *p == 'O' && !in_name;
    }
    PyBuffer_Release(&view);
    return answer;
}

static int
guard_over_buffer(fp_machine *machine, PyArrayObject *array, PyObject *base)
{
    Py_buffer view;
    extent items, memory;
    int has_objects = is_scalar_of_objects(base);

    if (has_objects < 0) {
        return -1;
    }
    if (PyDataType_REFCHK(PyArray_DESCR(array)) || has_objects
        || is_buffer_of_objects(base))
    {
        return fp_refuse(machine,
                         "an array of %R over a %s: its bytes are no objects",
                         PyArray_DESCR(array), Py_TYPE(base)->tp_name);
    }
    if (PyObject_GetBuffer(base, &view, PyBUF_SIMPLE) < 0) {
        PyErr_Clear(); /* in Fortran order, for one */
        if (PyObject_GetBuffer(base, &view, PyBUF_FULL_RO) < 0) {
            return -1;
        }
    }
    memory.first = view.buf;
    memory.end = memory.first + view.len;
    PyBuffer_Release(&view);
    if (!extent_of(array, &items) || !is_within(&items, &memory)) {
        return fp_refuse(machine,
                         "an array beyond the %zd bytes of the %s that it "
                         "lies in",
                         (Py_ssize_t)(memory.end - memory.first),
                         Py_TYPE(base)->tp_name);
    }
    /* NumPy keeps the object, but not its memory where it is. */
    if (!is_empty(&items)
        && Py_TYPE(base)->tp_as_buffer->bf_releasebuffer != NULL)
    {
        machine->lends_buffers = 1;
    }
    return 0;
}

PyObject *
fp_guard_result(fp_machine *machine, PyObject *callable, PyObject *args,
                PyObject *object)
{
    fp_state *state = machine->state;
    PyObject *made, *base;
    int status;

    if (object == NULL || !PyArray_Check(object)) {
        return object;
    }
    base = PyArray_BASE((PyArrayObject *)object);
    if (base == NULL) {
        return object;
    }
    made = call_of(state, callable, args, NULL).callable;
    if (made != state->frombuffer_function && made != state->builtin_frombuffer
        && !is_numpys_class(state, made))
    {
        return object;
    }
    status = PyArray_Check(base)
                 ? guard_over_array(machine, (PyArrayObject *)object,
                                    (PyArrayObject *)base)
                 : guard_over_buffer(machine, (PyArrayObject *)object, base);
    if (status < 0) {
        Py_CLEAR(object);
    }
    return object;
}

int
fp_guard_items(fp_machine *machine, PyObject *target)
{
    PyBufferProcs *procs = Py_TYPE(target)->tp_as_buffer;

    if (!machine->lends_buffers || procs == NULL
        || procs->bf_releasebuffer == NULL || PyMemoryView_Check(target))
    {
        return 0;
    }
    return fp_refuse(machine, "items for a %s that an array lies in",
                     Py_TYPE(target)->tp_name);
}

/* --- states of arrays ---------------------------------------------------- */

/* As much as array.__setstate__ reads: shape, dtype, order, and then bytes or
 * the items. `replaced`: what the array has in its memory, NULL where that is
 * nothing. */
static int
guard_items_of(fp_machine *machine, PyArray_Descr *replaced, PyObject *shape,
               PyArray_Descr *descr, PyObject *items)
{
    Py_ssize_t n_items = 1, n_bytes = PyDataType_ELSIZE(descr);

    if (PyDataType_SUBARRAY(descr) != NULL) {
        return fp_refuse(machine, "an array whose items are of %R", descr);
    }
    /* Where NumPy raises, it may have the new dtype over the old memory. */
    if (replaced != NULL
        && (PyDataType_ELSIZE(replaced) != PyDataType_ELSIZE(descr)
            || PyDataType_REFCHK(replaced) != PyDataType_REFCHK(descr)))
    {
        return fp_refuse(machine, "an array of %R becomes one of %R", replaced,
                         descr);
    }
    if (!PyDataType_FLAGCHK(descr, NPY_LIST_PICKLE) || !PyList_Check(items)) {
        return 0; /* NumPy says what it wants */
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(shape); i++) {
        Py_ssize_t length = PyNumber_AsSsize_t(PyTuple_GET_ITEM(shape, i),
                                               PyExc_OverflowError);
        if (length < 0 || __builtin_mul_overflow(n_items, length, &n_items)
            || __builtin_mul_overflow(n_bytes, length, &n_bytes))
        {
            PyErr_Clear(); /* NumPy raises, too */
            return 0;
        }
    }
    if (PyList_GET_SIZE(items) < n_items) {
        return fp_refuse(machine,
                         "an array of shape %R, but only %zd items for it",
                         shape, PyList_GET_SIZE(items));
    }
    return 0;
}

/* The same, wherever in the state of a subclass it may stand. */
static int
guard_items_in(fp_machine *machine, PyArray_Descr *replaced, PyObject *state,
               int depth)
{
    Py_ssize_t n = PyTuple_GET_SIZE(state);

    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = PyTuple_GET_ITEM(state, i);
        int status = 0;
        if (depth > 0 && PyTuple_Check(item)) {
            status = guard_items_in(machine, replaced, item, depth - 1);
        }
        else if (i > 0 && i + 2 < n && PyArray_DescrCheck(item)
                 && PyTuple_Check(PyTuple_GET_ITEM(state, i - 1)))
        {
            status = guard_items_of(
                machine, replaced, PyTuple_GET_ITEM(state, i - 1),
                (PyArray_Descr *)item, PyTuple_GET_ITEM(state, i + 2));
        }
        if (status < 0) {
            return -1;
        }
    }
    return 0;
}

static int
has_numpys_setstate(const fp_state *state, PyTypeObject *type)
{
    PyObject *setstate = fp_type_lookup(type, state->str_setstate);

    return setstate != NULL
           && (setstate == fp_type_lookup(&PyArray_Type, state->str_setstate)
               || is_of_numpy(state, setstate));
}

int
fp_guard_state(fp_machine *machine, PyObject *instance, PyObject **state)
{
    PyArray_Descr *replaced = NULL;

    if (fp_is_dtype(machine->state, instance)) {
        return fp_guard_dtype_state(machine, instance, state);
    }
    if (PyArray_NBYTES((PyArrayObject *)instance) > 0
        && has_numpys_setstate(machine->state, Py_TYPE(instance)))
    {
        if (!fp_is_only_here(machine, instance)) { /* its memory goes */
            return fp_refuse(machine,
                             "another state for an array that is in use");
        }
        replaced = PyArray_DESCR((PyArrayObject *)instance);
    }
    if (PyTuple_Check(*state)
        && guard_items_in(machine, replaced, *state, 2) < 0)
    {
        return -1;
    }
    return 1;
}
