/* The machine's life, its stack and marks, its memo. */
#include "restrict.h"
#include "unpickle_parts.h"

#define FIRST_STACK 64
#define FIRST_MARKS 16
#define FIRST_MEMO  32
/* Indexes below this are always dense. */
#define DENSE_ANYWAY 1024

void
fp_machine_init(fp_machine *machine, fp_state *state, fp_input *input)
{
    memset(machine, 0, sizeof(*machine));
    machine->state = state;
    machine->input = input;
    machine->encoding = "ASCII";
    machine->errors = "strict";
    machine->fix_imports = 1;
}

void
fp_machine_nested(fp_machine *machine, const fp_machine *parent,
                  fp_input *input)
{
    fp_machine_init(machine, parent->state, input);
    machine->owner = parent->owner;
    fp_machine_find_with(machine, parent->find_class);
    machine->persistent_load = Py_XNewRef(parent->persistent_load);
    machine->persistent_owner = parent->persistent_owner;
    machine->buffers = Py_XNewRef(parent->buffers);
    machine->encoding = parent->encoding;
    machine->errors = parent->errors;
    machine->fix_imports = parent->fix_imports;
    machine->wrapper_type = Py_XNewRef(parent->wrapper_type);
    machine->array_rules = parent->array_rules;
    machine->own_wrappers = parent->own_wrappers;
    machine->lends_buffers = parent->lends_buffers;
    machine->depth = parent->depth + 1;
}

void
fp_machine_free(fp_machine *machine)
{
    fp_reset_stack(machine);
    PyMem_Free(machine->stack);
    machine->stack = machine->top = machine->stack_end = NULL;
    PyMem_Free(machine->marks);
    machine->marks = NULL;
    machine->marks_capacity = 0;
    fp_memo_forget(machine);
    fp_build_cache_free(machine);
    Py_CLEAR(machine->find_class);
    fp_restriction_free(machine);
    Py_CLEAR(machine->persistent_load);
    machine->persistent_owner = NULL;
    Py_CLEAR(machine->buffers);
    Py_CLEAR(machine->wrapper_type);
}

/* --- stack --------------------------------------------------------------- */

int
fp_stack_grow(fp_machine *machine)
{
    size_t size = fp_stack_size(machine);
    size_t capacity = size == 0 ? FIRST_STACK : 2 * size;
    PyObject **grown = machine->stack;

    PyMem_Resize(grown, PyObject *, capacity);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    machine->stack = grown;
    machine->top = grown + size;
    machine->stack_end = grown + capacity;
    return 0;
}

int
fp_marks_grow(fp_machine *machine)
{
    size_t capacity =
        machine->n_marks == 0 ? FIRST_MARKS : 2 * machine->n_marks;
    fp_mark *grown = machine->marks;

    PyMem_Resize(grown, fp_mark, capacity);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    machine->marks = grown;
    machine->marks_capacity = capacity;
    return 0;
}

int
fp_stack_underflow(fp_machine *machine)
{
    PyErr_SetString(machine->state->unpickling_error,
                    machine->n_marks > 0 ? "unexpected MARK found"
                                         : "unpickling stack underflow");
    return -1;
}

int
fp_pop_mark(fp_machine *machine, size_t *index)
{
    fp_mark mark;
    PyObject **slot;

    if (machine->n_marks == 0) {
        PyErr_SetString(machine->state->unpickling_error,
                        "could not find MARK");
        return -1;
    }
    mark = machine->marks[machine->n_marks - 1];
    *index = mark.index;
    slot = machine->stack + mark.index - 1;
    if (mark.kind & (FP_MARK_DICT | FP_MARK_LIST) && *slot == NULL) {
        *slot = mark.kind & FP_MARK_DICT ? PyDict_New() : PyList_New(0);
        if (*slot == NULL) {
            return -1;
        }
    }
    fp_take_mark(machine);
    return 0;
}

void
fp_stack_cut(fp_machine *machine, size_t index)
{
    while (fp_stack_size(machine) > index) {
        PyObject *object = *--machine->top;
        Py_XDECREF(object);
    }
}

void
fp_reset_stack(fp_machine *machine)
{
    machine->n_marks = 0;
    machine->fence = 0;
    machine->fresh = NULL;
    fp_stack_cut(machine, 0);
}

/* --- memo ---------------------------------------------------------------- */

static void
release(fp_slot slot)
{
    if (slot != 0 && !(slot & 1)) {
        Py_DECREF((PyObject *)slot);
    }
}

void
fp_memo_forget(fp_machine *machine)
{
    fp_slot *memo = machine->memo;
    size_t n_slots = machine->memo_capacity;
    PyObject *sparse = machine->sparse_memo;

    /* What it held may look at the memo while it is destroyed. */
    machine->memo = NULL;
    machine->memo_capacity = 0;
    machine->n_memo = 0;
    machine->sparse_memo = NULL;
    for (size_t i = n_slots; i-- > 0;) {
        release(memo[i]);
    }
    PyMem_Free(memo);
    Py_XDECREF(sparse);
}

/* The dense part is as large as the opcodes so far, or the length of the
 * input, can account for. */
static int
is_dense(const fp_machine *machine, size_t index)
{
    return index <= machine->memo_hint
           || index / 2 <= machine->n_memo + DENSE_ANYWAY / 2;
}

