#include "array_guard.h"

#include "base/numpy_api.h"
#include "base/opcodes.h"
#include "unpickle_parts.h"

#include <stdlib.h>
#include <string.h>

/* What an item with pointers in it has at least one of. */
#define POINTER_FLAGS                                                         \
    (NPY_ITEM_REFCOUNT | NPY_LIST_PICKLE | NPY_ITEM_IS_POINTER)
/* What an item with objects in it has. */
#define OBJECT_FLAGS (NPY_ITEM_REFCOUNT | NPY_LIST_PICKLE)
/* An index of the memo that is not known. */
#define NO_INDEX SIZE_MAX
/* So many slots of the memo are searched in one load. */
#define MOST_SEARCHED ((size_t)1 << 24)

static int
refuse(const fp_machine *machine, const char *what)
{
    PyErr_SetString(machine->state->unpickling_error, what);
    return -1;
}

int
fp_guard_is_for(PyObject *instance)
{
    return PyArray_DescrCheck(instance) || PyArray_Check(instance);
}

/* --- arrays over buffers -------------------------------------------------- */

static int
has_pointers(const PyArray_Descr *descr)
{
    return PyDataType_FLAGCHK(descr, NPY_ITEM_REFCOUNT)
           || PyDataType_FLAGCHK(descr, NPY_LIST_PICKLE)
           || PyDataType_FLAGCHK(descr, NPY_ITEM_IS_POINTER);
}

/* The bytes that the elements of an array span, from the first to behind the
 * last. 0 where they are more than there can be. */
static int
span(PyArrayObject *array, uintptr_t *first, uintptr_t *end)
{
    uintptr_t low = (uintptr_t)PyArray_BYTES(array);
    uintptr_t high = low + (uintptr_t)PyArray_ITEMSIZE(array);

    for (int i = 0; i < PyArray_NDIM(array); i++) {
        npy_intp n = PyArray_DIM(array, i);
        npy_intp stride = PyArray_STRIDE(array, i);
        uintptr_t step =
            stride < 0 ? 0 - (uintptr_t)stride : (uintptr_t)stride;
        uintptr_t way;
        if (n == 0) {
            *first = *end = (uintptr_t)PyArray_BYTES(array);
            return 1;
        }
        if (__builtin_mul_overflow((uintptr_t)(n - 1), step, &way)
            || (stride < 0 ? __builtin_sub_overflow(low, way, &low)
                           : __builtin_add_overflow(high, way, &high)))
        {
            return 0;
        }
    }
    *first = low;
    *end = high;
    return 1;
}

/* Whether an array lies in the memory that `base` exports, or cannot be
 * compared with it: 1, 0, or -1. */
static int
lies_within(PyArrayObject *array, PyObject *base)
{
    uintptr_t first, end, start;
    Py_buffer view;
    int result;

    if (!span(array, &first, &end)) {
        return 0;
    }
    if (PyArray_Check(base)) { /* it need not be contiguous */
        uintptr_t base_first, base_end;
        return span((PyArrayObject *)base, &base_first, &base_end)
               && (first == end || (first >= base_first && end <= base_end));
    }
    if (PyObject_GetBuffer(base, &view, PyBUF_SIMPLE) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_BufferError)) {
            return -1;
        }
        PyErr_Clear();
        return 1;
    }
    start = (uintptr_t)view.buf;
    result = first == end
             || (first >= start && end >= first
                 && end - start <= (uintptr_t)view.len);
    PyBuffer_Release(&view);
    return result;
}

