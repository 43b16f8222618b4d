/* The state of a dtype, read before NumPy takes it over.
 *
 * numpy.dtype.__setstate__ stores what it is given. Here it is held against
 * what NumPy's constructor would make: the itemsize is the dtype's own, fields
 * lie within it and have names of their own, the flags say of objects what the
 * fields say, objects overlap with nothing. What is in use already (or would
 * contain itself) gets no fields, subarray or itemsize any more. NumPy is given
 * a state of exact ints and a dict that nobody else has.
 */
#include "array_guard.h"

#include "base/numpy_api.h"
#include "in/array_load.h"

#include <limits.h>
#include <stdlib.h>

/* Bits of a dtype's flags that are stored; the others pass. */
#define STORED_BITS 0x7f
/* What a structure takes from its fields. */
#define FIELD_BITS                                                            \
    (NPY_ITEM_REFCOUNT | NPY_LIST_PICKLE | NPY_NEEDS_INIT | NPY_NEEDS_PYAPI)
/* What makes NumPy read the memory in another way. */
#define TYPE_BITS                                                             \
    (NPY_ITEM_REFCOUNT | NPY_LIST_PICKLE | NPY_ITEM_IS_POINTER                \
     | NPY_USE_GETITEM | NPY_USE_SETITEM)
#define MAX_ALIGNMENT 4096

/* What stands where in a state, by its length. */
enum {
    VERSION,
    ENDIAN,
    SUBARRAY,
    NAMES,
    FIELDS,
    ITEMSIZE,
    ALIGNMENT,
    FLAGS,
    METADATA,
    N_PARTS
};

typedef struct {
    PyObject *parts[N_PARTS]; /* borrowed; NULL: not there */
    PyObject *names;          /* owned: NAMES, or out of FIELDS; or NULL */
    PyObject *fields;         /* owned: a copy of FIELDS; or NULL */
    PyObject *shape;          /* owned: of the subarray; or NULL */
    PyArray_Descr *base;      /* borrowed: of the subarray; or NULL */
    char endian;
    int version;
    Py_ssize_t n_bytes;
    Py_ssize_t alignment;
    int64_t flags;
    int is_exact; /* NumPy may have the state as it is */
} dtype_state;

/* What a step says of a state. */
enum {
    REFUSED = -1, /* an exception is set */
    LEFT = 0,     /* NumPy raises before it changes anything */
    TAKEN = 1
};

/* --- numbers ------------------------------------------------------------- */

/* As NumPy's own parser has it, but read once. */
static int
take_size(dtype_state *parsed, int part, Py_ssize_t *value)
{
    PyObject *given = parsed->parts[part];

    parsed->is_exact &= PyLong_CheckExact(given);
    *value = PyNumber_AsSsize_t(given, PyExc_OverflowError);
    if (*value == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return LEFT;
    }
    return TAKEN;
}

static int
take_endian(fp_machine *machine, dtype_state *parsed)
{
    PyObject *given = parsed->parts[ENDIAN];

    if (PyUnicode_Check(given) && PyUnicode_GET_LENGTH(given) == 1
        && PyUnicode_READ_CHAR(given, 0) < 128)
    {
        parsed->endian = (char)PyUnicode_READ_CHAR(given, 0);
    }
    else if (PyBytes_Check(given) && PyBytes_GET_SIZE(given) == 1) {
        parsed->endian = PyBytes_AS_STRING(given)[0];
    }
    else {
        return LEFT;
    }
    if (parsed->endian == '\0' || strchr("<>=|", parsed->endian) == NULL) {
        return fp_refuse(machine, "a dtype of unknown byte order %R", given);
    }
    return TAKEN;
}

/* Names that lie under -1 among the fields, as the oldest versions have it. */
static int
take_old_names(dtype_state *parsed)
{
    PyObject *key = PyLong_FromLong(-1);
    int status = key == NULL ? REFUSED : LEFT;

    if (key != NULL) {
        parsed->names =
            Py_XNewRef(PyDict_GetItemWithError(parsed->fields, key));
        if (parsed->names != NULL) {
            status = PyDict_DelItem(parsed->fields, key) < 0 ? REFUSED : TAKEN;
        }
        else if (PyErr_Occurred()) {
            status = REFUSED;
        }
        Py_DECREF(key);
    }
    parsed->is_exact = 0;
    return status;
}

