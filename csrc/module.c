/* The module: its state and its functions. */
#include "base/compat.h"
#include "base/errors.h"
#include "base/numpy_api.h"
#include "build/tree_guard.h"
#include "build/unpickle.h"
#include "build/unpickler.h"
#include "dump/dump.h"
#include "in/lz4_reader.h"
#include "load/load.h"
#include "out/atomic_file_type.h"
#include "out/lz4_writer.h"
#include "out/write_answer.h"
#include "walk/pickler.h"
#include "walk/walk.h"

/* --- functions ---------------------------------------------------------- */

PyDoc_STRVAR(
    dumps_doc,
    "dumps($module, /, obj, protocol=None, *, fix_imports=True,\n"
    "      buffer_callback=None)\n"
    "--\n"
    "\n"
    "Return the pickled representation of the object as a bytes object.\n"
    "\n"
    "Byte for byte what pickle.dumps() of the running Python returns for the\n"
    "same arguments.\n"
    "\n"
    "Parameters\n"
    "----------\n"
    "obj\n"
    "    Any object that pickle can handle.\n"
    "protocol : int, optional\n"
    "    0 to 5; negative: 5; None: pickle.DEFAULT_PROTOCOL.\n"
    "fix_imports : bool\n"
    "    Names of Python 2 for what is renamed, in protocols below 3.\n"
    "buffer_callback : callable, optional\n"
    "    Called with each pickle.PickleBuffer, which then stays out of the\n"
    "    pickle where it returns something false. Protocol 5.\n"
    "\n"
    "Returns\n"
    "-------\n"
    "bytes\n"
    "\n"
    "Raises\n"
    "------\n"
    "pickle.PicklingError\n"
    "    The object cannot be pickled; a note says where in it.\n"
    "\n"
    "Examples\n"
    "--------\n"
    ">>> fastpersist.loads(fastpersist.dumps([1, 2]))\n"
    "[1, 2]");

PyDoc_STRVAR(
    loads_doc,
    "loads($module, data, /, *, fix_imports=True, encoding=\"ASCII\",\n"
    "      errors=\"strict\", buffers=(), trusted=None)\n"
    "--\n"
    "\n"
    "Read an object from its pickled representation.\n"
    "\n"
    "Does what pickle.loads() does with the same arguments, and reads what\n"
    "joblib wrote as well. What stands behind the pickle is ignored.\n"
    "\n"
    "Parameters\n"
    "----------\n"
    "data : bytes-like\n"
    "fix_imports, encoding, errors, buffers\n"
    "    As of pickle.loads().\n"
    "trusted : None, or iterable of str or classes\n"
    "    As of load(): not None restricts what the pickle may call.\n"
    "\n"
    "Returns\n"
    "-------\n"
    "object\n"
    "\n"
    "Raises\n"
    "------\n"
    "pickle.UnpicklingError\n"
    "    The data is no pickle, or UntrustedError: it asks for more than\n"
    "    `trusted` allows.\n"
    "EOFError\n"
    "    The data ends too early.\n"
    "\n"
    "Examples\n"
    "--------\n"
    ">>> fastpersist.loads(fastpersist.dumps({\"a\": 1}), trusted=())\n"
    "{'a': 1}");

PyDoc_STRVAR(
    dump_value_doc,
    "dump_value($module, value, sidecar, layout, protocol, durable,\n"
    "           n_threads, place, start, progress=None, names=None,\n"
    "           environment=None, /)\n"
    "--\n"
    "\n"
    "Write value to a path (str or bytes), which is replaced at the end, or\n"
    "to an object with a write() method, front to back.\n"
    "\n"
    "sidecar is None or a second one of these, for the arrays' bytes. layout\n"
    "is \"pickle\" or \"joblib\", or \"plain\": a pickle and nothing else;\n"
    "start is where a file object stands. progress(done, total) is called\n"
    "now and then, and at the end. Classes whose type is names are written\n"
    "by __module__ and __qualname__ as they are. environment is the text\n"
    "that the footer gets.");