int
fp_guard_array(const fp_machine *machine, PyObject *object)
{
    PyArrayObject *array = (PyArrayObject *)object;
    PyObject *base = PyArray_Check(object) ? PyArray_BASE(array) : NULL;
    int status;

    if (base == NULL) {
        return 0;
    }
    while (PyArray_Check(base) && PyArray_BASE((PyArrayObject *)base) != NULL)
    {
        base = PyArray_BASE((PyArrayObject *)base);
    }
    if (!PyObject_CheckBuffer(base)) {
        return 0; /* some library's own memory */
    }
    if (!PyArray_Check(base) && has_pointers(PyArray_DESCR(array))) {
        return refuse(machine,
                      "an array of objects over a buffer: its bytes would be "
                      "taken for pointers");
    }
    status = lies_within(array, base);
    return status == 0
               ? refuse(machine, "an array that reaches beyond its buffer")
           : status < 0 ? -1
                        : 0;
}

/* --- dtypes -------------------------------------------------------------- */

typedef struct {
    npy_intp offset;
    npy_intp end;
    int has_objects;
} extent;

static int
compare_extents(const void *left, const void *right)
{
    const extent *a = left, *b = right;

    return (a->offset > b->offset) - (a->offset < b->offset);
}

static int check_dtype(const fp_machine *machine, PyArray_Descr *descr);

/* One entry of a dtype's dict of fields. */
static int
check_field(const fp_machine *machine, PyArray_Descr *descr, PyObject *entry,
            extent *found)
{
    npy_intp itemsize = PyDataType_ELSIZE(descr);
    PyArray_Descr *field;
    npy_intp offset;

    if (entry == NULL || !PyTuple_Check(entry) || PyTuple_GET_SIZE(entry) < 2
        || !PyArray_DescrCheck(PyTuple_GET_ITEM(entry, 0))
        || !PyLong_Check(PyTuple_GET_ITEM(entry, 1)))
    {
        return refuse(machine, "a numpy.dtype whose field is none");
    }
    field = (PyArray_Descr *)PyTuple_GET_ITEM(entry, 0);
    offset = PyLong_AsSsize_t(PyTuple_GET_ITEM(entry, 1));
    if (offset == -1 && PyErr_Occurred()) {
        PyErr_Clear();
    }
    if (check_dtype(machine, field) < 0) {
        return -1;
    }
    if (offset < 0 || offset > itemsize
        || PyDataType_ELSIZE(field) > itemsize - offset)
    {
        return refuse(
            machine, "a numpy.dtype with a field that is not within its item");
    }
    found->offset = offset;
    found->end = offset + PyDataType_ELSIZE(field);
    found->has_objects = has_pointers(field);
    return 0;
}

/* Whether NumPy's own constructor makes such a dtype: fields may lie over each
 * other, but for objects. */
static int
check_by_constructor(const fp_machine *machine, PyArray_Descr *descr)
{
    PyObject *names = PyDataType_NAMES(descr);
    Py_ssize_t n = PyTuple_GET_SIZE(names);
    PyObject *formats = PyList_New(n), *offsets = PyList_New(n);
    PyObject *made = NULL, *fields = NULL;

    if (formats == NULL || offsets == NULL) {
        goto done;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *entry = PyDict_GetItemWithError(PyDataType_FIELDS(descr),
                                                  PyTuple_GET_ITEM(names, i));
        PyList_SET_ITEM(formats, i, Py_NewRef(PyTuple_GET_ITEM(entry, 0)));
        PyList_SET_ITEM(offsets, i, Py_NewRef(PyTuple_GET_ITEM(entry, 1)));
    }
    fields = Py_BuildValue("{sOsOsOsn}", "names", names, "formats", formats,
                           "offsets", offsets, "itemsize",
                           (Py_ssize_t)PyDataType_ELSIZE(descr));
    if (fields != NULL) {
        made = PyObject_CallOneArg((PyObject *)&PyArrayDescr_Type, fields);
    }
    if (made == NULL && PyErr_ExceptionMatches(PyExc_Exception)
        && !PyErr_ExceptionMatches(PyExc_MemoryError))
    {
        PyErr_Clear();
        refuse(machine,
               "a numpy.dtype with a field that lies over one of objects");
    }
done:
    Py_XDECREF(formats);
    Py_XDECREF(offsets);
    Py_XDECREF(fields);
    Py_XDECREF(made);
    return made == NULL ? -1 : 0;
}

