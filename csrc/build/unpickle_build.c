/* BUILD of a plain instance, attribute by attribute, without a dict between.
 *
 * An instance that NEWOBJ has just made, and that no code of others has seen
 * since, has an empty __dict__. If its class takes part in nothing special
 * either, BUILD amounts to setting items of that dict. PyObject_GenericSetAttr
 * does just that where the class has no data descriptor of the name, and keeps
 * the values inline in the instance as long as nobody asks for the dict.
 *
 * What is known of a class holds for one value of its version tag: it changes
 * with every change of the class or its bases, and is never used again.
 */
#include "base/compat.h"
#include "restrict.h"
#include "unpickle_parts.h"

#define N_CLASSES    64
#define N_ATTRIBUTES 256

typedef struct {
    PyObject *key;  /* owned: as it is in the stream */
    PyObject *name; /* owned: the same, interned */
    unsigned int version;
} attribute;

typedef struct fp_build_cache {
    unsigned int plain[N_CLASSES]; /* versions of classes that are plain */
    attribute attributes[N_ATTRIBUTES]; /* those without data descriptors */
} build_cache;

/* The getter behind __dict__ of an ordinary class. */
int
fp_build_init(fp_state *state)
{
    PyObject *pickle = PyImport_ImportModule("pickle");
    PyObject *cls, *descriptor;

    if (pickle == NULL) {
        return -1;
    }
    cls = PyObject_GetAttrString(pickle, "_Unpickler");
    Py_DECREF(pickle);
    if (cls == NULL) {
        return -1;
    }
    if (PyType_Check(cls)) {
        descriptor = fp_type_lookup((PyTypeObject *)cls, state->str_dict);
        if (descriptor != NULL && Py_IS_TYPE(descriptor, &PyGetSetDescr_Type))
        {
            state->plain_dict_getter =
                ((PyGetSetDescrObject *)descriptor)->d_getset->get;
        }
    }
    Py_DECREF(cls);
    return 0;
}

void
fp_build_cache_free(fp_machine *machine)
{
    build_cache *cache = machine->build_cache;

    machine->build_cache = NULL;
    if (cache == NULL) {
        return;
    }
    for (size_t i = 0; i < N_ATTRIBUTES; i++) {
        Py_XDECREF(cache->attributes[i].key);
        Py_XDECREF(cache->attributes[i].name);
    }
    PyMem_Free(cache);
}

/* 0 where the type cannot be known by its version. */
static unsigned int
version_of(PyTypeObject *type)
{
    return (unsigned int)type->tp_version_tag;
}

static int
is_plain_class(const fp_state *state, PyTypeObject *type)
{
    PyObject *descriptor = fp_type_lookup(type, state->str_dict);

    return type->tp_getattro == PyObject_GenericGetAttr
           && (type->tp_flags & Py_TPFLAGS_MANAGED_DICT) != 0
           && descriptor != NULL && Py_IS_TYPE(descriptor, &PyGetSetDescr_Type)
           && state->plain_dict_getter != NULL
           && ((PyGetSetDescrObject *)descriptor)->d_getset->get
                  == state->plain_dict_getter
           && fp_type_lookup(type, state->str_setstate) == NULL;
}

int
fp_is_plain_build(fp_machine *machine, PyObject *instance)
{
    PyTypeObject *type = Py_TYPE(instance);
    unsigned int version = version_of(type);
    build_cache *cache = machine->build_cache;

    if ((PyObject *)type == machine->wrapper_type) {
        return 0;
    }
    if (cache == NULL) {
        cache = PyMem_Calloc(1, sizeof(*cache));
        if (cache == NULL) {
            return 0; /* it works without */
        }
        machine->build_cache = cache;
    }
    if (version != 0 && cache->plain[version % N_CLASSES] == version) {
        return 1;
    }
    if (!is_plain_class(machine->state, type)
        || (machine->is_restricted && !fp_restrict_is_plain(machine, type)))
    {
        return 0;
    }
    version = version_of(type); /* looking up gives it one */
    if (version == 0) {
        return 0;
    }
    cache->plain[version % N_CLASSES] = version;
    return 1;
}

static inline attribute *
attribute_entry(build_cache *cache, PyObject *key, unsigned int version)
{
    size_t hash = ((size_t)(uintptr_t)key >> 4) ^ ((size_t)version * 31);
    return &cache->attributes[hash % N_ATTRIBUTES];
}

/* Sets an attribute of a name that is met for the first time. */
static int
set_unknown(fp_machine *machine, PyObject *instance, PyObject *key,
            PyObject *value)
{
    PyTypeObject *type = Py_TYPE(instance);
    unsigned int version = version_of(type);
    PyObject *name = Py_NewRef(key);
    PyObject *descriptor, *dict;
    attribute *entry;
    attribute replaced;
    int status = -1;

    PyUnicode_InternInPlace(&name);
    if (machine->is_restricted
        && fp_restrict_attribute(machine, type, name) < 0)
    {
        Py_DECREF(name);
        return -1;
    }
    if (name == machine->state->str_setstate) {
        fp_foreign_code(machine); /* the next BUILD will have to call it */
    }
    descriptor = fp_type_lookup(type, name);
    if (descriptor != NULL && Py_TYPE(descriptor)->tp_descr_set != NULL) {
        dict = PyObject_GenericGetDict(instance, NULL);
        if (dict != NULL) {
            status = PyDict_SetItem(dict, name, value);
            Py_DECREF(dict);
        }
        Py_DECREF(name);
        return status;
    }
    status = PyObject_GenericSetAttr(instance, name, value);
    if (status == 0 && version != 0 && version == version_of(type)
        && name != machine->state->str_setstate)
    {
        entry = attribute_entry(machine->build_cache, key, version);
        replaced = *entry;
        entry->key = Py_NewRef(key);
        entry->name = Py_NewRef(name);
        entry->version = version;
        Py_XDECREF(replaced.key);
        Py_XDECREF(replaced.name);
    }
    Py_DECREF(name);
    return status;
}

int
fp_set_attributes(fp_machine *machine, PyObject *instance,
                  PyObject *const *items, size_t n_items)
{
    build_cache *cache = machine->build_cache;
    PyTypeObject *type = Py_TYPE(instance);

    for (size_t i = 0; i < n_items; i += 2) {
        unsigned int version = version_of(type);
        attribute *entry = attribute_entry(cache, items[i], version);
        int status =
            entry->key == items[i] && entry->version == version
                ? PyObject_GenericSetAttr(instance, entry->name, items[i + 1])
                : set_unknown(machine, instance, items[i], items[i + 1]);
        if (status < 0) {
            return -1;
        }
    }
    return 0;
}