static int
take_fields(dtype_state *parsed)
{
    PyObject *names = parsed->parts[NAMES], *fields = parsed->parts[FIELDS];
    int status;

    if (fields == Py_None) {
        return parsed->version < 2 || names == Py_None ? TAKEN : LEFT;
    }
    if (!PyDict_Check(fields)) {
        return LEFT;
    }
    parsed->fields = PyDict_Copy(fields);
    if (parsed->fields == NULL) {
        return REFUSED;
    }
    if (parsed->version < 2) {
        status = take_old_names(parsed);
        if (status != TAKEN) {
            return status;
        }
    }
    else {
        parsed->names = Py_XNewRef(names);
    }
    parsed->is_exact = 0;
    return parsed->names == NULL || PyTuple_Check(parsed->names) ? TAKEN
                                                                 : LEFT;
}

/* The parts, and what is simple of them. */
static int
parse(fp_machine *machine, PyObject *state, dtype_state *parsed)
{
    static const signed char places[][N_PARTS] = {
        [5] = {-1, 0, 1, -1, 2, 3, 4, -1, -1},
        [6] = {0, 1, 2, -1, 3, 4, 5, -1, -1},
        [7] = {0, 1, 2, 3, 4, 5, 6, -1, -1},
        [8] = {0, 1, 2, 3, 4, 5, 6, 7, -1},
        [9] = {0, 1, 2, 3, 4, 5, 6, 7, 8},
    };
    Py_ssize_t n_parts = PyTuple_Check(state) ? PyTuple_GET_SIZE(state) : 0;
    Py_ssize_t version = 0;
    int status;

    if (n_parts < 5 || n_parts > 9) {
        return LEFT;
    }
    for (int i = 0; i < N_PARTS; i++) {
        signed char place = places[n_parts][i];
        parsed->parts[i] = place < 0 ? NULL : PyTuple_GET_ITEM(state, place);
    }
    parsed->is_exact = 1;
    if (parsed->parts[VERSION] != NULL
        && take_size(parsed, VERSION, &version) != TAKEN)
    {
        return LEFT;
    }
    if (version < 0 || version > 4
        || take_size(parsed, ITEMSIZE, &parsed->n_bytes) != TAKEN
        || take_size(parsed, ALIGNMENT, &parsed->alignment) != TAKEN)
    {
        return LEFT;
    }
    parsed->version = (int)version;
    if (parsed->parts[FLAGS] != NULL) {
        unsigned long bits;
        if (!PyLong_Check(parsed->parts[FLAGS])) {
            return LEFT;
        }
        bits = PyLong_AsUnsignedLongMask(parsed->parts[FLAGS]);
        parsed->flags = (int64_t)bits;
    }
    if (parsed->parts[NAMES] == NULL && version >= 2) {
        return fp_refuse(machine, "a state of %zd parts for a dtype", n_parts);
    }
    status = take_endian(machine, parsed);
    return status == TAKEN ? take_fields(parsed) : status;
}

static void
forget(dtype_state *parsed)
{
    Py_CLEAR(parsed->names);
    Py_CLEAR(parsed->fields);
    Py_CLEAR(parsed->shape);
}

/* --- subarrays ----------------------------------------------------------- */

/* Of a shape that NumPy takes: an int, or a tuple of ints. */
static PyObject *
exact_shape(PyObject *given)
{
    PyObject *shape;
    Py_ssize_t n;

    if (PyIndex_Check(given)) {
        PyObject *length = PyNumber_Index(given);
        shape = length == NULL ? NULL : PyTuple_Pack(1, length);
        Py_XDECREF(length);
        return shape;
    }
    if (!PyTuple_Check(given)) {
        return NULL;
    }
    n = PyTuple_GET_SIZE(given);
    shape = PyTuple_New(n);
    for (Py_ssize_t i = 0; shape != NULL && i < n; i++) {
        PyObject *length = PyNumber_Index(PyTuple_GET_ITEM(given, i));
        if (length == NULL) {
            Py_CLEAR(shape);
            break;
        }
        PyTuple_SET_ITEM(shape, i, length);
    }
    return shape;
}

