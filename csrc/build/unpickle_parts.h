/* What the parts of the unpickler share, and what its loop calls.
 *
 * The loop (unpickle.c) keeps the input's cursor and the stack's top in
 * locals. It writes them back before it calls one of these functions, and
 * reads them again afterwards; so in here the machine and its input are as
 * they should be.
 *
 * Every function for an opcode returns 0, or -1 with an exception set. What a
 * failed one leaves on the stack belongs to the machine.
 */
#ifndef FP_UNPICKLE_PARTS_H
#define FP_UNPICKLE_PARTS_H

#include "base/opcodes.h"
#include "unpickle.h"

#include <string.h>

/* --- stack and marks (unpickle_memo.c) ----------------------------------- */

int fp_stack_grow(fp_machine *machine);
int fp_marks_grow(fp_machine *machine);
/* Always -1. */
int fp_stack_underflow(fp_machine *machine);
/* Takes the top mark away. Makes the dict or list that the slot below it
 * stands for. *index is that of the first item above the mark. */
int fp_pop_mark(fp_machine *machine, size_t *index);
/* Releases what lies at `index` and above. */
void fp_stack_cut(fp_machine *machine, size_t index);
void fp_reset_stack(fp_machine *machine);

static inline size_t
fp_stack_size(const fp_machine *machine)
{
    return (size_t)(machine->top - machine->stack);
}

/* Steals `object`, which may be NULL: then -1. */
static inline int
fp_push(fp_machine *machine, PyObject *object)
{
    if (object == NULL) {
        return -1;
    }
    if (machine->top == machine->stack_end && fp_stack_grow(machine) < 0) {
        Py_DECREF(object);
        return -1;
    }
    *machine->top++ = object;
    return 0;
}

/* A new reference, or NULL with an exception. */
static inline PyObject *
fp_pop(fp_machine *machine)
{
    if (fp_stack_size(machine) <= machine->fence) {
        fp_stack_underflow(machine);
        return NULL;
    }
    return *--machine->top;
}

/* Without the check of its contents: the fence moves down with the mark. */
static inline fp_mark
fp_take_mark(fp_machine *machine)
{
    fp_mark mark = machine->marks[--machine->n_marks];
    machine->fence =
        machine->n_marks > 0 ? machine->marks[machine->n_marks - 1].index : 0;
    return mark;
}

/* Code of others runs, or may have run: no instance is fresh any more. */
static inline void
fp_foreign_code(fp_machine *machine)
{
    machine->n_calls++;
}

/* --- memo ---------------------------------------------------------------- */

int fp_machine_put(fp_machine *machine, size_t index, PyObject *value);
/* A borrowed reference to what is not in the dense part, NULL with an
 * exception where there is nothing. */
PyObject *fp_machine_get_far(fp_machine *machine, size_t index);
int fp_memo_of_dict(fp_machine *machine, PyObject *dict);
PyObject *fp_memo_as_dict(const fp_machine *machine);
void fp_memo_forget(fp_machine *machine);

/* --- leaves (unpickle_leaves.c) ------------------------------------------ */

/* The length's bytes are read already. */
int fp_load_text(fp_machine *machine, uint64_t n_bytes);
int fp_load_bytes(fp_machine *machine, uint64_t n_bytes);
int fp_load_bytearray(fp_machine *machine, uint64_t n_bytes);
int fp_load_old_string(fp_machine *machine, uint32_t n_bytes);
int fp_load_long(fp_machine *machine, int64_t n_bytes);
int fp_load_frame(fp_machine *machine, uint64_t n_bytes);
int fp_load_next_buffer(fp_machine *machine);
int fp_load_readonly_buffer(fp_machine *machine);
/* Opcodes whose argument is a line. */
int fp_load_text_opcode(fp_machine *machine, unsigned char opcode);
/* A line without its newline; at least `least` bytes with it. */
int fp_text_line(fp_machine *machine, size_t least, const char **line,
                 size_t *n_bytes);

/* --- containers (unpickle_containers.c) ---------------------------------- */

/* `index`: of the first item; what it goes into lies below. */
int fp_append_items(fp_machine *machine, size_t index);
int fp_set_items(fp_machine *machine, size_t index);
int fp_load_appends(fp_machine *machine);
int fp_load_setitems(fp_machine *machine);
int fp_load_additems(fp_machine *machine);
/* The topmost n_items, moved into a new tuple. */
int fp_load_tuple(fp_machine *machine, size_t n_items);
/* TUPLE, LIST, DICT, FROZENSET */
int fp_load_marked(fp_machine *machine, unsigned char opcode);

/* --- objects (unpickle_objects.c) ---------------------------------------- */

int fp_load_stack_global(fp_machine *machine);
int fp_load_global(fp_machine *machine);
int fp_load_inst(fp_machine *machine);
int fp_load_obj(fp_machine *machine);
int fp_load_newobj(fp_machine *machine, int with_keywords);
int fp_load_reduce(fp_machine *machine);
int fp_load_build(fp_machine *machine);
int fp_load_extension(fp_machine *machine, int64_t code);
int fp_load_persistent_id(fp_machine *machine, unsigned char opcode);

/* Whether object's own __new__ makes its instances. */
static inline int
fp_has_plain_new(PyObject *cls)
{
    return PyType_Check(cls)
           && ((PyTypeObject *)cls)->tp_new == PyBaseObject_Type.tp_new;
}

/* --- plain instances (unpickle_build.c) ---------------------------------- */

/* Whether BUILD of an instance that only this machine knows does nothing but
 * setting items of its __dict__. */
int fp_is_plain_build(fp_machine *machine, PyObject *instance);
/* Does that, for n_items keys and values in turn, the keys exact str. The
 * instance must have passed fp_is_plain_build(). */
int fp_set_attributes(fp_machine *machine, PyObject *instance,
                      PyObject *const *items, size_t n_items);
void fp_build_cache_free(fp_machine *machine);
int fp_build_init(fp_state *state);

/* --- blobs (unpickle_arrays.c) ------------------------------------------- */

/* A GET of this blob: an array, if what stands in front and behind says so,
 * else the object that the blob holds. */
int fp_load_blob(fp_machine *machine, fp_blobs *blobs, size_t blob);
/* The array of numpy.ndarray(*args) where it has no elements, and so no blob:
 * made as the file's other arrays are. NULL without an exception where it is
 * something else. */
PyObject *fp_array_without_blob(fp_machine *machine, PyObject *args);

/* --- little endian ------------------------------------------------------- */

static inline uint32_t
fp_u16(const unsigned char *p)
{
    return (uint32_t)(p[0] | p[1] << 8);
}

static inline uint32_t
fp_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16
           | (uint32_t)p[3] << 24;
}

static inline uint64_t
fp_u64(const unsigned char *p)
{
    return fp_u32(p) | (uint64_t)fp_u32(p + 4) << 32;
}

#endif
