#include "restrict.h"

#include "array_guard.h"
#include "base/compat.h"
#include "base/numpy_api.h"
#include "unpickle_parts.h"

#include <stdarg.h>

#define FIRST_RULES 32 /* powers of two */
#define FIRST_NOTED 32
/* Of a key that is a tuple or frozenset: what hashing and comparing it costs is
 * bounded. */
#define KEY_DEPTH 4
#define KEY_ITEMS 1000

typedef struct {
    PyObject *object; /* owned; NULL: a free place */
    PyObject *call;   /* owned, or NULL */
    PyObject *state;  /* owned, or NULL */
    PyObject *plain;  /* owned, or NULL */
    unsigned long use;
} rule;

typedef struct {
    PyObject *object; /* owned, so that its address stays its own; NULL: a free
                       * place */
    int is_built;     /* its type has a rule for states, and it has got one */
    int is_open;      /* has to get one yet */
} noted;

typedef struct fp_restriction {
    rule *rules; /* by address, open addressing */
    size_t n_rules;
    size_t capacity; /* a power of two */
    noted *noted;    /* likewise: instances */
    size_t n_noted;
    size_t noted_capacity;
    size_t n_open; /* of those */
} restriction;

/* --- refusals ------------------------------------------------------------ */

static int
refuse(fp_machine *machine, const char *format, ...)
{
    fp_state *state = machine->state;
    unsigned long long offset = fp_input_offset(machine->input);
    PyObject *what, *text = NULL, *error = NULL, *reasons = NULL;
    va_list arguments;

    va_start(arguments, format);
    what = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    if (what == NULL) {
        return -1;
    }
    text = PyUnicode_FromFormat("%U (at offset %llu of the pickle)", what,
                                offset);
    if (text != NULL) {
        error = PyObject_CallOneArg(state->untrusted_error, text);
        reasons = PyTuple_Pack(1, text);
    }
    if (error != NULL && reasons != NULL
        && PyObject_SetAttrString(error, "reasons", reasons) == 0)
    {
        PyErr_SetObject(state->untrusted_error, error);
    }
    Py_XDECREF(reasons);
    Py_XDECREF(error);
    Py_XDECREF(text);
    Py_DECREF(what);
    return -1;
}

int
fp_restrict_opcode(fp_machine *machine, const char *what)
{
    return refuse(machine, "%s is not allowed in a restricted load", what);
}

/* What stands on the stack, without asking it anything. */
static const char *
name_of(PyObject *object)
{
    return PyType_Check(object) ? ((PyTypeObject *)object)->tp_name
           : PyCFunction_Check(object)
               ? ((PyCFunctionObject *)object)->m_ml->ml_name
           : PyFunction_Check(object) ? "a function"
                                      : Py_TYPE(object)->tp_name;
}

/* A rule has raised: what it says, as ours. */
static int
refuse_by_rule(fp_machine *machine, PyObject *object)
{
    PyObject *cause, *error;

    if (!PyErr_ExceptionMatches(PyExc_Exception)
        || PyErr_ExceptionMatches(PyExc_MemoryError))
    {
        return -1;
    }
    cause = fp_take_exception();
    refuse(machine, "%.200s: %S", name_of(object), cause);
    error = fp_take_exception();
    if (error != NULL) {
        PyException_SetCause(error, cause); /* steals */
        fp_put_exception(error);
    }
    else {
        Py_DECREF(cause);
    }
    return -1;
}

/* --- rules, by the object ------------------------------------------------ */

static size_t
place_of(const restriction *rules, PyObject *object)
{
    uintptr_t bits = (uintptr_t)object >> 4;
    size_t mask = rules->capacity - 1;
    size_t i = (size_t)(bits ^ bits >> 9) & mask;

    while (rules->rules[i].object != NULL && rules->rules[i].object != object)
    {
        i = (i + 1) & mask;
    }
    return i;
}