static int
check_subarray(fp_machine *machine, PyArray_Descr *self, dtype_state *parsed)
{
    PyObject *given = parsed->parts[SUBARRAY];
    npy_intp n_bytes;

    if (given == Py_None) {
        return TAKEN;
    }
    parsed->is_exact = 0;
    if (PyTuple_Check(given) && PyTuple_GET_SIZE(given) == 2
        && PyArray_DescrCheck(PyTuple_GET_ITEM(given, 0)))
    {
        parsed->base = (PyArray_Descr *)PyTuple_GET_ITEM(given, 0);
        parsed->shape = exact_shape(PyTuple_GET_ITEM(given, 1));
    }
    if (parsed->shape == NULL) {
        /* As NumPy says it, which would have changed the dtype before. */
        PyErr_SetString(PyExc_ValueError,
                        parsed->base == NULL
                            ? "incorrect subarray in __setstate__"
                            : "incorrect subarray shape in __setstate__");
        return REFUSED;
    }
    if (self->type_num != NPY_VOID || parsed->fields != NULL
        || !PyDataType_ISLEGACY(parsed->base)
        || PyTuple_GET_SIZE(parsed->shape) > fp_array_max_dims())
    {
        return fp_refuse(machine, "a dtype that cannot be a subarray");
    }
    n_bytes = PyDataType_ELSIZE(parsed->base);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(parsed->shape); i++) {
        Py_ssize_t length =
            PyLong_AsSsize_t(PyTuple_GET_ITEM(parsed->shape, i));
        if (length < 0 || length > INT_MAX
            || __builtin_mul_overflow(n_bytes, length, &n_bytes))
        {
            PyErr_Clear();
            return fp_refuse(machine, "a subarray of impossible shape %R",
                             parsed->shape);
        }
    }
    if (n_bytes != parsed->n_bytes) {
        return fp_refuse(machine, "a subarray of shape %R and %R in %zd bytes",
                         parsed->shape, parsed->base, parsed->n_bytes);
    }
    return TAKEN;
}

/* --- fields -------------------------------------------------------------- */

typedef struct {
    npy_intp first, end;
    int has_objects;
} field_extent;

/* A field's value: (dtype, offset) or (dtype, offset, title). */
static int
read_field(fp_machine *machine, PyObject *name, PyObject *value,
           Py_ssize_t n_bytes, PyArray_Descr **descr, field_extent *where)
{
    PyObject *offset;

    if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) < 2
        || PyTuple_GET_SIZE(value) > 3
        || !PyArray_DescrCheck(PyTuple_GET_ITEM(value, 0))
        || !PyLong_Check(PyTuple_GET_ITEM(value, 1)))
    {
        return fp_refuse(machine, "field %R of a dtype is no (dtype, offset)",
                         name);
    }
    *descr = (PyArray_Descr *)PyTuple_GET_ITEM(value, 0);
    if (!PyDataType_ISLEGACY(*descr)) {
        return fp_refuse(machine, "field %R of a dtype is of %R", name,
                         *descr);
    }
    offset = PyTuple_GET_ITEM(value, 1);
    where->first = PyLong_AsSsize_t(offset);
    if (where->first < 0 || where->first > n_bytes
        || PyDataType_ELSIZE(*descr) > n_bytes - where->first)
    {
        PyErr_Clear();
        return fp_refuse(machine,
                         "field %R of a dtype lies at offset %R with %zd "
                         "bytes, beyond its %zd bytes",
                         name, offset, (Py_ssize_t)PyDataType_ELSIZE(*descr),
                         n_bytes);
    }
    where->end = where->first + PyDataType_ELSIZE(*descr);
    where->has_objects = PyDataType_REFCHK(*descr);
    return TAKEN;
}

static int
compare_extents(const void *left, const void *right)
{
    const field_extent *one = left, *two = right;

    if (one->first != two->first) {
        return one->first < two->first ? -1 : 1;
    }
    return (one->end > two->end) - (one->end < two->end);
}

/* Whether memory of objects belongs to another field, too. */
static int
objects_overlap(field_extent *extents, size_t n)
{
    npy_intp end = 0, end_of_objects = 0;

    qsort(extents, n, sizeof(*extents), compare_extents);
    for (size_t i = 0; i < n; i++) {
        const field_extent *field = &extents[i];
        if (field->first == field->end) {
            continue;
        }
        if (field->first < (field->has_objects ? end : end_of_objects)) {
            return 1;
        }
        if (field->end > end) {
            end = field->end;
        }
        if (field->has_objects && field->end > end_of_objects) {
            end_of_objects = field->end;
        }
    }
    return 0;
}

