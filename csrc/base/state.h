/* What one instance of the module owns: types, and objects of the standard
 * library that every dump needs. No global variable holds any of it.
 *
 * All references are owned by the module; they live as long as it does.
 * GIL held for every function here.
 */
#ifndef FP_STATE_H
#define FP_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core/spare_blocks.h"

#if PY_VERSION_HEX < 0x030B0000
#error "fastpersist needs Python 3.11 or newer"
#endif

/* The slot of a path that its reducer takes. */
#if PY_VERSION_HEX < 0x030c0000
#define FP_PARTS_OF_PATH "_parts"
#else
#define FP_PARTS_OF_PATH "_raw_paths"
#endif

#define FP_NAMES(X)                                                           \
    X(reduce_ex, "__reduce_ex__")                                             \
    X(reduce, "__reduce__")                                                   \
    X(getstate, "__getstate__")                                               \
    X(getnewargs, "__getnewargs__")                                           \
    X(getnewargs_ex, "__getnewargs_ex__")                                     \
    X(slots, "__slots__")                                                     \
    X(slotnames, "__slotnames__")                                             \
    X(class_, "__class__")                                                    \
    X(dict, "__dict__")                                                       \
    X(name, "__name__")                                                       \
    X(qualname, "__qualname__")                                               \
    X(module, "__module__")                                                   \
    X(version, "__version__")                                                 \
    X(new_, "__new__")                                                        \
    X(newobj, "__newobj__")                                                   \
    X(newobj_ex, "__newobj_ex__")                                             \
    X(main, "__main__")                                                       \
    X(dot, ".")                                                               \
    X(items, "items")                                                         \
    X(keys, "keys")                                                           \
    X(dict_type, "dict")                                                      \
    X(complex, "complex")                                                     \
    X(tuple, "tuple")                                                         \
    X(safe_uuid, "SafeUUID")                                                  \
    X(member_map, "_member_map_")                                             \
    X(unknown, "unknown")                                                     \
    X(int, "int")                                                             \
    X(is_safe, "is_safe")                                                     \
    X(numerator, "_numerator")                                                \
    X(denominator, "_denominator")                                            \
    X(raw_paths, FP_PARTS_OF_PATH)                                            \
    X(start, "start")                                                         \
    X(stop, "stop")                                                           \
    X(step, "step")                                                           \
    X(datetime, "datetime")                                                   \
    X(datetime_capi, "datetime_CAPI")                                         \
    X(decimal_module, "_decimal")                                             \
    X(decimal, "Decimal")                                                     \
    X(weakref, "__weakref__")                                                 \
    X(getattribute, "__getattribute__")                                       \
    X(value_, "_value_")                                                      \
    X(maxlen, "maxlen")                                                       \
    X(default_factory, "default_factory")                                     \
    X(latin1, "latin1")                                                       \
    X(modules, "modules")                                                     \
    X(write, "write")                                                         \
    X(wrapped, "__wrapped__")                                                 \
    X(tempfile, "tempfile")                                                   \
    X(spooled, "SpooledTemporaryFile")                                        \
    X(reducer_override, "reducer_override")                                   \
    X(persistent_id, "persistent_id")                                         \
    X(dispatch_table, "dispatch_table")                                       \
    X(mmap_attribute, "_mmap")                                                \
    X(offset, "offset")                                                       \
    X(mode, "mode")                                                           \
    X(filename, "filename")                                                   \
    X(path, "path")                                                           \
    X(section, "section")                                                     \
    X(subclass, "subclass")                                                   \
    X(shape, "shape")                                                         \
    X(order, "order")                                                         \
    X(dtype, "dtype")                                                         \
    X(allow_mmap, "allow_mmap")                                               \
    X(alignment_bytes, "numpy_array_alignment_bytes")                         \
    X(peek, "peek")                                                           \
    X(read, "read")                                                           \
    X(readinto, "readinto")                                                   \
    X(readline, "readline")                                                   \
    X(release, "release")                                                     \
    X(find_class, "find_class")                                               \
    X(persistent_load, "persistent_load")                                     \
    X(setstate, "__setstate__")                                               \
    X(getinitargs, "__getinitargs__")                                         \
    X(extend, "extend")                                                       \
    X(append, "append")                                                       \
    X(add, "add")                                                             \
    X(update, "update")                                                       \
    X(toreadonly, "toreadonly")                                               \
    X(local_scope, "<locals>")                                                \
    X(add_note, "add_note")                                                   \
    X(notes, "__notes__")                                                     \
    X(numpy_dot, "numpy.")                                                    \
    X(numpy_new_multiarray, "numpy._core.multiarray")                         \
    X(numpy_old_multiarray, "numpy.core.multiarray")