static noted *
noted_place(const restriction *rules, PyObject *object)
{
    uintptr_t bits = (uintptr_t)object >> 4;
    size_t mask = rules->noted_capacity - 1;
    size_t i = (size_t)(bits ^ bits >> 9) & mask;

    while (rules->noted[i].object != NULL && rules->noted[i].object != object)
    {
        i = (i + 1) & mask;
    }
    return &rules->noted[i];
}

static const rule *
find_rule(const fp_machine *machine, PyObject *object)
{
    const restriction *rules = machine->restriction;
    const rule *found;

    if (rules == NULL) {
        return NULL;
    }
    found = &rules->rules[place_of(rules, object)];
    return found->object == NULL ? NULL : found;
}

static int
grow(restriction *rules)
{
    size_t capacity = rules->capacity == 0 ? FIRST_RULES : 2 * rules->capacity;
    rule *old = rules->rules;
    size_t n_old = rules->capacity;

    rules->rules = PyMem_Calloc(capacity, sizeof(*rules->rules));
    if (rules->rules == NULL) {
        rules->rules = old;
        PyErr_NoMemory();
        return -1;
    }
    rules->capacity = capacity;
    for (size_t i = 0; i < n_old; i++) {
        if (old[i].object != NULL) {
            rules->rules[place_of(rules, old[i].object)] = old[i];
        }
    }
    PyMem_Free(old);
    return 0;
}

/* Where an object of this load is noted, or is from here on. NULL with an
 * exception. */
static noted *
note(fp_machine *machine, PyObject *object)
{
    restriction *rules = machine->restriction;
    noted *place;

    if (2 * rules->n_noted >= rules->noted_capacity) {
        size_t capacity = rules->noted_capacity == 0
                              ? FIRST_NOTED
                              : 2 * rules->noted_capacity;
        noted *old = rules->noted;
        size_t n_old = rules->noted_capacity;

        rules->noted = PyMem_Calloc(capacity, sizeof(*rules->noted));
        if (rules->noted == NULL) {
            rules->noted = old;
            PyErr_NoMemory();
            return NULL;
        }
        rules->noted_capacity = capacity;
        for (size_t i = 0; i < n_old; i++) {
            if (old[i].object != NULL) {
                *noted_place(rules, old[i].object) = old[i];
            }
        }
        PyMem_Free(old);
    }
    place = noted_place(rules, object);
    if (place->object == NULL) {
        place->object = Py_NewRef(object);
        rules->n_noted++;
    }
    return place;
}

