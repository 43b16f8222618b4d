/* Globals, and the opcodes that call something: NEWOBJ, REDUCE, BUILD, INST,
 * OBJ, EXT, persistent identifiers. */
#include "array_guard.h"
#include "base/compat.h"
#include "messages_load.h"
#include "restrict.h"
#include "unpickle_parts.h"

#include <string.h>

/* --- globals ------------------------------------------------------------- */

/* The names under which Python 3 has what Python 2 called so; new references.
 */
static int
rename_global(fp_machine *machine, PyObject **module_name, PyObject **name)
{
    fp_state *state = machine->state;
    PyObject *pair = PyTuple_Pack(2, *module_name, *name);
    PyObject *item;

    if (pair == NULL) {
        return -1;
    }
    item = PyDict_GetItemWithError(state->name_mapping_2to3, pair);
    Py_DECREF(pair);
    if (item != NULL) {
        if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2) {
            PyErr_Format(PyExc_RuntimeError,
                         "_compat_pickle.NAME_MAPPING values should be "
                         "2-tuples, not %.200s",
                         Py_TYPE(item)->tp_name);
            return -1;
        }
        if (!PyUnicode_Check(PyTuple_GET_ITEM(item, 0))
            || !PyUnicode_Check(PyTuple_GET_ITEM(item, 1)))
        {
            PyErr_Format(PyExc_RuntimeError,
                         "_compat_pickle.NAME_MAPPING values should be "
                         "pairs of str, not (%.200s, %.200s)",
                         Py_TYPE(PyTuple_GET_ITEM(item, 0))->tp_name,
                         Py_TYPE(PyTuple_GET_ITEM(item, 1))->tp_name);
            return -1;
        }
        *module_name = Py_NewRef(PyTuple_GET_ITEM(item, 0));
        *name = Py_NewRef(PyTuple_GET_ITEM(item, 1));
        return 0;
    }
    if (PyErr_Occurred()) {
        return -1;
    }
    item = PyDict_GetItemWithError(state->import_mapping_2to3, *module_name);
    if (item == NULL && PyErr_Occurred()) {
        return -1;
    }
    if (item != NULL && !PyUnicode_Check(item)) {
        PyErr_Format(PyExc_RuntimeError,
                     "_compat_pickle.IMPORT_MAPPING values should be "
                     "strings, not %.200s",
                     Py_TYPE(item)->tp_name);
        return -1;
    }
    *module_name = Py_NewRef(item != NULL ? item : *module_name);
    Py_INCREF(*name);
    return 0;
}

static PyObject *
no_attribute(PyObject *object, PyObject *name)
{
    if (!PyErr_Occurred()) {
        PyErr_Format(PyExc_AttributeError, FP_NO_NAME, name, object);
    }
    return NULL;
}

/* A dotted path from a module. */
static PyObject *
deep_attribute(fp_state *state, PyObject *module, PyObject *path)
{
    PyObject *names = PyUnicode_Split(path, state->str_dot, -1);
    PyObject *object;

    if (names == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(names); i++) {
        int is_local = PyUnicode_Compare(PyList_GET_ITEM(names, i),
                                         state->str_local_scope);
        if (is_local == 0) {
            PyErr_Format(PyExc_AttributeError, FP_LOCAL_NAME, path, module);
            Py_DECREF(names);
            return NULL;
        }
    }
    object = Py_NewRef(module);
    for (Py_ssize_t i = 0; object != NULL && i < PyList_GET_SIZE(names); i++) {
        PyObject *parent = object;
        object = fp_optional_attribute(parent, PyList_GET_ITEM(names, i));
        Py_DECREF(parent);
    }
    Py_DECREF(names);
    return object != NULL ? object : no_attribute(module, path);
}

/* The same as getattr() finds it. */
static PyObject *
path_by_getattr(fp_state *state, PyObject *module_name, PyObject *module,
                PyObject *path)
{
    PyObject *names = PyUnicode_Split(path, state->str_dot, -1);
    PyObject *object = Py_NewRef(module);
    PyObject *cause, *error;
    Py_ssize_t n_names = names == NULL ? 0 : PyList_GET_SIZE(names);

    if (names == NULL) {
        Py_CLEAR(object);
    }
    for (Py_ssize_t i = 0; object != NULL && i < n_names; i++) {
        PyObject *parent = object;
        object = PyObject_GetAttr(parent, PyList_GET_ITEM(names, i));
        Py_DECREF(parent);
    }
    Py_XDECREF(names);
    if (object == NULL && n_names > 1) {
        cause = fp_take_exception();
        PyErr_Format(PyExc_AttributeError, FP_NO_PATH, path, module_name);
        error = fp_take_exception();
        PyException_SetContext(error, cause); /* steals */
        fp_put_exception(error);
    }
    return object;
}