typedef struct fp_state {
    PyTypeObject *pickler_type;
    PyTypeObject *memo_proxy_type;
    PyTypeObject *unpickler_type;
    PyTypeObject *unpickler_memo_type; /* its memo proxy */
    PyTypeObject *lz4_writer_type;
    PyTypeObject *survey_type;
    PyObject *raw_file_type;      /* io.RawIOBase */
    PyObject *pickling_error;     /* pickle.PicklingError */
    PyObject *unpickling_error;   /* pickle.UnpicklingError */
    PyObject *corrupt_error;      /* CorruptFileError */
    PyObject *truncated_error;    /* TruncatedFileError */
    PyObject *untrusted_error;    /* UntrustedError */
    PyObject *restriction_type;   /* Restriction */
    PyObject *array_wrapper_type; /* for joblib's NumpyArrayWrapper */
    PyObject *old_joblib_file;    /* OldJoblibFile */
    PyObject *dispatch_table;     /* copyreg.dispatch_table */
    PyObject *extension_registry; /* copyreg._extension_registry */
    PyObject *name_mapping_3to2;
    PyObject *import_mapping_3to2;
    PyObject *name_mapping_2to3;
    PyObject *import_mapping_2to3;
    PyObject *inverted_registry; /* copyreg._inverted_registry */
    PyObject *extension_cache;   /* copyreg._extension_cache */
    PyObject *empty_tuple;
    PyObject *codecs_encode;
    PyObject *getattr;
    PyObject *partial;
    PyObject *ndarray_type;           /* numpy.ndarray */
    PyObject *memmap_type;            /* numpy.memmap */
    PyObject *matrix_type;            /* numpy.matrix */
    PyObject *scalar_function;        /* numpy's multiarray.scalar */
    PyObject *frombuffer_function;    /* numpy's numeric._frombuffer */
    PyObject *builtin_frombuffer;     /* numpy.frombuffer */
    PyTypeObject *dtype_metaclass;    /* the type of every dtype's class */
    getbufferproc array_getbuffer;    /* what all array classes inherit */
    PyObject *newobj_function;        /* copyreg.__newobj__ */
    PyObject *newobj_ex_function;     /* copyreg.__newobj_ex__ */
    PyObject *reconstructor_function; /* copyreg._reconstructor */
    PyObject *restricted_loads; /* loads(trusted=): of the package, or NULL */
    /* How arrays between opcodes are read (build/unpickle.h). */
    const struct fp_wrapped_arrays *wrapped_arrays;
    /* What object itself defines: a class is plain while it inherits them. */
    PyObject *object_reduce_ex;
    PyObject *object_reduce;
    PyObject *object_getstate;
    PyObject *object_class;
    /* Whose reducers the walk knows (walk/known.h): types, and code of functions
     * that do the same. */
    PyObject *default_dict_type; /* collections.defaultdict */
    PyObject *deque_type;        /* collections.deque */
    PyObject *namespace_type;    /* types.SimpleNamespace */
    PyObject *known_functions;   /* a tuple */
    PyObject *datetime_capsule;  /* these two when they are first met */
    PyObject *decimal_type;
#define X(field, text) PyObject *str_##field;
    FP_NAMES(X)
#undef X
    /* The collector (collector.c): functions of gc, what was moved to its
     * oldest generation since the last full collection, and how many of those
     * there had been. */
    PyObject *gc_get_count;
    PyObject *gc_get_stats;
    PyObject *gc_get_freeze_count;
    PyObject *gc_freeze;
    PyObject *gc_unfreeze;
    size_t n_moved;
    long long n_full_collections;
    /* What a class without special bases gives for __dict__ (compared
     * only; unpickle_objects.c). */
    getter plain_dict_getter;
    /* Memory of dumps that have ended: at most 4 MiB, none in a child of
     * fork(). Any thread. */
    fp_spare_blocks spare;
} fp_state;

extern struct PyModuleDef fp_module_def;

static inline fp_state *
fp_state_of_module(PyObject *module)
{
    return (fp_state *)PyModule_GetState(module);
}

/* The state behind an instance of one of our types or of a subclass. Sets
 * TypeError and returns NULL where there is none. */
static inline fp_state *
fp_state_of_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &fp_module_def);
    return module == NULL ? NULL : fp_state_of_module(module);
}

/* The names under which object.__reduce_ex__ looks an instance up: one that
 * has them in its own dict is not plain. */
#define FP_N_REDUCER_NAMES 5

static inline void
fp_reducer_names(const fp_state *state, PyObject *names[FP_N_REDUCER_NAMES])
{
    names[0] = state->str_reduce_ex;
    names[1] = state->str_getstate;
    names[2] = state->str_getnewargs;
    names[3] = state->str_getnewargs_ex;
    names[4] = state->str_class_;
}

/* A new reference; NULL without an exception where there is no such
 * attribute, with one where looking failed otherwise. */
static inline PyObject *
fp_optional_attribute(PyObject *object, PyObject *name)
{
    PyObject *value;

#if PY_VERSION_HEX >= 0x030d0000
    (void)PyObject_GetOptionalAttr(object, name, &value);
#else
    (void)_PyObject_LookupAttr(object, name, &value);
#endif
    return value;
}

#endif