/* Of an object that two names stand for the first rule counts. */
static int
add_rule(fp_machine *machine, PyObject *object, unsigned long use,
         PyObject *call, PyObject *state, PyObject *plain)
{
    restriction *rules = machine->restriction;
    rule *place;

    if (rules == NULL) {
        rules = PyMem_Calloc(1, sizeof(*rules));
        if (rules == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        machine->restriction = rules;
    }
    if (2 * rules->n_rules >= rules->capacity && grow(rules) < 0) {
        return -1;
    }
    place = &rules->rules[place_of(rules, object)];
    if (place->object == NULL) {
        place->object = Py_NewRef(object);
        place->call = call == Py_None ? NULL : Py_NewRef(call);
        place->state = state == Py_None ? NULL : Py_NewRef(state);
        place->plain = plain == Py_None ? NULL : Py_NewRef(plain);
        place->use = use;
        rules->n_rules++;
    }
    return 0;
}

void
fp_restriction_free(fp_machine *machine)
{
    restriction *rules = machine->restriction;

    machine->restriction = NULL;
    if (rules == NULL) {
        return;
    }
    for (size_t i = 0; i < rules->capacity; i++) {
        Py_XDECREF(rules->rules[i].object);
        Py_XDECREF(rules->rules[i].call);
        Py_XDECREF(rules->rules[i].state);
        Py_XDECREF(rules->rules[i].plain);
    }
    PyMem_Free(rules->rules);
    for (size_t i = 0; i < rules->noted_capacity; i++) {
        Py_XDECREF(rules->noted[i].object);
    }
    PyMem_Free(rules->noted);
    PyMem_Free(rules);
}

void
fp_machine_find_with(fp_machine *machine, PyObject *find_class)
{
    Py_XSETREF(machine->find_class, Py_XNewRef(find_class));
    machine->is_restricted =
        find_class != NULL
        && PyObject_TypeCheck(
            find_class, (PyTypeObject *)machine->state->restriction_type);
}

PyObject *
fp_restrict_global(fp_machine *machine, PyObject *answer)
{
    PyObject *object = NULL, *call, *state, *plain = Py_None;
    unsigned long use;

    if (answer == NULL) {
        return NULL;
    }
    if (!PyTuple_Check(answer)) {
        PyErr_SetString(PyExc_TypeError, "a Restriction answers with a tuple");
    }
    else if (PyArg_ParseTuple(answer, "OkOO|O:Restriction", &object, &use,
                              &call, &state, &plain)
             && add_rule(machine, object, use, call, state, plain) == 0)
    {
        Py_INCREF(object);
    }
    else {
        object = NULL;
    }
    Py_DECREF(answer);
    return object;
}

int
fp_restrict_own(fp_machine *machine, PyObject *cls)
{
    return add_rule(machine, cls, FP_MAY_NEW | FP_MAY_BUILD, Py_None, Py_None,
                    Py_None);
}

/* --- calls --------------------------------------------------------------- */

/* Shows arguments to a rule, which may give others. */
static int
ask(fp_machine *machine, const rule *of, PyObject **args)
{
    PyObject *answer;

    if (of->call == NULL) {
        return 0;
    }
    answer = PyObject_CallOneArg(of->call, *args);
    if (answer == NULL) {
        return refuse_by_rule(machine, of->object);
    }
    if (PyTuple_CheckExact(answer)) {
        Py_SETREF(*args, answer);
        return 0;
    }
    Py_DECREF(answer);
    if (answer != Py_None) {
        PyErr_SetString(PyExc_TypeError,
                        "a rule for arguments gives None or a tuple");
        return -1;
    }
    return 0;
}

int
fp_restrict_new(fp_machine *machine, PyObject *cls, PyObject **args,
                PyObject *keywords)
{
    const rule *found = find_rule(machine, cls);

    if (found == NULL || !(found->use & FP_MAY_NEW) || !PyType_Check(cls)) {
        return refuse(machine, "an instance of %.200s may not be made",
                      name_of(cls));
    }
    if (!PyTuple_CheckExact(*args)) {
        return refuse(machine, "arguments of %.200s are no tuple",
                      name_of(cls));
    }
    if (found->use & FP_MAY_ALL) {
        return 0;
    }
    if (keywords != NULL
        && (!PyDict_CheckExact(keywords) || PyDict_GET_SIZE(keywords) > 0))
    {
        return refuse(machine, "keywords for %.200s", name_of(cls));
    }
    if (found->call == NULL && PyTuple_GET_SIZE(*args) > 0) {
        return refuse(machine, "arguments for %.200s, which takes none",
                      name_of(cls));
    }
    return ask(machine, found, args);
}

/* copyreg.__newobj__(cls, *args) */
static int
restrict_newobj(fp_machine *machine, PyObject **args)
{
    Py_ssize_t n = PyTuple_GET_SIZE(*args);
    PyObject *rest, *cls, *given, *made;
    int status;

    if (n == 0) {
        return refuse(machine, "an instance of nothing");
    }
    cls = PyTuple_GET_ITEM(*args, 0);
    rest = given = PyTuple_GetSlice(*args, 1, n);
    if (rest == NULL) {
        return -1;
    }
    Py_INCREF(given);
    status = fp_restrict_new(machine, cls, &rest, NULL);
    if (status == 0 && rest != given) {
        n = PyTuple_GET_SIZE(rest);
        made = PyTuple_New(1 + n);
        if (made == NULL) {
            status = -1;
        }
        else {
            PyTuple_SET_ITEM(made, 0, Py_NewRef(cls));
            for (Py_ssize_t i = 0; i < n; i++) {
                PyTuple_SET_ITEM(made, 1 + i,
                                 Py_NewRef(PyTuple_GET_ITEM(rest, i)));
            }
            Py_SETREF(*args, made);
        }
    }
    Py_DECREF(given);
    Py_DECREF(rest);
    return status;
}

/* copyreg.__newobj_ex__(cls, args, kwargs) */
static int
restrict_newobj_ex(fp_machine *machine, PyObject **args)
{
    PyObject *rest, *made;
    int status;

    if (PyTuple_GET_SIZE(*args) != 3) {
        return refuse(machine, "copyreg.__newobj_ex__ takes three arguments");
    }
    rest = Py_NewRef(PyTuple_GET_ITEM(*args, 1));
    status = fp_restrict_new(machine, PyTuple_GET_ITEM(*args, 0), &rest,
                             PyTuple_GET_ITEM(*args, 2));
    if (status == 0 && rest != PyTuple_GET_ITEM(*args, 1)) {
        made = PyTuple_Pack(3, PyTuple_GET_ITEM(*args, 0), rest,
                            PyTuple_GET_ITEM(*args, 2));
        if (made == NULL) {
            status = -1;
        }
        else {
            Py_SETREF(*args, made);
        }
    }
    Py_DECREF(rest);
    return status;
}

/* copyreg._reconstructor(cls, base, state): of protocols 0 and 1. */
static int
restrict_reconstructor(fp_machine *machine, PyObject *args)
{
    PyObject *cls, *base, *state;
    const rule *found;

    if (PyTuple_GET_SIZE(args) != 3) {
        return refuse(machine, "copyreg._reconstructor takes three arguments");
    }
    cls = PyTuple_GET_ITEM(args, 0);
    base = PyTuple_GET_ITEM(args, 1);
    state = PyTuple_GET_ITEM(args, 2);
    found = find_rule(machine, cls);
    if (found == NULL || !(found->use & FP_MAY_NEW) || !PyType_Check(cls)) {
        return refuse(machine, "an instance of %.200s may not be made",
                      name_of(cls));
    }
    if (found->use & FP_MAY_ALL
        || (base == (PyObject *)&PyBaseObject_Type && state == Py_None)
        /* Filled by the base's own __init__: keys were looked at. */
        || (base == (PyObject *)&PyDict_Type && PyDict_CheckExact(state))
        || (base == (PyObject *)&PyList_Type && PyList_CheckExact(state)))
    {
        return 0;
    }
    return refuse(machine, "%.200s made from %.200s", name_of(cls),
                  name_of(base));
}

/* A tuple of exact ints, 0 among them. */
static int
is_empty_shape(PyObject *args)
{
    PyObject *shape = PyTuple_GET_ITEM(args, 0);
    int has_zero = 0;

    if (!PyTuple_CheckExact(shape)) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(shape); i++) {
        PyObject *length = PyTuple_GET_ITEM(shape, i);
        if (!PyLong_CheckExact(length)) {
            return 0;
        }
        has_zero |= PyObject_IsTrue(length) == 0;
    }
    return has_zero;
}