static int
check_fields(const fp_machine *machine, PyArray_Descr *descr, int *has_objects)
{
    PyObject *names = PyDataType_NAMES(descr);
    PyObject *fields = PyDataType_FIELDS(descr);
    PyObject *key, *entry;
    Py_ssize_t n, position = 0;
    npy_intp end = 0, objects_end = 0;
    extent *extents, other;
    int status = -1;
    int is_over = 0;

    if (!PyTuple_Check(names) || fields == NULL || !PyDict_Check(fields)) {
        return refuse(machine, "a numpy.dtype whose fields are none");
    }
    n = PyTuple_GET_SIZE(names);
    extents = PyMem_Calloc((size_t)n + 1, sizeof(*extents));
    if (extents == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        entry = PyDict_GetItemWithError(fields, PyTuple_GET_ITEM(names, i));
        if ((entry == NULL && PyErr_Occurred())
            || check_field(machine, descr, entry, &extents[i]) < 0)
        {
            goto done;
        }
        *has_objects |= extents[i].has_objects;
    }
    /* Titles lead to fields, too. */
    while (PyDict_GET_SIZE(fields) > n
           && PyDict_Next(fields, &position, &key, &entry))
    {
        if (check_field(machine, descr, entry, &other) < 0) {
            goto done;
        }
        if (other.has_objects && !*has_objects) {
            refuse(machine, "a numpy.dtype with a field of no name");
            goto done;
        }
    }
    if (*has_objects) {
        qsort(extents, (size_t)n, sizeof(*extents), compare_extents);
        for (Py_ssize_t i = 0; i < n; i++) {
            const extent *field = &extents[i];
            is_over |=
                field->offset < (field->has_objects ? end : objects_end);
            end = field->end > end ? field->end : end;
            if (field->has_objects && field->end > objects_end) {
                objects_end = field->end;
            }
        }
    }
    status = is_over ? check_by_constructor(machine, descr) : 0;
done:
    PyMem_Free(extents);
    return status;
}

static int
check_subarray(const fp_machine *machine, PyArray_Descr *descr,
               int *has_objects)
{
    PyArray_ArrayDescr *subarray = PyDataType_SUBARRAY(descr);
    PyArray_Descr *base = subarray->base;
    PyObject *shape = subarray->shape;
    npy_intp n_bytes;

    if (base == NULL || !PyArray_DescrCheck(base) || shape == NULL
        || !PyTuple_Check(shape))
    {
        return refuse(machine, "a numpy.dtype whose subarray is none");
    }
    if (check_dtype(machine, base) < 0) {
        return -1;
    }
    *has_objects |= has_pointers(base);
    n_bytes = PyDataType_ELSIZE(base);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(shape); i++) {
        PyObject *item = PyTuple_GET_ITEM(shape, i);
        npy_intp n = PyLong_Check(item) ? PyLong_AsSsize_t(item) : -1;
        if (n < 0 || __builtin_mul_overflow(n_bytes, n, &n_bytes)) {
            PyErr_Clear();
            return refuse(machine, "a numpy.dtype with a shape that is none");
        }
    }
    return n_bytes == PyDataType_ELSIZE(descr)
               ? 0
               : refuse(machine,
                        "a numpy.dtype whose subarray has another size");
}

/* The type's own size and flags, where it has neither fields nor a subarray. */
static int
check_plain(const fp_machine *machine, PyArray_Descr *descr)
{
    PyArray_Descr *plain = PyArray_DescrFromType(descr->type_num);
    npy_intp itemsize = PyDataType_ELSIZE(descr);
    int is_right;

    if (plain == NULL) {
        return -1;
    }
    is_right =
        PyTypeNum_ISFLEXIBLE(descr->type_num)
            ? itemsize >= 0
                  && (descr->type_num != NPY_UNICODE || itemsize % 4 == 0)
            : itemsize == PyDataType_ELSIZE(plain);
    is_right &= (PyDataType_FLAGS(descr) & (npy_uint64)POINTER_FLAGS)
                == (PyDataType_FLAGS(plain) & (npy_uint64)POINTER_FLAGS);
    Py_DECREF(plain);
    return is_right
               ? 0
               : refuse(machine, "a numpy.dtype with the size or the flags "
                                 "of another type");
}

