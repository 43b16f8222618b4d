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
    while (*text != '\0') {
        const char *start = text;
        char escaped[8];
        while (*text != '\0' && *text != '"' && *text != '\\'
               && (unsigned char)*text >= 0x20)
        {
            text++;
        }
        if (add(out, start, (size_t)(text - start)) < 0) {
            return -1;
        }
        if (*text == '\0') {
            break;
        }
        if (*text == '"' || *text == '\\') {
            snprintf(escaped, sizeof(escaped), "\\%c", *text);
        }
        else {
            snprintf(escaped, sizeof(escaped), "\\u%04x",
                     (unsigned)(unsigned char)*text);
        }
        if (add_text(out, escaped) < 0) {
            return -1;
        }
        text++;
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

/* A longer one is left out: no version, and a file is no place for it. */
#define VERSION_BYTES 255

/* A version, as a new reference to a str that has UTF-8, or NULL where the
 * module has none. */
static PyObject *
version_of(PyObject *modules, PyObject *name)
{
    PyObject *key = PyUnicode_FromString("__version__");
    PyObject *module = NULL;
    PyObject *version = NULL;
    Py_ssize_t n_bytes;

    if (key != NULL && fp_dict_get(modules, name, &module) > 0
        && PyModule_Check(module)
        && fp_dict_get(PyModule_GetDict(module), key, &version) > 0
        && (!PyUnicode_Check(version) /* torch's is of a subclass */
            || PyUnicode_AsUTF8AndSize(version, &n_bytes) == NULL
            || n_bytes > VERSION_BYTES))
    {
        Py_CLEAR(version);
    }
    PyErr_Clear();
    Py_XDECREF(key);
    Py_XDECREF(module);
    return version;
}

/* What a package's objects depend on besides it, of what importing it imports:
 * so where its classes are in an object these are in sys.modules, whatever else
 * the process has imported, and the same object gives the same bytes. */
static const struct {
    const char *package;
    const char *others[4];
} dependencies[] = {
    {"lightgbm", {"numpy", "scipy"}},
    {"pandas", {"numpy"}},
    {"scipy", {"numpy"}},
    {"sklearn", {"joblib", "numpy", "scipy", "threadpoolctl"}},
    {"xgboost", {"numpy", "scipy"}},
};

static int
add_dependencies(PyObject *packages)
{
    for (size_t i = 0; i < Py_ARRAY_LENGTH(dependencies); i++) {
        const char *const *others = dependencies[i].others;
        PyObject *name = PyUnicode_FromString(dependencies[i].package);
        int is_there = name == NULL ? -1 : PySet_Contains(packages, name);

        Py_XDECREF(name);
        if (is_there < 0) {
            return -1;
        }
        for (size_t k = 0;
             is_there && k < Py_ARRAY_LENGTH(dependencies[i].others)
             && others[k] != NULL;
             k++)
        {
            PyObject *other = PyUnicode_FromString(others[k]);
            int status = other == NULL ? -1 : PySet_Add(packages, other);
            Py_XDECREF(other);
            if (status < 0) {
                return -1;
            }
        }
    }
    return 0;
}

static int
add_packages(PyObject *packages, fp_buffer *out)
{
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *names = NULL;
    const char *separator = "";
    int status = -1;

    if (add_dependencies(packages) < 0
        || (names = PySequence_List(packages)) == NULL
        || PyList_Sort(names) < 0)
    {
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

/* --- compared ------------------------------------------------------------ */

typedef struct {
    const char *next;
    const char *end;
} scan;

static int
take(scan *text, char byte)
{
    if (text->next == text->end || *text->next != byte) {
        return 0;
    }
    text->next++;
    return 1;
}

/* A string without escapes, as it lies there. */
static int
take_string(scan *text, const char **string, size_t *n_bytes)
{
    const char *start;

    if (!take(text, '"')) {
        return 0;
    }
    start = text->next;
    while (text->next < text->end && *text->next != '"' && *text->next != '\\')
    {
        text->next++;
    }
    *string = start;
    *n_bytes = (size_t)(text->next - start);
    return take(text, '"');
}

/* Whether the package that runs has this version; one that is not imported, or
 * has none, only if that is no matter. */
static int
runs(PyObject *modules, const char *package, size_t n_package,
     const char *version, size_t n_version, int only_imported)
{
    PyObject *name =
        PyUnicode_DecodeUTF8(package, (Py_ssize_t)n_package, NULL);
    PyObject *running = name == NULL ? NULL : version_of(modules, name);
    int is_equal = only_imported;

    if (running != NULL) {
        Py_ssize_t n_bytes;
        const char *bytes = PyUnicode_AsUTF8AndSize(running, &n_bytes);
        is_equal = (size_t)n_bytes == n_version
                   && memcmp(bytes, version, n_version) == 0;
    }
    PyErr_Clear();
    Py_XDECREF(name);
    Py_XDECREF(running);
    return is_equal;
}

static int
same_packages(scan *text, PyObject *modules, int only_imported)
{
    if (!take(text, '{')) {
        return 0;
    }
    if (take(text, '}')) {
        return 1;
    }
    do {
        const char *package, *version;
        size_t n_package, n_version;
        if (!take_string(text, &package, &n_package) || !take(text, ':')
            || !take_string(text, &version, &n_version)
            || !runs(modules, package, n_package, version, n_version,
                     only_imported))
        {
            return 0;
        }
    } while (take(text, ','));
    return take(text, '}');
}

static int
has_name(const char *key, size_t n_bytes, const char *name)
{
    return n_bytes == strlen(name) && memcmp(key, name, n_bytes) == 0;
}

int
fp_environment_is_same(const char *json, size_t n_bytes, int only_imported)
{
    static const char same_python[] = Py_STRINGIFY(PY_MAJOR_VERSION) ".";
    PyObject *modules = PyImport_GetModuleDict();
    scan text = {json, json + n_bytes};
    int is_same = PyDict_CheckExact(modules) && take(&text, '{');

    do {
        const char *key, *value;
        size_t n_key, n_value;
        is_same = is_same && take_string(&text, &key, &n_key)
                  && take(&text, ':')
                  && (has_name(key, n_key, "packages")
                          ? same_packages(&text, modules, only_imported)
                          : take_string(&text, &value, &n_value)
                                && (!has_name(key, n_key, "python")
                                    || strncmp(value, same_python,
                                               strlen(same_python))
                                           == 0));
    } while (is_same && take(&text, ','));
    return is_same && take(&text, '}') && text.next == text.end;
}