/* What the names of the stream are called now: new references in place of the
 * borrowed ones. 0 or -1. */
static int
names_of_today(fp_machine *machine, PyObject **module_name, PyObject **name)
{
    if (machine->protocol < 3 && machine->fix_imports) {
        return rename_global(machine, module_name, name);
    }
    Py_INCREF(*module_name);
    Py_INCREF(*name);
    return 0;
}

/* The hook of a load. */
static PyObject *
find_by_hook(fp_machine *machine, PyObject *module_name, PyObject *name)
{
    PyObject *find_class, *global;

    if (names_of_today(machine, &module_name, &name) < 0) {
        return NULL;
    }
    find_class = Py_NewRef(machine->find_class);
    global = PyObject_CallFunctionObjArgs(find_class, module_name, name, NULL);
    Py_DECREF(find_class);
    Py_DECREF(module_name);
    Py_DECREF(name);
    return machine->is_restricted ? fp_restrict_global(machine, global)
                                  : global;
}

PyObject *
fp_import_global(fp_machine *machine, PyObject *module_name, PyObject *name)
{
    PyObject *module, *global = NULL;

    fp_foreign_code(machine);
    if (PySys_Audit("pickle.find_class", "OO", module_name, name) < 0
        || names_of_today(machine, &module_name, &name) < 0)
    {
        return NULL;
    }
    /* Not the module as it stands in sys.modules: it may still be in the
     * middle of its own import. */
    module = PyImport_Import(module_name);
    if (module != NULL) {
        if (FP_NAMES_AS_GETATTR) {
            global = machine->protocol >= 4
                         ? path_by_getattr(machine->state, module_name, module,
                                           name)
                         : PyObject_GetAttr(module, name);
        }
        else if (machine->protocol >= 4) {
            global = deep_attribute(machine->state, module, name);
        }
        else {
            global = fp_optional_attribute(module, name);
            if (global == NULL) {
                no_attribute(module, name);
            }
        }
        Py_DECREF(module);
    }
    Py_DECREF(module_name);
    Py_DECREF(name);
    return global;
}

PyObject *
fp_find_global(fp_machine *machine, PyObject *module_name, PyObject *name)
{
    fp_state *state = machine->state;
    const fp_wrapped_arrays *arrays = state->wrapped_arrays;
    int is_wrapper = arrays->is_wrapper(module_name, name);
    PyObject *global = NULL;

    fp_foreign_code(machine);
    machine->n_names++;
    if (machine->owner != NULL) {
        global = PyObject_CallMethodObjArgs(
            machine->owner, state->str_find_class, module_name, name, NULL);
    }
    else {
        if (machine->own_wrappers) {
            global = arrays->stand_in(state, module_name, name);
            if (global != NULL && machine->is_restricted
                && fp_restrict_own(machine, global) < 0)
            {
                Py_CLEAR(global);
            }
        }
        if (global == NULL && !PyErr_Occurred()) {
            global = machine->find_class != NULL
                         ? find_by_hook(machine, module_name, name)
                         : fp_import_global(machine, module_name, name);
        }
    }
    if (is_wrapper && global != NULL && PyType_Check(global)) {
        Py_XSETREF(machine->wrapper_type, Py_NewRef(global));
    }
    return global;
}

int
fp_load_stack_global(fp_machine *machine)
{
    PyObject *name, *module_name, *global = NULL;

    name = fp_pop(machine);
    if (name == NULL) {
        return -1;
    }
    module_name = fp_pop(machine);
    if (module_name == NULL) {
        Py_DECREF(name);
        return -1;
    }
    if (PyUnicode_CheckExact(module_name) && PyUnicode_CheckExact(name)) {
        global = fp_find_global(machine, module_name, name);
    }
    else {
        PyErr_SetString(machine->state->unpickling_error,
                        "STACK_GLOBAL requires str");
    }
    Py_DECREF(module_name);
    Py_DECREF(name);
    return fp_push(machine, global);
}