int
fp_restrict_call(fp_machine *machine, PyObject *callable, PyObject **args)
{
    const fp_state *state = machine->state;
    const rule *found = find_rule(machine, callable);

    if (found == NULL || !(found->use & FP_MAY_CALL)) {
        return refuse(machine, "%.200s may not be called", name_of(callable));
    }
    if (!PyTuple_CheckExact(*args)) {
        return refuse(machine, "arguments of %.200s are no tuple",
                      name_of(callable));
    }
    if (callable == state->newobj_function) {
        return restrict_newobj(machine, args);
    }
    if (callable == state->newobj_ex_function) {
        return restrict_newobj_ex(machine, args);
    }
    if (callable == state->reconstructor_function) {
        return restrict_reconstructor(machine, *args);
    }
    /* Made as other arrays of ours are: no elements, no memory. */
    if (callable == state->ndarray_type && machine->blobs != NULL
        && PyTuple_GET_SIZE(*args) == 2 && is_empty_shape(*args)
        && (PyUnicode_CheckExact(PyTuple_GET_ITEM(*args, 1))
            || fp_is_dtype(state, PyTuple_GET_ITEM(*args, 1))))
    {
        return 0;
    }
    return ask(machine, found, args);
}

/* --- states -------------------------------------------------------------- */