static int
memo_grow(fp_machine *machine, size_t index)
{
    size_t capacity = 2 * machine->memo_capacity;
    fp_slot *grown = machine->memo;

    if (capacity < FIRST_MEMO) {
        capacity = FIRST_MEMO;
    }
    if (capacity <= index) {
        capacity = index + 1;
    }
    PyMem_Resize(grown, fp_slot, capacity);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(grown + machine->memo_capacity, 0,
           (capacity - machine->memo_capacity) * sizeof(fp_slot));
    machine->memo = grown;
    machine->memo_capacity = capacity;
    return 0;
}

/* Whether the sparse part has the index. Its value stays there, hidden by that
 * of the dense part. */
static int
is_far(fp_machine *machine, size_t index)
{
    PyObject *key;
    int status;

    if (machine->sparse_memo == NULL) {
        return 0;
    }
    key = PyLong_FromSize_t(index);
    if (key == NULL) {
        return -1;
    }
    status = PyDict_Contains(machine->sparse_memo, key);
    Py_DECREF(key);
    return status;
}

static int
put_far(fp_machine *machine, size_t index, PyObject *value)
{
    PyObject *sparse = machine->sparse_memo;
    PyObject *key;
    Py_ssize_t before;
    int status = -1;

    if (sparse == NULL) {
        sparse = machine->sparse_memo = PyDict_New();
        if (sparse == NULL) {
            return -1;
        }
    }
    key = PyLong_FromSize_t(index);
    if (key == NULL) {
        return -1;
    }
    Py_INCREF(sparse);
    before = PyDict_GET_SIZE(sparse);
    status = PyDict_SetItem(sparse, key, value);
    if (status == 0 && sparse == machine->sparse_memo
        && PyDict_GET_SIZE(sparse) > before)
    {
        machine->n_memo++;
    }
    Py_DECREF(sparse);
    Py_DECREF(key);
    return status;
}

/* Steals a reference that `slot` is. */
static int
put_slot(fp_machine *machine, size_t index, fp_slot slot)
{
    fp_slot replaced;
    int was_far = 0;

    if (index >= machine->memo_capacity && memo_grow(machine, index) < 0) {
        release(slot);
        return -1;
    }
    replaced = machine->memo[index];
    if (replaced == 0 && machine->sparse_memo != NULL) {
        was_far = is_far(machine, index);
        if (was_far < 0) {
            release(slot);
            return -1;
        }
    }
    machine->memo[index] = slot;
    if (replaced == 0 && !was_far) {
        machine->n_memo++;
    }
    if (replaced != 0) {
        fp_foreign_code(machine);
        release(replaced);
    }
    return 0;
}

int
fp_machine_put(fp_machine *machine, size_t index, PyObject *value)
{
    if (index >= machine->memo_capacity && !is_dense(machine, index)) {
        fp_foreign_code(machine);
        return put_far(machine, index, value);
    }
    return put_slot(machine, index, (fp_slot)Py_NewRef(value));
}

PyObject *
fp_machine_get_far(fp_machine *machine, size_t index)
{
    PyObject *value = NULL;

    if (machine->sparse_memo != NULL) {
        PyObject *key = PyLong_FromSize_t(index);
        if (key == NULL) {
            return NULL;
        }
        value = PyDict_GetItemWithError(machine->sparse_memo, key);
        Py_DECREF(key);
    }
    if (value == NULL && !PyErr_Occurred()) {
        PyErr_Format(machine->state->unpickling_error,
                     "Memo value not found at index %zd", (Py_ssize_t)index);
    }
    return value;
}

int
fp_machine_seed_blobs(fp_machine *machine, fp_blobs *blobs)
{
    machine->blobs = blobs;
    /* Blobs and objects share the numbers; an object takes eight bytes and
     * more of the graph. */
    machine->memo_hint =
        blobs->n_blobs + (size_t)(fp_input_at_most(machine->input) / 8);
    for (size_t i = 0; i < blobs->n_blobs; i++) {
        size_t index = blobs->table[i].memo_number;
        if (index >= machine->memo_capacity && !is_dense(machine, index)) {
            PyErr_Format(machine->state->unpickling_error,
                         "a blob has the memo number %zu, of %zu blobs", index,
                         blobs->n_blobs);
            return -1;
        }
        if (put_slot(machine, index, (fp_slot)i << 1 | 1) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Blobs never come here: an Unpickler has none. */
PyObject *
fp_memo_as_dict(const fp_machine *machine)
{
    PyObject *dict = machine->sparse_memo == NULL
                         ? PyDict_New()
                         : PyDict_Copy(machine->sparse_memo);

    for (size_t i = 0; dict != NULL && i < machine->memo_capacity; i++) {
        PyObject *key;
        int status;
        if (machine->memo[i] == 0) {
            continue;
        }
        key = PyLong_FromSize_t(i);
        status = key == NULL
                     ? -1
                     : PyDict_SetItem(dict, key, (PyObject *)machine->memo[i]);
        Py_XDECREF(key);
        if (status < 0) {
            Py_CLEAR(dict);
        }
    }
    return dict;
}

/* Into an empty memo. */
int
fp_memo_of_dict(fp_machine *machine, PyObject *dict)
{
    Py_ssize_t position = 0;
    PyObject *key, *value;

    while (PyDict_Next(dict, &position, &key, &value)) {
        Py_ssize_t index;
        if (!PyLong_Check(key)) {
            PyErr_SetString(PyExc_TypeError, "memo key must be integers");
            return -1;
        }
        index = PyLong_AsSsize_t(key);
        if (index == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (index < 0) {
            PyErr_SetString(PyExc_ValueError,
                            "memo key must be positive integers.");
            return -1;
        }
        if (fp_machine_put(machine, (size_t)index, value) < 0) {
            return -1;
        }
    }
    return 0;
}