/* All str, or all bytes (of Python 2) that NumPy can turn into str. */
static int
check_name(fp_machine *machine, PyObject *names, Py_ssize_t i)
{
    PyObject *name = PyTuple_GET_ITEM(names, i);

    if (PyUnicode_Check(name) && PyUnicode_Check(PyTuple_GET_ITEM(names, 0))) {
        return TAKEN;
    }
    if (PyBytes_Check(name) && PyBytes_Check(PyTuple_GET_ITEM(names, 0))) {
        for (Py_ssize_t j = 0; j < PyBytes_GET_SIZE(name); j++) {
            if ((unsigned char)PyBytes_AS_STRING(name)[j] > 127) {
                return fp_refuse(machine, "a field of a dtype is named %R",
                                 name);
            }
        }
        return TAKEN;
    }
    return fp_refuse(machine, "a field of a dtype is named %R", name);
}

/* A title is a second key for the same field, and for no other. */
static int
check_title(fp_machine *machine, const dtype_state *parsed, PyObject *value,
            PyObject *seen)
{
    PyObject *title, *other;
    int is_known;

    if (PyTuple_GET_SIZE(value) < 3) {
        return TAKEN;
    }
    title = PyTuple_GET_ITEM(value, 2);
    if (title == Py_None) {
        return TAKEN;
    }
    other = PyDict_GetItemWithError(parsed->fields, title);
    if (other == NULL) {
        return PyErr_Occurred() ? REFUSED : TAKEN;
    }
    is_known = PySet_Contains(seen, title);
    if (is_known < 0) {
        return REFUSED;
    }
    if (is_known
        || (other != value
            && (!PyTuple_Check(other) || PyTuple_GET_SIZE(other) != 3
                || PyTuple_GET_ITEM(other, 0) != PyTuple_GET_ITEM(value, 0)
                || PyObject_RichCompareBool(PyTuple_GET_ITEM(other, 1),
                                            PyTuple_GET_ITEM(value, 1), Py_EQ)
                       != 1)))
    {
        PyErr_Clear();
        return fp_refuse(machine, "title %R of a field is another field's key",
                         title);
    }
    return PySet_Add(seen, title) < 0 ? REFUSED : TAKEN;
}

/* *bits: what the fields' flags have in common with the dtype's. */
static int
check_fields(fp_machine *machine, PyArray_Descr *self,
             const dtype_state *parsed, Py_ssize_t n_bytes, uint64_t *bits)
{
    Py_ssize_t n_names = PyTuple_GET_SIZE(parsed->names);
    field_extent *extents;
    PyObject *seen = NULL;
    int status = REFUSED;

    extents = PyMem_Calloc((size_t)n_names + 1, sizeof(*extents));
    if (extents == NULL) {
        PyErr_NoMemory();
        return REFUSED;
    }
    for (Py_ssize_t i = 0; i < n_names; i++) {
        if (check_name(machine, parsed->names, i) < 0) {
            goto done;
        }
    }
    seen = PySet_New(parsed->names);
    if (seen == NULL) {
        goto done;
    }
    if (PySet_GET_SIZE(seen) != n_names) {
        fp_refuse(machine, "two fields of a dtype have one name: %R",
                  parsed->names);
        goto done;
    }
    for (Py_ssize_t i = 0; i < n_names; i++) {
        PyObject *name = PyTuple_GET_ITEM(parsed->names, i);
        PyObject *value = PyDict_GetItemWithError(parsed->fields, name);
        PyArray_Descr *descr = NULL;
        if (value == NULL) {
            if (!PyErr_Occurred()) {
                fp_refuse(machine, "a dtype has no field %R", name);
            }
            goto done;
        }
        if (read_field(machine, name, value, n_bytes, &descr, &extents[i]) < 0
            || check_title(machine, parsed, value, seen) < 0)
        {
            goto done;
        }
        *bits |= PyDataType_FLAGS(descr) & FIELD_BITS;
        if (self->type_num != NPY_VOID && extents[i].has_objects
            && (self->type_num != NPY_OBJECT || descr->type_num != NPY_OBJECT))
        {
            fp_refuse(machine, "field %R of a dtype of kind %c has objects",
                      name, self->kind);
            goto done;
        }
    }
    if (PySet_GET_SIZE(seen) != PyDict_GET_SIZE(parsed->fields)) {
        fp_refuse(machine, "a dtype has fields beside those named in %R",
                  parsed->names);
        goto done;
    }
    if ((*bits & NPY_ITEM_REFCOUNT)
        && objects_overlap(extents, (size_t)n_names))
    {
        fp_refuse(machine, "objects of a dtype overlap with another field");
        goto done;
    }
    status = TAKEN;
done:
    Py_XDECREF(seen);
    PyMem_Free(extents);
    return status;
}

