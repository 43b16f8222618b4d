/* Functions written in Python whose answer is known: by what they do. */
#include "known.h"

#include "base/compat.h"

/* Their code is compared with what these compile to. In 3.12 a path parses what
 * it is made of when it is asked; those are left alone. */
static const char known_functions[] =
    "def enum(self, proto):\n"
    "    return self.__class__, (self._value_, )\n"
    "def counter(self):\n"
    "    return self.__class__, (dict(self),)\n"
    "def complex(c):\n"
    "    return complex, (c.real, c.imag)\n"
    "def fraction(self):\n"
    "    return (self.__class__, (self._numerator, self._denominator))\n"
    "def path(self):\n"
#if PY_VERSION_HEX < 0x030c0000
    "    return (self.__class__, tuple(self._parts))\n"
#else
    "    return self.__class__, tuple(self._raw_paths)\n"
#endif
    "def uuid(self):\n"
    "    d = {'int': self.int}\n"
    "    if self.is_safe != SafeUUID.unknown:\n"
    "        d['is_safe'] = self.is_safe.value\n"
    "    return d\n"
    "def namedtuple(_tuple):\n"
    "    def getnewargs(self):\n"
    "        return _tuple(self)\n";

static const char *const names[FP_N_FUNCTIONS] = {
    [FP_FUNCTION_ENUM] = "enum",
    [FP_FUNCTION_COUNTER] = "counter",
    [FP_FUNCTION_COMPLEX] = "complex",
    [FP_FUNCTION_FRACTION] = "fraction",
    [FP_FUNCTION_PATH] = "path",
    [FP_FUNCTION_UUID] = "uuid",
    [FP_FUNCTION_NAMEDTUPLE] = "namedtuple",
};

/* The code object of that name among constants, or the only one for NULL:
 * borrowed. */
static PyObject *
code_named(PyObject *code, const char *name)
{
    PyObject *constants = ((PyCodeObject *)code)->co_consts;

    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(constants); i++) {
        PyObject *constant = PyTuple_GET_ITEM(constants, i);
        if (PyCode_Check(constant)
            && (name == NULL
                || PyUnicode_CompareWithASCIIString(
                       ((PyCodeObject *)constant)->co_name, name)
                       == 0))
        {
            return constant;
        }
    }
    PyErr_SetString(PyExc_SystemError, "a known function has no code");
    return NULL;
}

static int
fetch_type(PyObject **field, const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);

    if (module == NULL) {
        return -1;
    }
    *field = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    if (*field != NULL && !PyType_Check(*field)) {
        PyErr_Format(PyExc_TypeError, "%s.%s is not a type", module_name,
                     name);
        Py_CLEAR(*field);
    }
    return *field == NULL ? -1 : 0;
}

int
fp_known_init(fp_state *state)
{
    PyObject *module =
        Py_CompileString(known_functions, "<fastpersist>", Py_file_input);
    PyObject *codes = PyTuple_New(FP_N_FUNCTIONS);
    int status = module == NULL || codes == NULL ? -1 : 0;

    for (int i = 0; status == 0 && i < FP_N_FUNCTIONS; i++) {
        PyObject *code = code_named(module, names[i]);
        if (code != NULL && i == FP_FUNCTION_NAMEDTUPLE) {
            code = code_named(code, NULL);
        }
        if (code == NULL) {
            status = -1;
            break;
        }
        PyTuple_SET_ITEM(codes, i, Py_NewRef(code));
    }
    Py_XDECREF(module);
    if (status < 0
        || fetch_type(&state->default_dict_type, "_collections", "defaultdict")
               < 0
        || fetch_type(&state->deque_type, "_collections", "deque") < 0)
    {
        Py_XDECREF(codes);
        return -1;
    }
    state->known_functions = codes;
    state->namespace_type =
        Py_NewRef(Py_TYPE(PySys_GetObject("implementation")));
    return 0;
}

#define FLAGS_THAT_COUNT                                                      \
    (CO_OPTIMIZED | CO_NEWLOCALS | CO_VARARGS | CO_VARKEYWORDS | CO_GENERATOR \
     | CO_COROUTINE | CO_ITERABLE_COROUTINE | CO_ASYNC_GENERATOR)

/* All of them are None or interned. Of the other functions none takes a
 * constant; their docstrings are no matter. */
static int
has_constants(const PyCodeObject *code, const PyCodeObject *expected)
{
    Py_ssize_t n_constants = PyTuple_GET_SIZE(expected->co_consts);

    if (PyTuple_GET_SIZE(code->co_consts) != n_constants) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < n_constants; i++) {
        if (PyTuple_GET_ITEM(code->co_consts, i)
            != PyTuple_GET_ITEM(expected->co_consts, i))
        {
            return 0;
        }
    }
    return 1;
}

