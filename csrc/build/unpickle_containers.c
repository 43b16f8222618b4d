/* Containers: what lies on the stack moves into them. */
#include "array_guard.h"
#include "messages_load.h"
#include "restrict.h"
#include "unpickle_parts.h"

/* --- lists --------------------------------------------------------------- */

#ifdef Py_GIL_DISABLED
#define LIST_IS_AN_ARRAY 0 /* others may read it while it grows */
#else
#define LIST_IS_AN_ARRAY 1
#endif

/* The topmost n_items become a list; nothing else changes. */
static PyObject *
list_of_items(fp_machine *machine, size_t n_items)
{
    PyObject *list = PyList_New((Py_ssize_t)n_items);

    if (list != NULL) {
        PyObject **items = machine->top - n_items;
        for (size_t i = 0; i < n_items; i++) {
            PyList_SET_ITEM(list, (Py_ssize_t)i, items[i]);
        }
        machine->top = items;
    }
    return list;
}

/* Room for n_items more behind an exact list's items, with some to spare, as
 * the list itself would take it. */
static int
reserve(PyListObject *list, size_t n_items)
{
    size_t size = (size_t)Py_SIZE(list) + n_items;
    size_t capacity = size;
    PyObject **grown = list->ob_item;

    if ((Py_ssize_t)size <= list->allocated) { /* -1 while it is sorted */
        return 0;
    }
    if (Py_SIZE(list) > 0) {
        capacity = (size + (size >> 3) + 6) & ~(size_t)3;
    }
    PyMem_Resize(grown, PyObject *, capacity);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    list->ob_item = grown;
    list->allocated = (Py_ssize_t)capacity;
    return 0;
}

static int
extend_list(fp_machine *machine, PyObject *list, size_t n_items)
{
    PyObject **items = machine->top - n_items;

    if (LIST_IS_AN_ARRAY) {
        PyListObject *array = (PyListObject *)list;
        if (reserve(array, n_items) < 0) {
            return -1;
        }
        memcpy(array->ob_item + Py_SIZE(list), items,
               n_items * sizeof(PyObject *));
        Py_SET_SIZE((PyVarObject *)list, Py_SIZE(list) + (Py_ssize_t)n_items);
        machine->top = items;
        return 0;
    }
    PyObject *slice = list_of_items(machine, n_items);
    int status = -1;
    if (slice != NULL) {
        Py_ssize_t size = PyList_GET_SIZE(list);
        status = PyList_SetSlice(list, size, size, slice);
        Py_DECREF(slice);
    }
    return status;
}

/* What is no list: by its methods. */
static int
append_to_object(fp_machine *machine, PyObject *target, size_t n_items)
{
    fp_state *state = machine->state;
    size_t first = fp_stack_size(machine) - n_items;
    PyObject *extend = NULL, *append = NULL, *result = NULL;
    int status = -1;

    if (fp_guard_items(machine, target) < 0
        || (machine->is_restricted
            && fp_restrict_items(machine, target, OP_APPENDS) < 0))
    {
        return -1;
    }
    fp_foreign_code(machine);
    extend = fp_optional_attribute(target, state->str_extend);
    if (extend != NULL) {
        PyObject *slice = list_of_items(machine, n_items);
        if (slice != NULL) {
            result = PyObject_CallOneArg(extend, slice);
            Py_DECREF(slice);
            status = result == NULL ? -1 : 0;
        }
        goto done;
    }
    if (PyErr_Occurred()) {
        goto done;
    }
    append = PyObject_GetAttr(target, state->str_append);
    if (append == NULL) {
        goto done;
    }
    for (size_t i = 0; i < n_items; i++) {
        Py_XSETREF(result,
                   PyObject_CallOneArg(append, machine->stack[first + i]));
        if (result == NULL) {
            goto done;
        }
    }
    fp_stack_cut(machine, first);
    status = 0;
done:
    Py_XDECREF(result);
    Py_XDECREF(append);
    Py_XDECREF(extend);
    return status;
}

int
fp_append_items(fp_machine *machine, size_t index)
{
    size_t n_items = fp_stack_size(machine) - index;
    PyObject *target;

    if (index > fp_stack_size(machine) || index <= machine->fence) {
        return fp_stack_underflow(machine);
    }
    target = machine->stack[index - 1];
    if (n_items == 0 && (PyList_CheckExact(target) || !FP_EXTENDS_BY_NOTHING))
    {
        return 0;
    }
    return PyList_CheckExact(target)
               ? extend_list(machine, target, n_items)
               : append_to_object(machine, target, n_items);
}