/* --- sizes, flags, metadata ---------------------------------------------- */

static int
has_own_size(const PyArray_Descr *self)
{
    return PyTypeNum_ISEXTENDED(self->type_num);
}

static int
check_sizes(fp_machine *machine, PyArray_Descr *self,
            const dtype_state *parsed)
{
    npy_intp own = PyDataType_ELSIZE(self);
    Py_ssize_t alignment = parsed->alignment;

    if (!has_own_size(self)) {
        return TAKEN;
    }
    /* Of numpy.record and its like the constructor makes an empty one. */
    if (parsed->n_bytes != own
        && (self->type_num != NPY_VOID || own != 0 || parsed->n_bytes < 0
            || parsed->n_bytes > INT_MAX))
    {
        return fp_refuse(machine, "a dtype of %zd bytes becomes one of %zd",
                         (Py_ssize_t)own, parsed->n_bytes);
    }
    /* NumPy 1 has 0 for a structure without fields. */
    if (alignment < (parsed->n_bytes > 0) || alignment > MAX_ALIGNMENT
        || (alignment & (alignment - 1)) != 0)
    {
        return fp_refuse(machine, "a dtype of alignment %zd", alignment);
    }
    return TAKEN;
}

/* `field_bits`: of the fields, or of what a subarray is made of. Flags that
 * are not in the state are made of them. */
static int
check_flags(fp_machine *machine, PyArray_Descr *self, dtype_state *parsed,
            uint64_t field_bits)
{
    uint64_t own = PyDataType_FLAGS(self) & STORED_BITS;
    uint64_t bits = (uint64_t)parsed->flags & STORED_BITS;
    int is_made = parsed->fields != NULL || parsed->base != NULL;
    int has_objects =
        ((self->type_num == NPY_VOID ? field_bits : own) & NPY_ITEM_REFCOUNT)
        != 0;

    if (parsed->version < 3) {
        /* NumPy looks for objects itself, but not in subarrays, and finds
         * them in any flag. */
        bits = bits != 0 && !has_objects    ? STORED_BITS
               : self->type_num == NPY_VOID ? field_bits
                                            : own;
        parsed->is_exact = 0;
    }
    if ((has_objects && (bits & FIELD_BITS) != FIELD_BITS)
        || (self->type_num != NPY_VOID ? ((bits ^ own) & TYPE_BITS) != 0
                                       : !has_objects && (bits & TYPE_BITS)))
    {
        return fp_refuse(machine, "a dtype %s, but its flags are %lld",
                         has_objects ? "has objects" : "has no objects",
                         (long long)parsed->flags);
    }
    if (is_made) {
        bits = parsed->base != NULL && has_objects ? field_bits
               : self->type_num == NPY_VOID
                   ? (bits & FIELD_BITS) | (field_bits & FIELD_BITS)
                   : bits | (field_bits & FIELD_BITS);
    }
    parsed->flags =
        (int64_t)(((uint64_t)parsed->flags & ~(uint64_t)STORED_BITS) | bits);
    return TAKEN;
}

static int
check_metadata(fp_machine *machine, PyArray_Descr *self,
               const dtype_state *parsed)
{
    PyObject *metadata = parsed->parts[METADATA];

    if (PyTypeNum_ISDATETIME(self->type_num)) {
        if (metadata == NULL) {
            return fp_refuse(machine, "a dtype of times without their unit");
        }
        if (!PyTuple_Check(metadata) || PyTuple_GET_SIZE(metadata) != 2) {
            return TAKEN; /* NumPy raises */
        }
        metadata = PyTuple_GET_ITEM(metadata, 0);
    }
    if (metadata != NULL && metadata != Py_None && !PyDict_Check(metadata)) {
        return fp_refuse(machine, "a dtype with a %s as its metadata",
                         Py_TYPE(metadata)->tp_name);
    }
    return TAKEN;
}

/* --- the whole ----------------------------------------------------------- */