int
fp_restrict_is_plain(const fp_machine *machine, PyTypeObject *type)
{
    const rule *found = find_rule(machine, (PyObject *)type);

    return found != NULL && found->call == NULL && found->state == NULL
           && (found->use & (FP_MAY_NEW | FP_MAY_BUILD))
                  == (FP_MAY_NEW | FP_MAY_BUILD);
}

static int
is_special(PyObject *name)
{
    Py_ssize_t n = PyUnicode_GET_LENGTH(name);

    return n >= 4 && PyUnicode_READ_CHAR(name, 0) == '_'
           && PyUnicode_READ_CHAR(name, 1) == '_'
           && PyUnicode_READ_CHAR(name, n - 1) == '_'
           && PyUnicode_READ_CHAR(name, n - 2) == '_';
}

int
fp_restrict_attribute(fp_machine *machine, PyTypeObject *type, PyObject *name)
{
    PyObject *found;

    if (!PyUnicode_CheckExact(name)) {
        return refuse(machine, "a state of %.200s has a key that is no str",
                      type->tp_name);
    }
    if (is_special(name)) {
        return refuse(machine, "a state of %.200s sets %R", type->tp_name,
                      name);
    }
    found = fp_type_lookup(type, name);
    if (found != NULL && Py_TYPE(found)->tp_descr_get != NULL
        && Py_TYPE(found)->tp_descr_set == NULL && !PyType_Check(found))
    {
        return refuse(machine, "a state of %.200s hides its method %R",
                      type->tp_name, name);
    }
    return 0;
}

/* Keys of a Bunch are its attributes, and NumPy asks any object for those that
 * say where in memory its elements are. */
int
fp_restrict_item_name(fp_machine *machine, PyTypeObject *type, PyObject *key)
{
    PyObject *name, *found;

    if (!PyUnicode_Check(key) || !is_special(key)) {
        return 0;
    }
    name = PyUnicode_FromString("__getattr__");
    if (name == NULL) {
        return -1;
    }
    found = fp_type_lookup(type, name);
    Py_DECREF(name);
    return found == NULL ? 0
                         : refuse(machine, "an item of %.200s is named %R",
                                  type->tp_name, key);
}

int
fp_restrict_slot(fp_machine *machine, PyTypeObject *type, PyObject *name)
{
    PyObject *found =
        PyUnicode_CheckExact(name) ? fp_type_lookup(type, name) : NULL;

    if (found == NULL || !Py_IS_TYPE(found, &PyMemberDescr_Type)
        || type->tp_setattro != PyObject_GenericSetAttr)
    {
        return refuse(machine, "a state of %.200s sets what is no slot of it",
                      type->tp_name);
    }
    return is_special(name) ? refuse(machine, "a state of %.200s sets %R",
                                     type->tp_name, name)
                            : 0;
}

static int
restrict_names(fp_machine *machine, PyTypeObject *type, PyObject *dict)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;

    while (PyDict_Next(dict, &position, &key, &value)) {
        if (fp_restrict_attribute(machine, type, key) < 0) {
            return -1;
        }
    }
    return 0;
}

/* An instance whose type has a rule for states: not before. */
static int
note_built(fp_machine *machine, PyObject *instance)
{
    noted *place = note(machine, instance);

    if (place == NULL) {
        return -1;
    }
    if (place->is_built) {
        return refuse(machine, "a second state for an instance of %.200s",
                      Py_TYPE(instance)->tp_name);
    }
    place->is_built = 1;
    if (place->is_open) {
        place->is_open = 0;
        machine->restriction->n_open--;
    }
    return 0;
}