int
fp_load_appends(fp_machine *machine)
{
    size_t index;

    if (machine->n_marks > 0) {
        fp_mark mark = machine->marks[machine->n_marks - 1];
        if (mark.kind & FP_MARK_LIST) {
            /* Made now, with its length known. */
            size_t n_items = fp_stack_size(machine) - mark.index;
            PyObject *list = list_of_items(machine, n_items);
            if (list == NULL) {
                return -1;
            }
            machine->stack[mark.index - 1] = list;
            fp_take_mark(machine);
            return 0;
        }
    }
    if (fp_pop_mark(machine, &index) < 0) {
        return -1;
    }
    return fp_append_items(machine, index);
}

/* --- dicts --------------------------------------------------------------- */

/* Into anything that takes items; they stay on the stack. */
static int
set_items(fp_machine *machine, PyObject *target, size_t first, size_t last)
{
    int is_dict = PyDict_CheckExact(target);

    if (!is_dict
        && (fp_guard_items(machine, target) < 0
            || (machine->is_restricted
                && fp_restrict_items(machine, target, OP_SETITEMS) < 0)))
    {
        return -1;
    }
    for (size_t i = first; i < last; i += 2) {
        PyObject *key = machine->stack[i];
        PyObject *value = machine->stack[i + 1];
        int status;
        if (!is_dict || !PyUnicode_CheckExact(key)) {
            fp_foreign_code(machine);
        }
        if (machine->is_restricted
            && (fp_restrict_key(machine, key) < 0
                || (!is_dict
                    && fp_restrict_item_name(machine, Py_TYPE(target), key)
                           < 0)))
        {
            return -1;
        }
        status = is_dict ? PyDict_SetItem(target, key, value)
                         : PyObject_SetItem(target, key, value);
        if (status < 0) {
            return -1;
        }
    }
    return 0;
}

int
fp_set_items(fp_machine *machine, size_t index)
{
    size_t size = fp_stack_size(machine);
    int status;

    if (index > size || index <= machine->fence) {
        return fp_stack_underflow(machine);
    }
    if ((size - index) % 2 != 0) {
        PyErr_SetString(machine->state->unpickling_error,
                        "odd number of items for SETITEMS");
        return -1;
    }
    status = set_items(machine, machine->stack[index - 1], index, size);
    fp_stack_cut(machine, index);
    return status;
}

/* BUILD follows, for an instance that nobody else has seen: its state's items
 * are on the stack. 1: done, BUILD included. */
static int
build_from_items(fp_machine *machine, const fp_mark *mark)
{
    fp_input *input = machine->input;
    PyObject **items = machine->stack + mark->index;
    size_t n_items = fp_stack_size(machine) - mark->index;
    PyObject *instance;

    if (!(mark->kind & FP_MARK_FRESH) || mark->n_calls != machine->n_calls
        || input->cursor == input->end || *input->cursor != OP_BUILD
        || mark->index < 2 || n_items % 2 != 0)
    {
        return 0;
    }
    instance = items[-2];
    if (!fp_is_plain_build(machine, instance)) {
        return 0;
    }
    for (size_t i = 0; i < n_items; i += 2) {
        if (!PyUnicode_CheckExact(items[i])) {
            return 0;
        }
    }
    if (items[-1] != NULL) { /* a state that others have by its number */
        if (PyDict_GET_SIZE(items[-1]) > 0) {
            return 0;
        }
        if (set_items(machine, items[-1], mark->index, mark->index + n_items)
            < 0)
        {
            return -1;
        }
    }
    if (fp_set_attributes(machine, instance, items, n_items) < 0) {
        return -1;
    }
    fp_take_mark(machine);
    fp_stack_cut(machine, mark->index - 1);
    input->cursor++;
    machine->fresh = NULL;
    return 1;
}

int
fp_load_setitems(fp_machine *machine)
{
    size_t index;

    if (machine->n_marks > 0) {
        fp_mark mark = machine->marks[machine->n_marks - 1];
        int status = build_from_items(machine, &mark);
        if (status != 0) {
            return status < 0 ? -1 : 0;
        }
    }
    if (fp_pop_mark(machine, &index) < 0) {
        return -1;
    }
    return fp_set_items(machine, index);
}