/* Two lines: the names of a global. GLOBAL has UTF-8, INST ASCII. */
static PyObject *
global_of_lines(fp_machine *machine, int is_ascii)
{
    PyObject *names[2] = {NULL, NULL};
    PyObject *global = NULL;

    for (int i = 0; i < 2; i++) {
        const char *line;
        size_t n_bytes;
        if (fp_text_line(machine, 2, &line, &n_bytes) < 0) {
            goto done;
        }
        names[i] =
            is_ascii
                ? PyUnicode_DecodeASCII(line, (Py_ssize_t)n_bytes, "strict")
                : PyUnicode_DecodeUTF8(line, (Py_ssize_t)n_bytes, "strict");
        if (names[i] == NULL) {
            goto done;
        }
    }
    global = fp_find_global(machine, names[0], names[1]);
done:
    Py_XDECREF(names[0]);
    Py_XDECREF(names[1]);
    return global;
}

int
fp_load_global(fp_machine *machine)
{
    if (machine->is_restricted && machine->input->whole_frames) {
        return fp_restrict_opcode(machine, "GLOBAL in a graph of ours");
    }
    return fp_push(machine, global_of_lines(machine, 0));
}

/* --- instances ----------------------------------------------------------- */

/* A class without arguments and without __getinitargs__ is not initialized. */
static PyObject *
instance_of(fp_machine *machine, PyObject *cls, PyObject *args)
{
    fp_state *state = machine->state;

    fp_foreign_code(machine);
    if (PyTuple_GET_SIZE(args) == 0 && PyType_Check(cls)) {
        PyObject *getinitargs =
            fp_optional_attribute(cls, state->str_getinitargs);
        if (getinitargs == NULL) {
            return PyErr_Occurred()
                       ? NULL
                       : PyObject_CallMethodOneArg(cls, state->str_new_, cls);
        }
        Py_DECREF(getinitargs);
    }
    return PyObject_CallObject(cls, args);
}

static PyObject *
instantiate(fp_machine *machine, PyObject *cls, PyObject *args)
{
    if (!fp_is_guarded(machine->state, cls)) {
        return instance_of(machine, cls, args);
    }
    return fp_guard_call(machine, cls, args, NULL) < 0
               ? NULL
               : fp_guard_result(machine, cls, args,
                                 instance_of(machine, cls, args));
}

int
fp_load_inst(fp_machine *machine)
{
    PyObject *cls, *object = NULL;
    size_t first;

    if (machine->is_restricted) {
        return fp_restrict_opcode(machine, "INST");
    }
    if (fp_pop_mark(machine, &first) < 0) {
        return -1;
    }
    cls = global_of_lines(machine, 1);
    if (cls == NULL) {
        return -1;
    }
    if (fp_load_tuple(machine, fp_stack_size(machine) - first) == 0) {
        PyObject *args = *--machine->top;
        object = instantiate(machine, cls, args);
        Py_DECREF(args);
    }
    Py_DECREF(cls);
    return fp_push(machine, object);
}

int
fp_load_obj(fp_machine *machine)
{
    PyObject *cls, *args, *object = NULL;
    size_t first;

    if (machine->is_restricted) {
        return fp_restrict_opcode(machine, "OBJ");
    }
    if (fp_pop_mark(machine, &first) < 0) {
        return -1;
    }
    if (fp_stack_size(machine) == first) {
        return fp_stack_underflow(machine);
    }
    if (fp_load_tuple(machine, fp_stack_size(machine) - first - 1) < 0) {
        return -1;
    }
    args = *--machine->top;
    cls = fp_pop(machine);
    if (cls != NULL) {
        object = instantiate(machine, cls, args);
        Py_DECREF(cls);
    }
    Py_DECREF(args);
    return fp_push(machine, object);
}

static PyObject *
call_new(fp_machine *machine, PyObject *cls, PyObject *args,
         PyObject *keywords, int with_keywords)
{
    const char *opcode = with_keywords ? "NEWOBJ_EX" : "NEWOBJ";
    PyObject *error = machine->state->unpickling_error;
    PyTypeObject *type = (PyTypeObject *)cls;

    if (!PyType_Check(cls)) {
        PyErr_Format(error, "%s class argument must be a type, not %.200s",
                     opcode, Py_TYPE(cls)->tp_name);
        return NULL;
    }
    if (type->tp_new == NULL) {
        PyErr_Format(error, "%s class argument '%.200s' doesn't have __new__",
                     opcode, Py_TYPE(cls)->tp_name);
        return NULL;
    }
    if (!PyTuple_Check(args)) {
        PyErr_Format(error, "%s args argument must be a tuple, not %.200s",
                     opcode, Py_TYPE(args)->tp_name);
        return NULL;
    }
    if (with_keywords && !PyDict_Check(keywords)) {
        PyErr_Format(error, "%s kwargs argument must be a dict, not %.200s",
                     opcode, Py_TYPE(keywords)->tp_name);
        return NULL;
    }
    fp_foreign_code(machine);
    if (!fp_is_array_class(machine->state, type)) {
        return type->tp_new(type, args, keywords);
    }
    return fp_guard_call(machine, cls, args, keywords) < 0
               ? NULL
               : fp_guard_result(machine, cls, args,
                                 type->tp_new(type, args, keywords));
}