static int
check(fp_machine *machine, PyArray_Descr *self, dtype_state *parsed)
{
    Py_ssize_t n_bytes =
        has_own_size(self) ? parsed->n_bytes : PyDataType_ELSIZE(self);
    uint64_t field_bits = 0;

    if (check_sizes(machine, self, parsed) < 0
        || check_subarray(machine, self, parsed) < 0
        || (parsed->fields != NULL
            && check_fields(machine, self, parsed, n_bytes, &field_bits) < 0))
    {
        return REFUSED;
    }
    if (parsed->base != NULL) {
        field_bits = PyDataType_FLAGS(parsed->base) & STORED_BITS;
    }
    if (check_flags(machine, self, parsed, field_bits) < 0) {
        return REFUSED;
    }
    if ((parsed->flags & NPY_ITEM_REFCOUNT) && parsed->endian != '|') {
        return fp_refuse(machine, "a dtype of objects in byte order %c",
                         parsed->endian);
    }
    return check_metadata(machine, self, parsed);
}

/* A new reference: what NumPy is given. */
static PyObject *
exact_state(PyObject *state, const dtype_state *parsed)
{
    PyObject *none = Py_None, *metadata = parsed->parts[METADATA];
    PyObject *subarray = NULL, *exact = NULL;

    if (parsed->is_exact) {
        return Py_NewRef(state);
    }
    subarray = parsed->base == NULL
                   ? Py_NewRef(Py_None)
                   : PyTuple_Pack(2, parsed->base, parsed->shape);
    if (subarray != NULL) {
        exact = Py_BuildValue(
            "(iOOOOnnLO)", 4, parsed->parts[ENDIAN], subarray,
            parsed->fields == NULL ? none : parsed->names,
            parsed->fields == NULL ? none : parsed->fields, parsed->n_bytes,
            parsed->alignment, (long long)parsed->flags,
            metadata == NULL ? none : metadata);
        Py_DECREF(subarray);
    }
    return exact;
}

static int
is_complete(const PyArray_Descr *self)
{
    return PyDataType_FIELDS(self) != NULL
           || PyDataType_SUBARRAY(self) != NULL;
}

/* A dtype that has fields or a subarray already: the state may say so again
 * (a class that carries its dtype), no more. */
static int
check_repeated(fp_machine *machine, PyArray_Descr *self, PyObject *state,
               dtype_state *parsed)
{
    PyArray_Descr *copy = PyArray_DescrNewFromType(self->type_num);
    PyObject *exact = NULL, *result = NULL;
    int status = REFUSED;

    if (copy == NULL) {
        return REFUSED;
    }
    if (has_own_size(self)) {
        PyDataType_SET_ELSIZE(copy, PyDataType_ELSIZE(self));
    }
    if (check(machine, copy, parsed) < 0) {
        goto done;
    }
    exact = exact_state(state, parsed);
    if (exact == NULL) {
        goto done;
    }
    result = PyObject_CallMethodOneArg((PyObject *)copy,
                                       machine->state->str_setstate, exact);
    if (result == NULL) {
        goto done;
    }
    if (!PyArray_EquivTypes(copy, self)) {
        fp_refuse(machine, "another state for %R", self);
        goto done;
    }
    status = 0;
done:
    Py_XDECREF(result);
    Py_XDECREF(exact);
    Py_DECREF(copy);
    return status;
}

int
fp_guard_dtype_state(fp_machine *machine, PyObject *dtype, PyObject **state)
{
    PyArray_Descr *self = (PyArray_Descr *)dtype;
    dtype_state parsed = {.names = NULL};
    PyObject *exact;
    int status;

    /* NumPy refuses the one, and leaves the other as it is: a dtype of its
     * own, which everybody shares. */
    if (!PyDataType_ISLEGACY(self) || PyDataType_FIELDS(self) == Py_None) {
        return 1;
    }
    status = parse(machine, *state, &parsed);
    if (status != TAKEN) {
        forget(&parsed);
        return status == LEFT ? 1 : -1;
    }
    if (is_complete(self)) {
        status = check_repeated(machine, self, *state, &parsed);
        forget(&parsed);
        return status;
    }
    status = check(machine, self, &parsed);
    if (status == TAKEN
        && (parsed.fields != NULL || parsed.base != NULL
            || (has_own_size(self)
                && parsed.n_bytes != PyDataType_ELSIZE(self)))
        && !fp_is_only_here(machine, dtype))
    {
        status = fp_refuse(machine,
                           "another state for %R, which is in "
                           "use",
                           dtype);
    }
    if (status == TAKEN) {
        exact = exact_state(*state, &parsed);
        if (exact == NULL) {
            status = REFUSED;
        }
        else {
            Py_SETREF(*state, exact);
        }
    }
    forget(&parsed);
    return status;
}