static int
has_code(PyObject *function, PyObject *known)
{
    PyCodeObject *code, *expected = (PyCodeObject *)known;
    PyObject *bytes, *expected_bytes;
    int same;

    if (function == NULL || !PyFunction_Check(function)) {
        return 0;
    }
    code = (PyCodeObject *)PyFunction_GET_CODE(function);
    if (code->co_argcount != expected->co_argcount
        || code->co_kwonlyargcount != 0
        || ((code->co_flags ^ expected->co_flags) & FLAGS_THAT_COUNT) != 0
        || code->co_nlocals != expected->co_nlocals)
    {
        return 0;
    }
    same = PyObject_RichCompareBool(code->co_names, expected->co_names, Py_EQ);
    if (same <= 0) {
        return same;
    }
    bytes = PyCode_GetCode(code);
    expected_bytes = PyCode_GetCode(expected);
    same = bytes == NULL || expected_bytes == NULL
               ? -1
               : PyObject_RichCompareBool(bytes, expected_bytes, Py_EQ);
    Py_XDECREF(bytes);
    Py_XDECREF(expected_bytes);
    return same;
}

/* What a name of the function's module stands for: borrowed, NULL with or
 * without an exception. */
static PyObject *
global_of(PyObject *function, PyObject *name)
{
    PyObject *found;

    (void)fp_dict_get(PyFunction_GET_GLOBALS(function), name, &found);
    Py_XDECREF(found);
    return found;
}

/* Whether a name stands for that built-in type. */
static int
is_builtin(PyObject *function, PyObject *name, PyTypeObject *type)
{
    PyObject *found = global_of(function, name);

    if (found != NULL || PyErr_Occurred()) {
        return found != NULL ? found == (PyObject *)type : -1;
    }
    (void)fp_dict_get(((PyFunctionObject *)function)->func_builtins, name,
                      &found);
    Py_XDECREF(found); /* compared only */
    return found == NULL && PyErr_Occurred() ? -1 : found == (PyObject *)type;
}

int
fp_does(const fp_state *state, PyObject *function, fp_known_function what)
{
    int same =
        has_code(function, PyTuple_GET_ITEM(state->known_functions, what));
    PyObject *closure;

    if (same <= 0) {
        return same;
    }
    switch (what) {
    case FP_FUNCTION_NAMEDTUPLE: /* tuple is what `_tuple` stands for */
        closure = PyFunction_GET_CLOSURE(function);
        return closure != NULL && PyTuple_GET_SIZE(closure) == 1
               && PyCell_GET(PyTuple_GET_ITEM(closure, 0))
                      == (PyObject *)&PyTuple_Type;
    case FP_FUNCTION_COUNTER:
        return is_builtin(function, state->str_dict_type, &PyDict_Type);
    case FP_FUNCTION_COMPLEX:
        return is_builtin(function, state->str_complex, &PyComplex_Type);
    case FP_FUNCTION_PATH:
        return is_builtin(function, state->str_tuple, &PyTuple_Type);
    case FP_FUNCTION_UUID:
        return has_constants(
            (PyCodeObject *)PyFunction_GET_CODE(function),
            (PyCodeObject *)PyTuple_GET_ITEM(state->known_functions, what));
    default:
        return 1;
    }
}

/* SafeUUID.unknown, which nothing but itself is equal to. */
PyObject *
fp_unknown_safety(const fp_state *state, PyObject *function)
{
    PyObject *safety = global_of(function, state->str_safe_uuid);
    PyObject *dict, *members;
    PyObject *unknown = NULL;

    if (safety == NULL || !PyType_Check(safety)) {
        return NULL;
    }
    dict = fp_type_dict((PyTypeObject *)safety);
    if (dict == NULL) {
        return NULL;
    }
    if (fp_dict_get(dict, state->str_member_map, &members) > 0) {
        if (PyDict_CheckExact(members)) {
            (void)fp_dict_get(members, state->str_unknown, &unknown);
            Py_XDECREF(unknown);
        }
        Py_DECREF(members);
    }
    Py_DECREF(dict);
    return unknown != NULL && Py_IS_TYPE(unknown, (PyTypeObject *)safety)
                   && Py_TYPE(unknown)->tp_richcompare
                          == PyBaseObject_Type.tp_richcompare
               ? unknown
               : NULL;
}