int
fp_load_newobj(fp_machine *machine, int with_keywords)
{
    PyObject *cls = NULL, *args = NULL, *keywords = NULL, *object = NULL;

    if (with_keywords && (keywords = fp_pop(machine)) == NULL) {
        goto done;
    }
    args = fp_pop(machine);
    if (args == NULL) {
        goto done;
    }
    cls = fp_pop(machine);
    if (cls != NULL
        && (!machine->is_restricted
            || fp_restrict_new(machine, cls, &args, keywords) == 0))
    {
        object = call_new(machine, cls, args, keywords, with_keywords);
    }
done:
    Py_XDECREF(keywords);
    Py_XDECREF(args);
    Py_XDECREF(cls);
    return fp_push(machine, object);
}

static PyObject *
call(fp_machine *machine, PyObject *callable, PyObject *args)
{
    if (!fp_is_guarded(machine->state, callable)) {
        return PyObject_CallObject(callable, args);
    }
    return fp_guard_call(machine, callable, args, NULL) < 0
               ? NULL
               : fp_guard_result(machine, callable, args,
                                 PyObject_CallObject(callable, args));
}

/* __setstate__ and __new__ of NumPy's types, called by their own names: as BUILD
 * and NEWOBJ have them. NULL without an exception: it is neither. */
static PyObject *
call_by_name(fp_machine *machine, PyObject *callable, PyObject *args)
{
    const fp_state *names = machine->state;
    PyObject *first, *rest, *state, *object = NULL;
    int status;

    if (!PyTuple_Check(args) || PyTuple_GET_SIZE(args) == 0) {
        return NULL;
    }
    first = PyTuple_GET_ITEM(args, 0);
    if (Py_IS_TYPE(callable, &PyMethodDescr_Type)) {
        if (PyTuple_GET_SIZE(args) != 2 || !fp_has_guarded_state(names, first)
            || PyUnicode_Compare(PyDescr_NAME(callable), names->str_setstate)
                   != 0)
        {
            return NULL;
        }
        state = Py_NewRef(PyTuple_GET_ITEM(args, 1));
        status = fp_guard_state(machine, first, &state);
        if (status > 0) {
            object =
                PyObject_CallFunctionObjArgs(callable, first, state, NULL);
        }
        Py_DECREF(state);
        return status == 0 ? Py_NewRef(Py_None) : object;
    }
    /* How it takes its arguments differs by Python. */
    if (PyCFunction_CheckExact(callable)
        && PyCFunction_GET_SELF(callable) != NULL
        && PyType_Check(PyCFunction_GET_SELF(callable))
        && strcmp(((PyCFunctionObject *)callable)->m_ml->ml_name, "__new__")
               == 0
        && fp_is_guarded(names, first))
    {
        rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
        if (rest != NULL && fp_guard_call(machine, first, rest, NULL) == 0) {
            object = fp_guard_result(machine, first, rest,
                                     PyObject_Call(callable, args, NULL));
        }
        Py_XDECREF(rest);
    }
    return object;
}

/* torch.from_numpy takes memory that it will write to, whatever the array says:
 * of a read-only map it gets the bytes copied on write. By name, since torch is
 * not asked. */