static PyObject *
dump_value(PyObject *module, PyObject *args)
{
    PyObject *value, *place, *sidecar;
    const char *layout;
    unsigned long long start;
    PyObject *names = Py_None;
    fp_dump_options options = {.report = NULL};

    if (!PyArg_ParseTuple(args, "OOsipiOK|OOz#:dump_value", &value, &sidecar,
                          &layout, &options.protocol, &options.durable,
                          &options.n_threads, &place, &start, &options.report,
                          &names, &options.environment,
                          &options.environment_bytes))
    {
        return NULL;
    }
    options.start = start;
    options.names = names == Py_None ? NULL : names;
    options.layout = strcmp(layout, "joblib") == 0  ? FP_LAYOUT_JOBLIB
                     : strcmp(layout, "plain") == 0 ? FP_LAYOUT_PLAIN
                                                    : FP_LAYOUT_PICKLE;
    if (fp_dump_value(fp_state_of_module(module), value, place,
                      sidecar == Py_None ? NULL : sidecar, &options)
        < 0)
    {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* *place becomes what (fd, file, path) says; all of it is borrowed. */
static int
sidecar_place(PyObject *sidecar, fp_sidecar_place *place)
{
    PyObject *path;

    if (!PyTuple_Check(sidecar)) {
        PyErr_SetString(PyExc_TypeError, "sidecar must be None or a tuple");
        return -1;
    }
    if (!PyArg_ParseTuple(sidecar, "iOO:sidecar", &place->fd, &place->file,
                          &path))
    {
        return -1;
    }
    place->path = path == Py_None ? NULL : path;
    return 0;
}

PyDoc_STRVAR(read_sidecar_doc,
             "read_sidecar($module, place, verify, n_threads, /)\n"
             "--\n"
             "\n"
             "Return the buffers of a sidecar file as a list. place is\n"
             "(fd, file, path): a descriptor and a path, or -1 and an object\n"
             "with a read() method.");

static PyObject *
read_sidecar(PyObject *module, PyObject *args)
{
    PyObject *tuple;
    int verify, n_threads;
    fp_sidecar_place place;

    if (!PyArg_ParseTuple(args, "Oii:read_sidecar", &tuple, &verify,
                          &n_threads)
        || sidecar_place(tuple, &place) < 0)
    {
        return NULL;
    }
    return fp_read_sidecar(fp_state_of_module(module), &place,
                           (fp_verify)verify, n_threads);
}

/* The arguments that all loads share. */
static int
load_options(PyObject *mmap_mode, int native_order, int verify, int n_threads,
             unsigned long long max_bytes, int mismatch, PyObject *report,
             PyObject *find_class, fp_load_options *options)
{
    if (mismatch < FP_MISMATCH_IGNORE || mismatch > FP_MISMATCH_RAISE) {
        PyErr_SetString(PyExc_ValueError, "mismatch is out of range");
        return -1;
    }
    if (verify < FP_VERIFY_NONE || verify > FP_VERIFY_FULL) {
        PyErr_SetString(PyExc_ValueError, "verify is out of range");
        return -1;
    }
    if (mmap_mode != Py_None && !PyUnicode_Check(mmap_mode)) {
        PyErr_SetString(PyExc_TypeError, "mmap_mode must be None or a str");
        return -1;
    }
    *options = (fp_load_options){
        .mmap_mode = mmap_mode == Py_None ? NULL : mmap_mode,
        .native_order = native_order,
        .verify = (fp_verify)verify,
        .n_threads = n_threads,
        .max_bytes = max_bytes,
        .mismatch = (fp_mismatch)mismatch,
        .report = report,
        .find_class = find_class == Py_None ? NULL : find_class,
    };
    return 0;
}

/* `place` is in use as long as the options are. */
static int
add_sidecar(PyObject *sidecar, fp_sidecar_place *place,
            fp_load_options *options)
{
    if (sidecar == Py_None) {
        return 0;
    }
    if (sidecar_place(sidecar, place) < 0) {
        return -1;
    }
    options->sidecar = place;
    return 0;
}

/* max_bytes where no limit was given. */
#define NO_LIMIT UINT64_MAX

PyDoc_STRVAR(load_path_doc,
             "load_path($module, path, mmap_mode, native_order, verify,\n"
             "          n_threads, foreign, sidecar=None,\n"
             "          max_bytes=18446744073709551615,\n"
             "          mismatch=0, progress=None, find_class=None,\n"
             "          audit=None, /)\n"
             "--\n"
             "\n"
             "Load the first dump of a file; what it cannot load is left to\n"
             "foreign(fd). foreign(fd, offset) tells whether another\n"
             "writer's begins there. audit(survey, fd) may refuse the file\n"
             "before anything of it runs; of what is not one dump of ours\n"
             "survey is None.");

static PyObject *
load_path(PyObject *module, PyObject *args)
{
    PyObject *path, *mmap_mode, *foreign;
    PyObject *sidecar = Py_None;
    int native_order, verify, n_threads;
    int mismatch = FP_MISMATCH_IGNORE;
    PyObject *report = Py_None, *find_class = Py_None, *audit = Py_None;
    unsigned long long max_bytes = NO_LIMIT;
    fp_load_options options;
    fp_sidecar_place place;

    if (!PyArg_ParseTuple(args, "OOpiiO|OKiOOO:load_path", &path, &mmap_mode,
                          &native_order, &verify, &n_threads, &foreign,
                          &sidecar, &max_bytes, &mismatch, &report,
                          &find_class, &audit)
        || load_options(mmap_mode, native_order, verify, n_threads, max_bytes,
                        mismatch, report, find_class, &options)
               < 0)
    {
        return NULL;
    }
    if (add_sidecar(sidecar, &place, &options) < 0) {
        return NULL;
    }
    options.foreign = foreign;
    options.audit = audit == Py_None ? NULL : audit;
    return fp_load_path(fp_state_of_module(module), path, &options);
}

PyDoc_STRVAR(load_descriptor_doc,
             "load_descriptor($module, fd, path, start, mmap_mode,\n"
             "                native_order, verify, n_threads, foreign,\n"
             "                max_bytes=18446744073709551615,\n"
             "                mismatch=0, progress=None, find_class=None,\n"
             "                /)\n"
             "--\n"
             "\n"
             "Load the dump or pickle that begins at start of a regular\n"
             "file; return it and where it ends. foreign: see load_path.");

static PyObject *
load_descriptor(PyObject *module, PyObject *args)
{
    PyObject *path, *mmap_mode, *foreign, *value;
    int fd, native_order, verify, n_threads;
    int mismatch = FP_MISMATCH_IGNORE;
    PyObject *report = Py_None, *find_class = Py_None;
    unsigned long long start, max_bytes = NO_LIMIT;
    uint64_t end;
    fp_load_options options;

    if (!PyArg_ParseTuple(args, "iOKOpiiO|KiOO:load_descriptor", &fd, &path,
                          &start, &mmap_mode, &native_order, &verify,
                          &n_threads, &foreign, &max_bytes, &mismatch, &report,
                          &find_class)
        || load_options(mmap_mode, native_order, verify, n_threads, max_bytes,
                        mismatch, report, find_class, &options)
               < 0)
    {
        return NULL;
    }
    options.foreign = foreign;
    value = fp_load_descriptor(fp_state_of_module(module), fd, path, start,
                               &options, &end);
    return value == NULL
               ? NULL
               : Py_BuildValue("(NK)", value, (unsigned long long)end);
}

PyDoc_STRVAR(load_file_doc,
             "load_file($module, file, path, native_order, verify,\n"
             "          mmap_mode=None, n_threads=1, sidecar=None,\n"
             "          max_bytes=18446744073709551615,\n"
             "          mismatch=0, progress=None, find_class=None, /)\n"
             "--\n"
             "\n"
             "Load one dump or pickle from an object with a read() method.");

static PyObject *
load_file(PyObject *module, PyObject *args)
{
    PyObject *file, *path;
    PyObject *mmap_mode = Py_None, *sidecar = Py_None;
    int native_order, verify;
    int n_threads = 1;
    int mismatch = FP_MISMATCH_IGNORE;
    PyObject *report = Py_None, *find_class = Py_None;
    unsigned long long max_bytes = NO_LIMIT;
    fp_load_options options;
    fp_sidecar_place place;

    if (!PyArg_ParseTuple(args, "OOpi|OiOKiOO:load_file", &file, &path,
                          &native_order, &verify, &mmap_mode, &n_threads,
                          &sidecar, &max_bytes, &mismatch, &report,
                          &find_class)
        || load_options(mmap_mode, native_order, verify, n_threads, max_bytes,
                        mismatch, report, find_class, &options)
               < 0)
    {
        return NULL;
    }
    if (add_sidecar(sidecar, &place, &options) < 0) {
        return NULL;
    }
    return fp_load_file(fp_state_of_module(module), file,
                        path == Py_None ? NULL : path, &options);
}

PyDoc_STRVAR(verify_descriptor_doc,
             "verify_descriptor($module, fd, path, n_threads, progress=None,\n"
             "                  /)\n"
             "--\n"
             "\n"
             "Check all dumps of a regular file; return whether it is one of\n"
             "fastpersist's own layout.");

static PyObject *
verify_descriptor(PyObject *module, PyObject *args)
{
    PyObject *path, *report = Py_None;
    int fd, n_threads, is_ours;

    if (!PyArg_ParseTuple(args, "iOi|O:verify_descriptor", &fd, &path,
                          &n_threads, &report))
    {
        return NULL;
    }
    is_ours = fp_verify_descriptor(fp_state_of_module(module), fd, path,
                                   n_threads, report);
    return is_ours < 0 ? NULL : PyBool_FromLong(is_ours);
}

PyDoc_STRVAR(verify_file_doc,
             "verify_file($module, file, path, sidecar, max_bytes,\n"
             "            progress=None, /)\n"
             "--\n"
             "\n"
             "Check one dump from an object with a read() method, and the\n"
             "sidecar that belongs to it; return whether there was one of\n"
             "fastpersist's own layout.");

static PyObject *
verify_file(PyObject *module, PyObject *args)
{
    PyObject *file, *path, *sidecar, *report = Py_None;
    unsigned long long max_bytes;
    fp_load_options options;
    fp_sidecar_place place;
    int is_ours;

    if (!PyArg_ParseTuple(args, "OOOK|O:verify_file", &file, &path, &sidecar,
                          &max_bytes, &report)
        || load_options(Py_None, 0, FP_VERIFY_FULL, 1, max_bytes,
                        FP_MISMATCH_IGNORE, report, Py_None, &options)
               < 0)
    {
        return NULL;
    }
    if (add_sidecar(sidecar, &place, &options) < 0) {
        return NULL;
    }
    is_ours = fp_verify_file(fp_state_of_module(module), file,
                             path == Py_None ? NULL : path, &options);
    return is_ours < 0 ? NULL : PyBool_FromLong(is_ours);
}

PyDoc_STRVAR(verify_sidecar_doc,
             "verify_sidecar($module, place, max_bytes, progress=None, /)\n"
             "--\n"
             "\n"
             "Check one sidecar by itself, from a file object.");

static PyObject *
verify_sidecar(PyObject *module, PyObject *args)
{
    PyObject *tuple, *report = Py_None;
    unsigned long long max_bytes;
    fp_sidecar_place place;

    if (!PyArg_ParseTuple(args, "OK|O:verify_sidecar", &tuple, &max_bytes,
                          &report)
        || sidecar_place(tuple, &place) < 0
        || fp_verify_sidecar(fp_state_of_module(module), &place, max_bytes,
                             report)
               < 0)
    {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    verify_pickle_doc,
    "verify_pickle($module, file, path, max_bytes, progress=None, /)\n"
    "--\n"
    "\n"
    "Survey a pickle up to its STOP, with joblib's arrays; nothing of\n"
    "it runs.");

static PyObject *
verify_pickle(PyObject *module, PyObject *args)
{
    PyObject *file, *path, *report = Py_None;
    unsigned long long max_bytes;

    if (!PyArg_ParseTuple(args, "OOK|O:verify_pickle", &file, &path,
                          &max_bytes, &report)
        || fp_verify_pickle(fp_state_of_module(module), file,
                            path == Py_None ? NULL : path, max_bytes, report)
               < 0)
    {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    write_counts_doc,
    "write_counts($module, file, write, /)\n"
    "--\n"
    "\n"
    "Whether the answer of a file object's write method says how much\n"
    "it took. Where it does not, everything was taken.");

static PyObject *
write_counts(PyObject *module, PyObject *args)
{
    PyObject *file, *write;
    int answer;

    if (!PyArg_ParseTuple(args, "OO:write_counts", &file, &write)) {
        return NULL;
    }
    answer = fp_write_counts(fp_state_of_module(module), file, write);
    return answer < 0 ? NULL : PyBool_FromLong(answer);
}

PyDoc_STRVAR(bytes_taken_doc,
             "bytes_taken($module, answer, n_bytes, /)\n"
             "--\n"
             "\n"
             "How many of n_bytes were taken, by an answer that counts.");

static PyObject *
bytes_taken(PyObject *module, PyObject *args)
{
    PyObject *answer;
    Py_ssize_t n_bytes;

    (void)module;
    if (!PyArg_ParseTuple(args, "On:bytes_taken", &answer, &n_bytes)) {
        return NULL;
    }
    n_bytes = fp_bytes_taken(answer, n_bytes);
    return n_bytes < 0 ? NULL : PyLong_FromSsize_t(n_bytes);
}

PyDoc_STRVAR(
    is_plain_tree_doc,
    "is_plain_tree($module, state, dtype, n_features, n_outputs,\n"
    "              max_n_classes, /)\n"
    "--\n"
    "\n"
    "Whether the state of a Tree is written as scikit-learn writes it;\n"
    "ValueError where its nodes are wrong.");

PyDoc_STRVAR(
    are_plain_trees_doc,
    "are_plain_trees($module, estimators, classes, tree, n_features,\n"
    "                also_in, /)\n"
    "--\n"
    "\n"
    "Whether each is a complete tree of so many columns.");

PyDoc_STRVAR(
    is_plain_predictor_doc,
    "is_plain_predictor($module, state, dtype, offsets, /)\n"
    "--\n"
    "\n"
    "Whether the state of a TreePredictor is written as scikit-learn writes\n"
    "it; ValueError where its nodes are wrong.");

PyDoc_STRVAR(
    are_plain_predictors_doc,
    "are_plain_predictors($module, predictors, class_, dtype, offsets,\n"
    "                     n_features, /)\n"
    "--\n"
    "\n"
    "Whether each is a complete boosted tree without categories;\n"
    "ValueError where its nodes are wrong.");

PyDoc_STRVAR(is_plain_tree_call_doc,
             "is_plain_tree_call($module, args, /)\n"
             "--\n"
             "\n"
             "Whether a Tree is made as scikit-learn makes it.");

PyDoc_STRVAR(
    check_tree_doc,
    "check_tree($module, nodes, itemsize, n_features, max_depth, /)\n"
    "--\n"
    "\n"
    "Raises ValueError where the nodes are no tree of that depth, or\n"
    "split by features that there are not.");

PyDoc_STRVAR(
    check_predictor_doc,
    "check_predictor($module, nodes, itemsize, offsets, n_features,\n"
    "                n_bitsets, /)\n"
    "--\n"
    "\n"
    "The same of a boosted tree's records. Returns the largest feature,\n"
    "and whether any split is by categories.");

PyDoc_STRVAR(give_back_memory_doc,
             "give_back_memory($module, /)\n"
             "--\n"
             "\n"
             "Free the memory that is kept from one dump to the next; return\n"
             "how many bytes that was.");

static PyObject *
give_back_memory(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    fp_spare_blocks *spare = &fp_state_of_module(module)->spare;
    size_t n_bytes = fp_spare_bytes(spare);

    fp_spare_drop(spare);
    return PyLong_FromSize_t(n_bytes);
}

static PyMethodDef functions[] = {
    {"dumps", (PyCFunction)(void (*)(void))fp_dumps,
     METH_VARARGS | METH_KEYWORDS, dumps_doc},
    {"loads", (PyCFunction)(void (*)(void))fp_loads,
     METH_FASTCALL | METH_KEYWORDS, loads_doc},
    {"dump_value", dump_value, METH_VARARGS, dump_value_doc},
    {"give_back_memory", give_back_memory, METH_NOARGS, give_back_memory_doc},
    {"load_path", load_path, METH_VARARGS, load_path_doc},
    {"load_descriptor", load_descriptor, METH_VARARGS, load_descriptor_doc},
    {"read_sidecar", read_sidecar, METH_VARARGS, read_sidecar_doc},
    {"load_file", load_file, METH_VARARGS, load_file_doc},
    {"verify_descriptor", verify_descriptor, METH_VARARGS,
     verify_descriptor_doc},
    {"verify_file", verify_file, METH_VARARGS, verify_file_doc},
    {"verify_sidecar", verify_sidecar, METH_VARARGS, verify_sidecar_doc},
    {"verify_pickle", verify_pickle, METH_VARARGS, verify_pickle_doc},
    {"write_counts", write_counts, METH_VARARGS, write_counts_doc},
    {"bytes_taken", bytes_taken, METH_VARARGS, bytes_taken_doc},
    {"is_plain_tree", (PyCFunction)(void (*)(void))fp_is_plain_tree,
     METH_FASTCALL, is_plain_tree_doc},
    {"is_plain_tree_call", fp_is_plain_tree_call, METH_O,
     is_plain_tree_call_doc},
    {"are_plain_trees", (PyCFunction)(void (*)(void))fp_are_plain_trees,
     METH_FASTCALL, are_plain_trees_doc},
    {"is_plain_predictor", (PyCFunction)(void (*)(void))fp_is_plain_predictor,
     METH_FASTCALL, is_plain_predictor_doc},
    {"are_plain_predictors",
     (PyCFunction)(void (*)(void))fp_are_plain_predictors, METH_FASTCALL,
     are_plain_predictors_doc},
    {"check_tree", (PyCFunction)(void (*)(void))fp_check_tree, METH_FASTCALL,
     check_tree_doc},
    {"check_predictor", (PyCFunction)(void (*)(void))fp_check_predictor,
     METH_FASTCALL, check_predictor_doc},
    {NULL, NULL, 0, NULL},
};

/* --- state -------------------------------------------------------------- */

/* `*field` becomes the attribute of a module. */
static int
fetch(PyObject **field, const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);

    if (module == NULL) {
        return -1;
    }
    *field = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return *field == NULL ? -1 : 0;
}

/* What object's own class dict holds under a name: a new reference. */
static int
fetch_of_object(PyObject **field, PyObject *name)
{
    *field = Py_XNewRef(fp_type_lookup(&PyBaseObject_Type, name));
    if (*field == NULL) {
        PyErr_Format(PyExc_SystemError, "object has no %U", name);
        return -1;
    }
    return 0;
}

static int
must_be_dict(PyObject *object, const char *name)
{
    if (PyDict_CheckExact(object)) {
        return 0;
    }
    PyErr_Format(PyExc_RuntimeError, "%s should be a dict, not %.200s", name,
                 Py_TYPE(object)->tp_name);
    return -1;
}

static int
module_exec(PyObject *module)
{
    fp_state *state = fp_state_of_module(module);

#define X(field, text)                                                        \
    state->str_##field = PyUnicode_InternFromString(text);                    \
    if (state->str_##field == NULL) {                                         \
        return -1;                                                            \
    }
    FP_NAMES(X)
#undef X
    if (fetch(&state->pickling_error, "pickle", "PicklingError") < 0
        || fetch(&state->unpickling_error, "pickle", "UnpicklingError") < 0
        || fetch(&state->dispatch_table, "copyreg", "dispatch_table") < 0
        || fetch(&state->extension_registry, "copyreg", "_extension_registry")
               < 0
        || fetch(&state->name_mapping_3to2, "_compat_pickle",
                 "REVERSE_NAME_MAPPING")
               < 0
        || fetch(&state->import_mapping_3to2, "_compat_pickle",
                 "REVERSE_IMPORT_MAPPING")
               < 0
        || fetch(&state->name_mapping_2to3, "_compat_pickle", "NAME_MAPPING")
               < 0
        || fetch(&state->import_mapping_2to3, "_compat_pickle",
                 "IMPORT_MAPPING")
               < 0
        || fetch(&state->inverted_registry, "copyreg", "_inverted_registry")
               < 0
        || fetch(&state->extension_cache, "copyreg", "_extension_cache") < 0
        || fetch(&state->newobj_function, "copyreg", "__newobj__") < 0
        || fetch(&state->newobj_ex_function, "copyreg", "__newobj_ex__") < 0
        || fetch(&state->reconstructor_function, "copyreg", "_reconstructor")
               < 0
        || fetch(&state->codecs_encode, "codecs", "encode") < 0
        || fetch(&state->getattr, "builtins", "getattr") < 0
        || fetch(&state->raw_file_type, "io", "RawIOBase") < 0
        || fetch(&state->partial, "functools", "partial") < 0
        || must_be_dict(state->dispatch_table, "copyreg.dispatch_table") < 0
        || must_be_dict(state->extension_registry,
                        "copyreg._extension_registry")
               < 0
        || must_be_dict(state->name_mapping_3to2,
                        "_compat_pickle.REVERSE_NAME_MAPPING")
               < 0
        || must_be_dict(state->import_mapping_3to2,
                        "_compat_pickle.REVERSE_IMPORT_MAPPING")
               < 0
        || must_be_dict(state->name_mapping_2to3,
                        "_compat_pickle.NAME_MAPPING")
               < 0
        || must_be_dict(state->import_mapping_2to3,
                        "_compat_pickle.IMPORT_MAPPING")
               < 0
        || must_be_dict(state->inverted_registry, "copyreg._inverted_registry")
               < 0
        || must_be_dict(state->extension_cache, "copyreg._extension_cache") < 0
        || fetch_of_object(&state->object_reduce_ex, state->str_reduce_ex) < 0
        || fetch_of_object(&state->object_reduce, state->str_reduce) < 0
        || fetch_of_object(&state->object_getstate, state->str_getstate) < 0
        || fetch_of_object(&state->object_class, state->str_class_) < 0
        || fp_numpy_init(state) < 0 || fp_errors_init(module, state) < 0
        || fp_joblib_init(module, state) < 0
        || fp_restrict_init(module, state) < 0
        || fp_lz4_reader_type_init(module) < 0
        || fp_lz4_writer_type_init(module, state) < 0
        || fp_survey_type_init(module, state) < 0
        || fp_survey_functions_init(module) < 0
        || fp_atomic_file_type_init(module) < 0)
    {
        return -1;
    }
    if (fp_collector_init(state) < 0 || fp_unpickler_init(module, state) < 0) {
        return -1;
    }
    return fp_pickler_init(module, state);
}

#define OBJECTS(X)                                                            \
    X(pickler_type)                                                           \
    X(memo_proxy_type)                                                        \
    X(unpickler_type)                                                         \
    X(unpickler_memo_type)                                                    \
    X(lz4_writer_type)                                                        \
    X(survey_type)                                                            \
    X(raw_file_type)                                                          \
    X(name_mapping_2to3)                                                      \
    X(import_mapping_2to3)                                                    \
    X(inverted_registry)                                                      \
    X(extension_cache)                                                        \
    X(empty_tuple)                                                            \
    X(gc_get_count)                                                           \
    X(gc_get_stats)                                                           \
    X(gc_get_freeze_count)                                                    \
    X(gc_freeze)                                                              \
    X(gc_unfreeze)                                                            \
    X(pickling_error)                                                         \
    X(unpickling_error)                                                       \
    X(corrupt_error)                                                          \
    X(truncated_error)                                                        \
    X(array_wrapper_type)                                                     \
    X(old_joblib_file)                                                        \
    X(dispatch_table)                                                         \
    X(extension_registry)                                                     \
    X(name_mapping_3to2)                                                      \
    X(import_mapping_3to2)                                                    \
    X(codecs_encode)                                                          \
    X(getattr)                                                                \
    X(partial)                                                                \
    X(ndarray_type)                                                           \
    X(memmap_type)                                                            \
    X(matrix_type)                                                            \
    X(scalar_function)                                                        \
    X(frombuffer_function)                                                    \
    X(builtin_frombuffer)                                                     \
    X(dtype_metaclass)                                                        \
    X(newobj_function)                                                        \
    X(newobj_ex_function)                                                     \
    X(reconstructor_function)                                                 \
    X(restricted_loads)                                                       \
    X(untrusted_error)                                                        \
    X(restriction_type)                                                       \
    X(object_reduce_ex)                                                       \
    X(object_reduce)                                                          \
    X(object_getstate)                                                        \
    X(object_class)                                                           \
    X(default_dict_type)                                                      \
    X(deque_type)                                                             \
    X(namespace_type)                                                         \
    X(known_functions)                                                        \
    X(datetime_capsule)                                                       \
    X(decimal_type)

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    fp_state *state = fp_state_of_module(module);

#define X(field) Py_VISIT(state->field);
    OBJECTS(X)
#undef X
    return 0;
}

static int
module_clear(PyObject *module)
{
    fp_state *state = fp_state_of_module(module);

#define X(field) Py_CLEAR(state->field);
    OBJECTS(X)
#undef X
#define X(field, text) Py_CLEAR(state->str_##field);
    FP_NAMES(X)
#undef X
    return 0;
}

static void
module_free(void *module)
{
    fp_state *state = fp_state_of_module(module);

    module_clear((PyObject *)module);
    if (state != NULL) {
        fp_spare_drop(&state->spare);
    }
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030c0000
    /* NumPy refuses subinterpreters. */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

struct PyModuleDef fp_module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "fastpersist._core",
    .m_doc = PyDoc_STR("The compiled part of fastpersist."),
    .m_size = sizeof(fp_state),
    .m_methods = functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&fp_module_def);
}