int
fp_restrict_made(fp_machine *machine, PyObject *callable, PyObject *object)
{
    const rule *found = find_rule(machine, callable);
    noted *place;

    if (found == NULL || !(found->use & FP_MUST_BUILD)) {
        return 0;
    }
    place = note(machine, object);
    if (place == NULL) {
        return -1;
    }
    if (!place->is_open && !place->is_built) {
        place->is_open = 1;
        machine->restriction->n_open++;
    }
    return 0;
}

int
fp_restrict_end(fp_machine *machine)
{
    const restriction *rules = machine->restriction;
    size_t i = 0;

    if (rules == NULL || rules->n_open == 0) {
        return 0;
    }
    while (!rules->noted[i].is_open) {
        i++;
    }
    return refuse(machine, "an instance of %.200s never gets a state",
                  Py_TYPE(rules->noted[i].object)->tp_name);
}

/* The rule of an instance's class, which the file need not have named: functions
 * make random generators, say. NULL with an exception, or without where it has
 * none. */
static const rule *
rule_of_class(fp_machine *machine, PyTypeObject *type)
{
    const fp_state *state = machine->state;
    const rule *found = find_rule(machine, (PyObject *)type);
    PyObject *module, *name = NULL, *answer = NULL, *object;

    if (found != NULL) {
        return found;
    }
    module = PyObject_GetAttr((PyObject *)type, state->str_module);
    if (module != NULL) {
        name = PyObject_GetAttr((PyObject *)type, state->str_qualname);
    }
    if (name != NULL && PyUnicode_CheckExact(module)
        && PyUnicode_CheckExact(name))
    {
        answer = PyObject_CallFunctionObjArgs(machine->find_class, module,
                                              name, NULL);
    }
    Py_XDECREF(name);
    Py_XDECREF(module);
    object = fp_restrict_global(machine, answer);
    Py_XDECREF(object);
    if (object == NULL && PyErr_ExceptionMatches(state->untrusted_error)) {
        PyErr_Clear();
    }
    return object == (PyObject *)type ? find_rule(machine, object) : NULL;
}

/* Whether a state is a dict none of whose values can be called, and whose
 * "memory" is None if it has one. */
static int
is_plain_state(PyObject *state)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;

    if (!PyDict_CheckExact(state)) {
        return 0;
    }
    while (PyDict_Next(state, &position, &key, &value)) {
        if (PyCallable_Check(value)
            || (value != Py_None && PyUnicode_Check(key)
                && PyUnicode_CompareWithASCIIString(key, "memory") == 0))
        {
            return 0;
        }
    }
    return 1;
}

/* A state by its rule; replaces *state. */
static int
ask_for_state(fp_machine *machine, const rule *of, PyObject *instance,
              PyObject **state)
{
    PyObject *rule_for_it = of->state;
    PyObject *answer;

    if (of->plain != NULL && is_plain_state(*state)) {
        /* What the stream still refers to could be filled later. */
        if (Py_REFCNT(*state) > 1) {
            PyObject *copy = PyDict_Copy(*state);
            if (copy == NULL) {
                return -1;
            }
            Py_SETREF(*state, copy);
        }
        if (of->plain == Py_True) {
            return 0;
        }
        rule_for_it = of->plain;
    }
    PyObject *args[] = {instance, *state};
    answer = PyObject_Vectorcall(rule_for_it, args, 2, NULL);
    if (answer == NULL) {
        return refuse_by_rule(machine, (PyObject *)Py_TYPE(instance));
    }
    Py_SETREF(*state, answer);
    return 0;
}

