#include "environment.h"

#include "compat.h"

#include <string.h>
#include <sys/utsname.h>

static int
add(fp_buffer *out, const char *text, size_t n_bytes)
{
    if (fp_buffer_append(out, text, n_bytes) != FP_OK) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static int
add_text(fp_buffer *out, const char *text)
{
    return add(out, text, strlen(text));
}

static int
add_json_string(fp_buffer *out, const char *text)
{
    if (add(out, "\"", 1) < 0) {
        return -1;
    }
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        char escaped[8];
        if (c == '"' || c == '\\') {
            snprintf(escaped, sizeof(escaped), "\\%c", c);
        }
        else if (c < 0x20) {
            snprintf(escaped, sizeof(escaped), "\\u%04x", c);
        }
        else {
            snprintf(escaped, sizeof(escaped), "%c", c);
        }
        if (add_text(out, escaped) < 0) {
            return -1;
        }
    }
    return add(out, "\"", 1);
}

static int
add_pair(fp_buffer *out, const char *key, const char *value)
{
    return add_json_string(out, key) < 0 || add(out, ":", 1) < 0
               ? -1
               : add_json_string(out, value);
}

/* A version, as a new reference to a str that has UTF-8, or NULL where the
 * module has none. */
static PyObject *
version_of(PyObject *modules, PyObject *name)
{
    PyObject *key = PyUnicode_FromString("__version__");
    PyObject *module = NULL;
    PyObject *version = NULL;

    if (key != NULL && fp_dict_get(modules, name, &module) > 0
        && PyModule_Check(module)
        && fp_dict_get(PyModule_GetDict(module), key, &version) > 0
        && (!PyUnicode_CheckExact(version)
            || PyUnicode_AsUTF8(version) == NULL))
    {
        Py_CLEAR(version);
    }
    PyErr_Clear();
    Py_XDECREF(key);
    Py_XDECREF(module);
    return version;
}

static int
add_packages(PyObject *packages, fp_buffer *out)
{
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *names = PySequence_List(packages);
    const char *separator = "";
    int status = -1;

    if (names == NULL || PyList_Sort(names) < 0) {
        goto done;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(names); i++) {
        PyObject *name = PyList_GET_ITEM(names, i);
        const char *key = PyUnicode_AsUTF8(name);
        PyObject *version;
        int added;
        if (key == NULL) {
            PyErr_Clear(); /* a lone surrogate: not a name JSON can hold */
            continue;
        }
        version =
            PyDict_CheckExact(modules) ? version_of(modules, name) : NULL;
        if (version == NULL) {
            continue;
        }
        added = add_text(out, separator) < 0
                        || add_pair(out, key, PyUnicode_AsUTF8(version)) < 0
                    ? -1
                    : 0;
        Py_DECREF(version);
        if (added < 0) {
            goto done;
        }
        separator = ",";
    }
    status = 0;
done:
    Py_XDECREF(names);
    return status;
}

static int
add_platform(fp_buffer *out)
{
    struct utsname machine;
    char platform[sizeof(machine.machine) + 32];

    if (uname(&machine) < 0) {
        strcpy(machine.machine, "unknown");
    }
    snprintf(platform, sizeof(platform), "%s-%s", Py_GetPlatform(),
             machine.machine);
    return add_pair(out, "platform", platform);
}

int
fp_environment_write(PyObject *packages, fp_buffer *out)
{
    char python[64];
    size_t n_version = strcspn(Py_GetVersion(), " ");

    if (n_version >= sizeof(python)) {
        n_version = sizeof(python) - 1;
    }
    memcpy(python, Py_GetVersion(), n_version);
    python[n_version] = '\0';
    if (add_text(out, "{") < 0
        || add_pair(out, "byteorder", PY_LITTLE_ENDIAN ? "little" : "big") < 0
        || add_text(out, ",") < 0
        || add_pair(out, "fastpersist", FASTPERSIST_VERSION) < 0
        || add_text(out, ",") < 0
        || add_pair(out, "implementation", "cpython") < 0
        || add_text(out, ",\"packages\":{") < 0
        || add_packages(packages, out) < 0 || add_text(out, "},") < 0
        || add_platform(out) < 0 || add_text(out, ",") < 0
        || add_pair(out, "python", python) < 0)
    {
        return -1;
    }
    return add_text(out, "}");
}