/* That size, flags, fields and alignment agree, down to the last field. Types
 * that have no state of this kind are NumPy's own affair. */
static int
check_dtype(const fp_machine *machine, PyArray_Descr *descr)
{
    npy_intp alignment;
    int has_objects = 0;
    int status;

    if (!PyDataType_ISLEGACY(descr)) {
        return 0;
    }
    alignment = PyDataType_ALIGNMENT(descr);
    if (PyDataType_ELSIZE(descr) < 0 || alignment <= 0
        || (alignment & (alignment - 1)) != 0)
    {
        return refuse(machine,
                      "a numpy.dtype with a size or an alignment that "
                      "is none");
    }
    if (PyDataType_SUBARRAY(descr) == NULL && !fp_has_fields(descr)) {
        return check_plain(machine, descr);
    }
    if (Py_EnterRecursiveCall(" while checking a numpy.dtype")) {
        return -1;
    }
    status = 0;
    if (PyDataType_SUBARRAY(descr) != NULL) {
        status = check_subarray(machine, descr, &has_objects);
    }
    if (status == 0 && fp_has_fields(descr)) {
        status = check_fields(machine, descr, &has_objects);
    }
    Py_LeaveRecursiveCall();
    if (status < 0) {
        return -1;
    }
    if (descr->type_num != NPY_VOID) { /* fields over a number: the number */
        return has_objects ? refuse(machine, "a numpy.dtype with objects in a "
                                             "number")
                           : check_plain(machine, descr);
    }
    if (has_objects ? !PyDataType_FLAGCHK(descr, NPY_ITEM_REFCOUNT)
                          || !PyDataType_FLAGCHK(descr, NPY_LIST_PICKLE)
                    : has_pointers(descr))
    {
        return refuse(machine, has_objects
                                   ? "a numpy.dtype that hides its objects"
                                   : "a numpy.dtype that claims objects");
    }
    return 0;
}

/* --- who else has it ----------------------------------------------------- */

/* The index of the memo that the next opcode puts the top object at. */
static size_t
next_put(const fp_machine *machine)
{
    const unsigned char *p = machine->input->cursor;
    size_t n = (size_t)(machine->input->end - p);
    size_t index = 0;

    if (n >= 2 && p[0] == OP_BINPUT) {
        return p[1];
    }
    if (n >= 5 && p[0] == OP_LONG_BINPUT) {
        return fp_u32(p + 1);
    }
    if (n >= 1 && p[0] == OP_MEMOIZE) {
        return machine->n_memo;
    }
    if (n < 1 || p[0] != OP_PUT) {
        return NO_INDEX;
    }
    for (size_t i = 1; i < n && i < 20 && p[i] >= '0' && p[i] <= '9'; i++) {
        index = index * 10 + (size_t)(p[i] - '0');
    }
    return index;
}

static void
note_dtype(fp_machine *machine, PyObject *dtype)
{
    fp_new_dtype *noted =
        &machine->new_dtypes[machine->n_new_dtypes++ % FP_NEW_DTYPES];

    noted->dtype = Py_REFCNT(dtype) == 1 ? dtype : NULL;
    noted->memo_index = next_put(machine);
}

static int
is_in_memo(const fp_machine *machine, size_t index, PyObject *object)
{
    return index < machine->memo_capacity
           && machine->memo[index] == (fp_slot)(uintptr_t)object;
}