int
fp_restrict_state(fp_machine *machine, PyObject *instance, PyObject **state)
{
    PyTypeObject *type = Py_TYPE(instance);
    const rule *found;

    if (fp_is_dtype(machine->state, instance)) {
        return 0; /* dtype_guard.c */
    }
    if (PyArray_CheckExact(instance)) {
        return fp_is_only_here(machine, instance)
                   ? 0
                   : refuse(machine,
                            "another state for an array that is in use");
    }
    found = rule_of_class(machine, type);
    if (found == NULL && PyErr_Occurred()) {
        return -1;
    }
    if (found == NULL || !(found->use & FP_MAY_BUILD)) {
        return refuse(machine, "a state for %s%.200s, which takes none",
                      PyType_Check(instance) ? "the class " : "",
                      name_of(instance));
    }
    if (found->state != NULL) {
        if (note_built(machine, instance) < 0
            || ask_for_state(machine, found, instance, state) < 0)
        {
            return -1;
        }
    }
    /* What a __setstate__ is likely to put where attributes are. */
    if (PyDict_CheckExact(*state)) {
        return restrict_names(machine, type, *state);
    }
    if (PyTuple_CheckExact(*state) && PyTuple_GET_SIZE(*state) == 2
        && PyDict_CheckExact(PyTuple_GET_ITEM(*state, 0)))
    {
        return restrict_names(machine, type, PyTuple_GET_ITEM(*state, 0));
    }
    return 0;
}

/* --- items and keys ------------------------------------------------------ */

/* Whether a method is C code: of the base, since the tables hold such subclasses
 * only. */
static int
is_base_method(PyTypeObject *type, PyObject *name)
{
    PyObject *found = fp_type_lookup(type, name);

    return found != NULL && Py_IS_TYPE(found, &PyMethodDescr_Type);
}

int
fp_restrict_items(fp_machine *machine, PyObject *target, unsigned char opcode)
{
    PyTypeObject *type = Py_TYPE(target);
    const rule *found = find_rule(machine, (PyObject *)type);
    int is_allowed = found != NULL && (found->use & FP_MAY_ITEMS);

    if (is_allowed && !(found->use & FP_MAY_ALL)) {
        switch (opcode) {
        case OP_SETITEMS:
            is_allowed =
                PyDict_Check(target)
                && (type->tp_as_mapping->mp_ass_subscript
                        == PyDict_Type.tp_as_mapping->mp_ass_subscript
                    || type->tp_as_mapping->mp_ass_subscript
                           == PyODict_Type.tp_as_mapping->mp_ass_subscript);
            break;
        case OP_APPENDS:
            is_allowed = is_base_method(type, machine->state->str_extend);
            break;
        default:
            is_allowed = PySet_Check(target);
            break;
        }
    }
    return is_allowed ? 0
                      : refuse(machine, "items for %.200s, which takes none",
                               name_of(target));
}

/* *n_left: how many more may be looked at. */
static int
is_simple_key(const fp_machine *machine, PyObject *key, int depth, int *n_left)
{
    PyTypeObject *type = Py_TYPE(key);

    if (--*n_left < 0 || depth > KEY_DEPTH) {
        return 0;
    }
    if (type == &PyUnicode_Type || type == &PyLong_Type
        || type == &PyBytes_Type || type == &PyFloat_Type
        || type == &PyBool_Type || type == &PyComplex_Type || key == Py_None)
    {
        return 1;
    }
    if (type == &PyTuple_Type) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(key); i++) {
            if (!is_simple_key(machine, PyTuple_GET_ITEM(key, i), depth + 1,
                               n_left))
            {
                return 0;
            }
        }
        return 1;
    }
    if (type == &PyFrozenSet_Type) {
        /* Its members were looked at when it was made; but not how deep. */
        PyObject *members = PySequence_Tuple(key);
        int simple = members != NULL;
        for (Py_ssize_t i = 0; simple && i < PyTuple_GET_SIZE(members); i++) {
            simple = is_simple_key(machine, PyTuple_GET_ITEM(members, i),
                                   depth + 1, n_left);
        }
        Py_XDECREF(members);
        return simple;
    }
    /* By identity. */
    if ((type->tp_hash == PyBaseObject_Type.tp_hash
         && type->tp_richcompare == PyBaseObject_Type.tp_richcompare)
        || (PyType_Check(key) && type->tp_hash == PyType_Type.tp_hash
            && type->tp_richcompare == PyType_Type.tp_richcompare))
    {
        return 1;
    }
    /* Numbers and text of NumPy's own; of records each field may be an object. */
    return PyArray_CheckScalar(key)
           && (PyArray_IsScalar(key, Number) || PyArray_IsScalar(key, Bool)
               || PyArray_IsScalar(key, Character)
               || PyArray_IsScalar(key, Datetime))
           && !(type->tp_flags & Py_TPFLAGS_HEAPTYPE);
}