static int
make_writable(fp_machine *machine, PyObject *callable, PyObject **args)
{
    fp_blobs *blobs =
        machine->out_of_band != NULL ? machine->out_of_band : machine->blobs;
    PyObject *array;

    if (blobs == NULL || blobs->map_privately == NULL
        || !PyCFunction_Check(callable)
        || strcmp(((PyCFunctionObject *)callable)->m_ml->ml_name, "from_numpy")
               != 0
        || !PyTuple_CheckExact(*args) || PyTuple_GET_SIZE(*args) != 1)
    {
        return 0;
    }
    array = fp_blobs_writable(blobs, PyTuple_GET_ITEM(*args, 0));
    if (array == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    Py_SETREF(*args, PyTuple_Pack(1, array));
    Py_DECREF(array);
    return *args == NULL ? -1 : 0;
}

int
fp_load_reduce(fp_machine *machine)
{
    PyObject *args, *callable, *object = NULL;

    args = fp_pop(machine);
    if (args == NULL) {
        return -1;
    }
    callable = fp_pop(machine);
    /* First, as a rule copies what may not be written to. */
    if (callable != NULL && make_writable(machine, callable, &args) < 0) {
        Py_CLEAR(callable);
    }
    if (callable != NULL && machine->is_restricted
        && fp_restrict_call(machine, callable, &args) < 0)
    {
        Py_CLEAR(callable);
    }
    if (callable != NULL) {
        fp_foreign_code(machine);
        if (callable == machine->state->frombuffer_function) {
            object = fp_array_of_buffer(args);
        }
        else if (machine->blobs != NULL
                 && callable == machine->state->ndarray_type)
        {
            object = fp_array_without_blob(machine, args);
        }
        else {
            object = call_by_name(machine, callable, args);
        }
        if (object == NULL && !PyErr_Occurred()) {
            object = call(machine, callable, args);
        }
        if (object != NULL && machine->is_restricted
            && fp_restrict_made(machine, callable, object) < 0)
        {
            Py_CLEAR(object);
        }
        Py_DECREF(callable);
    }
    Py_XDECREF(args);
    return fp_push(machine, object);
}

/* --- state --------------------------------------------------------------- */

/* What a state holds for the instance's __dict__. */
static int
set_dict(fp_machine *machine, PyObject *instance, PyObject *state)
{
    PyObject *dict, *key, *value;
    Py_ssize_t position = 0;
    int status = 0;

    if (!PyDict_Check(state)) {
        PyErr_SetString(machine->state->unpickling_error,
                        "state is not a dictionary");
        return -1;
    }
    dict = PyObject_GetAttr(instance, machine->state->str_dict);
    if (dict == NULL) {
        return -1;
    }
    while (status == 0 && PyDict_Next(state, &position, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        if (PyUnicode_CheckExact(key)) {
            PyUnicode_InternInPlace(&key);
        }
        status = PyObject_SetItem(dict, key, value);
        Py_DECREF(value);
        Py_DECREF(key);
    }
    Py_DECREF(dict);
    return status;
}

static int
set_slots(fp_machine *machine, PyObject *instance, PyObject *state)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    int status = 0;

    if (!PyDict_Check(state)) {
        PyErr_SetString(machine->state->unpickling_error,
                        "slot state is not a dictionary");
        return -1;
    }
    while (status == 0 && PyDict_Next(state, &position, &key, &value)) {
        if (machine->is_restricted
            && fp_restrict_slot(machine, Py_TYPE(instance), key) < 0)
        {
            return -1;
        }
        Py_INCREF(key);
        Py_INCREF(value);
        status = PyObject_SetAttr(instance, key, value);
        Py_DECREF(value);
        Py_DECREF(key);
    }
    return status;
}

static int
set_state(fp_machine *machine, PyObject *instance, PyObject *state)
{
    PyObject *slots = NULL, *setstate = NULL;

    /* A class may give what its instances hold for any attribute. */
    if (!machine->is_restricted
        || fp_type_lookup(Py_TYPE(instance), machine->state->str_setstate)
               != NULL)
    {
        setstate =
            fp_optional_attribute(instance, machine->state->str_setstate);
    }

    if (setstate != NULL) {
        PyObject *result = PyObject_CallOneArg(setstate, state);
        Py_DECREF(setstate);
        Py_XDECREF(result);
        return result == NULL ? -1 : 0;
    }
    if (PyErr_Occurred()) {
        return -1;
    }
    if (PyTuple_Check(state) && PyTuple_GET_SIZE(state) == 2) {
        slots = PyTuple_GET_ITEM(state, 1);
        state = PyTuple_GET_ITEM(state, 0);
    }
    if (state != Py_None && set_dict(machine, instance, state) < 0) {
        return -1;
    }
    return slots == NULL ? 0 : set_slots(machine, instance, slots);
}

int
fp_load_build(fp_machine *machine)
{
    PyObject *state, *instance, *array;
    int status = 1;

    if (fp_stack_size(machine) < machine->fence + 2) {
        return fp_stack_underflow(machine);
    }
    state = *--machine->top;
    instance = machine->top[-1]; /* the stack holds it */
    fp_foreign_code(machine);
    if (machine->is_restricted
        && fp_restrict_state(machine, instance, &state) < 0)
    {
        Py_DECREF(state);
        return -1;
    }
    if (fp_has_guarded_state(machine->state, instance)) {
        status = fp_guard_state(machine, instance, &state);
    }
    if (status > 0) {
        status = set_state(machine, instance, state);
    }
    Py_DECREF(state);
    if (status < 0 || machine->wrapper_type == NULL
        || !Py_IS_TYPE(instance, (PyTypeObject *)machine->wrapper_type))
    {
        return status;
    }
    array = machine->state->wrapped_arrays->read(machine, instance);
    if (array == NULL) {
        return -1;
    }
    Py_SETREF(machine->top[-1], array);
    return 0;
}

/* --- registered codes and persistent identifiers ------------------------- */

int
fp_load_extension(fp_machine *machine, int64_t code)
{
    fp_state *state = machine->state;
    PyObject *key, *pair, *object = NULL;

    if (machine->is_restricted) {
        return fp_restrict_opcode(machine, "an extension code");
    }
    if (code <= 0) {
        PyErr_SetString(state->unpickling_error, "EXT specifies code <= 0");
        return -1;
    }
    key = PyLong_FromLongLong(code);
    if (key == NULL) {
        return -1;
    }
    object = PyDict_GetItemWithError(state->extension_cache, key);
    if (object != NULL || PyErr_Occurred()) {
        machine->n_names++;
        Py_XINCREF(object);
        goto done;
    }
    pair = PyDict_GetItemWithError(state->inverted_registry, key);
    if (pair == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "unregistered extension code %lld",
                         (long long)code);
        }
        goto done;
    }
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2
        || !PyUnicode_Check(PyTuple_GET_ITEM(pair, 0))
        || !PyUnicode_Check(PyTuple_GET_ITEM(pair, 1)))
    {
        PyErr_Format(PyExc_ValueError,
                     "_inverted_registry[%lld] isn't a 2-tuple of strings",
                     (long long)code);
        goto done;
    }
    Py_INCREF(pair);
    object = fp_find_global(machine, PyTuple_GET_ITEM(pair, 0),
                            PyTuple_GET_ITEM(pair, 1));
    Py_DECREF(pair);
    if (object != NULL
        && PyDict_SetItem(state->extension_cache, key, object) < 0)
    {
        Py_CLEAR(object);
    }