/* Whether the memo has it: from what was put last backwards, and not for ever,
 * since a file may ask as often as it likes. */
static int
is_found_in_memo(fp_machine *machine, PyObject *object)
{
    size_t n = machine->n_memo < machine->memo_capacity
                   ? machine->n_memo
                   : machine->memo_capacity;

    for (size_t i = 0; i < machine->memo_capacity; i++) {
        size_t index = i < n ? n - 1 - i : i;
        if (machine->n_memo_searched == MOST_SEARCHED) {
            return 0;
        }
        machine->n_memo_searched++;
        if (is_in_memo(machine, index, object)) {
            return 1;
        }
    }
    return 0;
}

/* Whether nothing but the caller and the memo has it. */
static int
is_unshared(fp_machine *machine, PyObject *object, Py_ssize_t n_held)
{
    size_t memo_index = NO_INDEX;

    if (Py_REFCNT(object) != n_held + 1) {
        return Py_REFCNT(object) <= n_held;
    }
    for (size_t i = 0; i < FP_NEW_DTYPES; i++) {
        if (machine->new_dtypes[i].dtype == object) {
            memo_index = machine->new_dtypes[i].memo_index;
            break;
        }
    }
    return memo_index != NO_INDEX ? is_in_memo(machine, memo_index, object)
                                  : is_found_in_memo(machine, object);
}

/* --- states --------------------------------------------------------------- */

static int
is_same_dtype(PyArray_Descr *a, PyArray_Descr *b)
{
    return PyArray_EquivTypes(a, b)
           && PyDataType_ELSIZE(a) == PyDataType_ELSIZE(b)
           && PyDataType_FLAGS(a) == PyDataType_FLAGS(b)
           && PyDataType_ALIGNMENT(a) == PyDataType_ALIGNMENT(b);
}

/* A dtype that others use already may be told what it is, and nothing else. */
static int
set_shared_dtype(fp_machine *machine, PyArray_Descr *descr, PyObject *state,
                 fp_set_state set)
{
    PyArray_Descr *copy = PyArray_DescrNew(descr);
    int status;

    if (copy == NULL) {
        return -1;
    }
    status = set(machine, (PyObject *)copy, state);
    if (status == 0) {
        status = check_dtype(machine, copy);
    }
    if (status == 0 && !is_same_dtype(copy, descr)) {
        status = refuse(machine,
                        "the state of a numpy.dtype that is in use already");
    }
    Py_DECREF(copy);
    return status;
}

static int
set_dtype(fp_machine *machine, PyObject *dtype, PyObject *state,
          Py_ssize_t n_held, fp_set_state set)
{
    PyArray_Descr *descr = (PyArray_Descr *)dtype;
    int status;

    if (!PyDataType_ISLEGACY(descr)) {
        return set(machine, dtype, state);
    }
    if (!is_unshared(machine, dtype, n_held)) {
        return set_shared_dtype(machine, descr, state, set);
    }
    status = set(machine, dtype, state);
    return status < 0 ? -1 : check_dtype(machine, descr);
}

/* A state as numpy.ndarray's own: (version, shape, dtype, is_fortran, data), or
 * without the version; subclasses put more behind it. */
static int
check_array_state(const fp_machine *machine, PyObject *state)
{
    Py_ssize_t first;
    PyObject *shape, *data;
    npy_intp n_items = 1;

    if (!PyTuple_Check(state) || PyTuple_GET_SIZE(state) < 4) {
        return 0;
    }
    first = PyLong_Check(PyTuple_GET_ITEM(state, 0)) ? 1 : 0;
    shape = PyTuple_GET_ITEM(state, first);
    if (PyTuple_GET_SIZE(state) < first + 4 || !PyTuple_Check(shape)
        || !PyArray_DescrCheck(PyTuple_GET_ITEM(state, first + 1)))
    {
        return 0;
    }
    data = PyTuple_GET_ITEM(state, first + 3);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(shape); i++) {
        PyObject *item = PyTuple_GET_ITEM(shape, i);
        npy_intp n;
        if (!PyLong_Check(item)) {
            return 0; /* NumPy says so */
        }
        n = PyLong_AsSsize_t(item);
        if (n < 0 || __builtin_mul_overflow(n_items, n, &n_items)) {
            PyErr_Clear();
            return refuse(machine, "an array with a shape that is none");
        }
    }
    if (PyList_Check(data) && PyList_GET_SIZE(data) < n_items) {
        return refuse(machine,
                      "an array with fewer objects than its shape has");
    }
    return 0;
}