/* --- sets ---------------------------------------------------------------- */

/* Of a restricted load, with the exception. */
static int
may_not_add(fp_machine *machine, PyObject *target, size_t first, size_t end)
{
    if (!Py_IS_TYPE(target, &PySet_Type)
        && fp_restrict_items(machine, target, OP_ADDITEMS) < 0)
    {
        return 1;
    }
    for (size_t i = first; i < end; i++) {
        if (fp_restrict_key(machine, machine->stack[i]) < 0) {
            return 1;
        }
    }
    return 0;
}

int
fp_load_additems(fp_machine *machine)
{
    size_t first, size;
    PyObject *target, *add = NULL, *result = NULL;
    int status = -1;

    if (fp_pop_mark(machine, &first) < 0) {
        return -1;
    }
    size = fp_stack_size(machine);
    if (first > size || first <= machine->fence) {
        return fp_stack_underflow(machine);
    }
    if (first == size && !FP_EXTENDS_BY_NOTHING) {
        return 0;
    }
    target = machine->stack[first - 1];
    fp_foreign_code(machine);
    if (machine->is_restricted && may_not_add(machine, target, first, size)) {
        return -1;
    }
    if (PySet_Check(target)) {
        for (size_t i = first; i < size; i++) {
            if (PySet_Add(target, machine->stack[i]) < 0) {
                return -1;
            }
        }
        fp_stack_cut(machine, first);
        return 0;
    }
    add = PyObject_GetAttr(target, machine->state->str_add);
    if (add == NULL) {
        return -1;
    }
    for (size_t i = first; i < size; i++) {
        Py_XSETREF(result, PyObject_CallOneArg(add, machine->stack[i]));
        if (result == NULL) {
            goto done;
        }
    }
    fp_stack_cut(machine, first);
    status = 0;
done:
    Py_XDECREF(result);
    Py_DECREF(add);
    return status;
}

/* --- from a mark --------------------------------------------------------- */

int
fp_load_tuple(fp_machine *machine, size_t n_items)
{
    PyObject *tuple;
    PyObject **items;

    if (fp_stack_size(machine) < machine->fence + n_items) {
        return fp_stack_underflow(machine);
    }
    tuple = PyTuple_New((Py_ssize_t)n_items);
    if (tuple == NULL) {
        return -1;
    }
    items = machine->top - n_items;
    for (size_t i = 0; i < n_items; i++) {
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, items[i]);
    }
    machine->top = items;
    return fp_push(machine, tuple);
}

static int
load_dict(fp_machine *machine, size_t first)
{
    size_t size = fp_stack_size(machine);
    PyObject *dict;

    if ((size - first) % 2 != 0) {
        PyErr_SetString(machine->state->unpickling_error,
                        "odd number of items for DICT");
        return -1;
    }
    dict = PyDict_New();
    if (dict == NULL) {
        return -1;
    }
    if (set_items(machine, dict, first, size) < 0) {
        Py_DECREF(dict);
        return -1;
    }
    fp_stack_cut(machine, first);
    return fp_push(machine, dict);
}

int
fp_load_marked(fp_machine *machine, unsigned char opcode)
{
    size_t first, n_items;
    PyObject *frozenset;

    if (fp_pop_mark(machine, &first) < 0) {
        return -1;
    }
    n_items = fp_stack_size(machine) - first;
    switch (opcode) {
    case OP_TUPLE:
        return fp_load_tuple(machine, n_items);
    case OP_LIST:
        return fp_push(machine, list_of_items(machine, n_items));
    case OP_DICT:
        return load_dict(machine, first);
    default: /* FROZENSET */
        for (size_t i = first; machine->is_restricted && i < first + n_items;
             i++)
        {
            if (fp_restrict_key(machine, machine->stack[i]) < 0) {
                return -1;
            }
        }
        if (fp_load_tuple(machine, n_items) < 0) {
            return -1;
        }
        fp_foreign_code(machine);
        frozenset = PyFrozenSet_New(machine->top[-1]);
        if (frozenset == NULL) {
            return -1;
        }
        Py_SETREF(machine->top[-1], frozenset);
        return 0;
    }
}