done:
    Py_DECREF(key);
    return fp_push(machine, object);
}

static PyObject *
read_persistent_id(fp_machine *machine, unsigned char opcode)
{
    const char *line;
    size_t n_bytes;
    PyObject *id;

    if (opcode == OP_BINPERSID) {
        return fp_pop(machine);
    }
    if (fp_text_line(machine, 1, &line, &n_bytes) < 0) {
        return NULL;
    }
    id = PyUnicode_DecodeASCII(line, (Py_ssize_t)n_bytes, "strict");
    if (id == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_SetString(machine->state->unpickling_error,
                        "persistent IDs in protocol 0 must be "
                        "ASCII strings");
    }
    return id;
}

static int
no_persistent_load(fp_machine *machine)
{
    PyErr_SetString(machine->state->unpickling_error, FP_NO_PERSISTENT_LOAD);
    return -1;
}

int
fp_load_persistent_id(fp_machine *machine, unsigned char opcode)
{
    PyObject *id, *load, *owner, *object;

    if (machine->is_restricted) {
        return fp_restrict_opcode(machine, "a persistent id");
    }
    if (machine->persistent_load == NULL && !FP_READS_UNKNOWN_ID) {
        return no_persistent_load(machine);
    }
    id = read_persistent_id(machine, opcode);
    if (id == NULL) {
        return -1;
    }
    if (machine->persistent_load == NULL) {
        Py_DECREF(id);
        return no_persistent_load(machine);
    }
    fp_foreign_code(machine);
    load = Py_NewRef(machine->persistent_load); /* it can only be replaced */
    owner = machine->persistent_owner;
    object = owner != NULL
                 ? PyObject_CallFunctionObjArgs(load, owner, id, NULL)
                 : PyObject_CallOneArg(load, id);
    Py_DECREF(load);
    Py_DECREF(id);
    return fp_push(machine, object);
}