static int
set_array(fp_machine *machine, PyObject *array, PyObject *state,
          Py_ssize_t n_held, fp_set_state set)
{
    PyArrayObject *instance = (PyArrayObject *)array;

    if (check_array_state(machine, state) < 0) {
        return -1;
    }
    /* Its memory is given back: nobody may look into it. */
    if (PyArray_NBYTES(instance) > 0 && !is_unshared(machine, array, n_held)) {
        return refuse(machine, "the state of an array that is in use already");
    }
    if (set(machine, array, state) < 0) {
        return -1;
    }
    return fp_guard_array(machine, array);
}

int
fp_guard_state(fp_machine *machine, PyObject *instance, PyObject *state,
               Py_ssize_t n_held, fp_set_state set)
{
    return PyArray_DescrCheck(instance)
               ? set_dtype(machine, instance, state, n_held, set)
               : set_array(machine, instance, state, n_held, set);
}

/* --- calls ---------------------------------------------------------------- */

/* The type whose __setstate__ that is, or NULL. */
static PyTypeObject *
setstate_of(PyObject *callable)
{
    PyTypeObject *type;

    if (!Py_IS_TYPE(callable, &PyMethodDescr_Type)) {
        return NULL;
    }
    type = PyDescr_TYPE(callable);
    return (type == &PyArray_Type || type == &PyArrayDescr_Type)
                   && strcmp(
                          ((PyMethodDescrObject *)callable)->d_method->ml_name,
                          "__setstate__")
                          == 0
               ? type
               : NULL;
}

static int
set_by_type(PyTypeObject *type, PyObject *instance, PyObject *state)
{
    PyObject *set = PyObject_GetAttrString((PyObject *)type, "__setstate__");
    PyObject *result = NULL;

    if (set != NULL) {
        result = PyObject_CallFunctionObjArgs(set, instance, state, NULL);
    }
    Py_XDECREF(set);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
set_as_dtype(fp_machine *machine, PyObject *instance, PyObject *state)
{
    (void)machine;
    return set_by_type(&PyArrayDescr_Type, instance, state);
}

static int
set_as_array(fp_machine *machine, PyObject *instance, PyObject *state)
{
    (void)machine;
    return set_by_type(&PyArray_Type, instance, state);
}

PyObject *
fp_guard_call(fp_machine *machine, PyObject *callable, PyObject *args)
{
    PyTypeObject *type = setstate_of(callable);
    PyObject *object;

    if (type != NULL && PyTuple_Check(args) && PyTuple_GET_SIZE(args) == 2
        && PyObject_TypeCheck(PyTuple_GET_ITEM(args, 0), type))
    {
        return fp_guard_state(machine, PyTuple_GET_ITEM(args, 0),
                              PyTuple_GET_ITEM(args, 1), 1,
                              type == &PyArray_Type ? set_as_array
                                                    : set_as_dtype)
                       < 0
                   ? NULL
                   : Py_NewRef(Py_None);
    }
    object = PyObject_CallObject(callable, args);
    if (object == NULL) {
        return NULL;
    }
    if (callable == (PyObject *)&PyArrayDescr_Type
        && PyArray_DescrCheck(object))
    {
        note_dtype(machine, object);
    }
    else if (fp_guard_array(machine, object) < 0) {
        Py_CLEAR(object);
    }
    return object;
}