int
fp_restrict_hashed(fp_machine *machine, PyObject *key)
{
    int n_left = KEY_ITEMS;

    if (is_simple_key(machine, key, 0, &n_left)) {
        return 0;
    }
    return PyErr_Occurred()
               ? -1
               : refuse(machine,
                        "a key or member of a set that is a %.200s, or holds "
                        "too much",
                        Py_TYPE(key)->tp_name);
}

/* --- names --------------------------------------------------------------- */

PyDoc_STRVAR(find_name_doc,
             "find_name($module, module_name, name, /)\n"
             "--\n"
             "\n"
             "Import a module and return what it has under a qualified name,\n"
             "whose parts but the last must be classes.");

static PyObject *
find_name(PyObject *module, PyObject *args)
{
    fp_state *state = fp_state_of_module(module);
    PyObject *module_name, *name, *names = NULL, *object = NULL;

    if (!PyArg_ParseTuple(args, "UU:find_name", &module_name, &name)
        || PySys_Audit("pickle.find_class", "OO", module_name, name) < 0)
    {
        return NULL;
    }
    names = PyUnicode_Split(name, state->str_dot, -1);
    if (names != NULL) {
        object = PyImport_Import(module_name);
    }
    for (Py_ssize_t i = 0; object != NULL && i < PyList_GET_SIZE(names); i++) {
        PyObject *parent = object;
        object = NULL;
        if (i > 0 && !PyType_Check(parent)) {
            PyErr_Format(PyExc_AttributeError, "%U of %U is not in a class",
                         name, module_name);
        }
        else {
            object = PyObject_GetAttr(parent, PyList_GET_ITEM(names, i));
        }
        Py_DECREF(parent);
    }
    Py_XDECREF(names);
    return object;
}

PyDoc_STRVAR(
    set_loads_doc,
    "set_restricted_loads($module, function, /)\n"
    "--\n"
    "\n"
    "What loads(..., trusted=) calls, with the same arguments, where\n"
    "trusted is neither None nor a Restriction.");

static PyObject *
set_restricted_loads(PyObject *module, PyObject *function)
{
    fp_state *state = fp_state_of_module(module);

    Py_XSETREF(state->restricted_loads, Py_NewRef(function));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"set_restricted_loads", set_restricted_loads, METH_O, set_loads_doc},
    {"find_name", find_name, METH_VARARGS, find_name_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(
    untrusted_doc,
    "A file asks for what a load under `trusted=` does not allow.\n"
    "\n"
    "Nothing of it was run.\n"
    "\n"
    "Attributes\n"
    "----------\n"
    "names : tuple of UntrustedName\n"
    "    Every name of the file that is not approved, or not for its use.\n"
    "reasons : tuple of str\n"
    "    What else is refused, and where.");

int
fp_restrict_init(PyObject *module, fp_state *state)
{
    PyObject *attributes = NULL;
    int status = -1;

    state->restriction_type = PyObject_CallFunction(
        (PyObject *)&PyType_Type, "s(){ss}", "Restriction", "__module__",
        "fastpersist._core");
    attributes = Py_BuildValue("{s()s()}", "names", "reasons");
    if (state->restriction_type == NULL || attributes == NULL) {
        goto done;
    }
    state->untrusted_error =
        PyErr_NewExceptionWithDoc("fastpersist.UntrustedError", untrusted_doc,
                                  state->unpickling_error, attributes);
    if (state->untrusted_error != NULL
        && PyModule_AddObjectRef(module, "Restriction",
                                 state->restriction_type)
               == 0
        && PyModule_AddObjectRef(module, "UntrustedError",
                                 state->untrusted_error)
               == 0)
    {
        status = PyModule_AddFunctions(module, functions);
    }
done:
    Py_XDECREF(attributes);
    return status;
}
