/* Gathering an N-dimensional strided array into C order, piece by piece.
 *
 * A cursor walks the elements in C order (last axis fastest) and copies as
 * many whole bytes as the caller has room for; an element may be split between
 * two calls. The array is described by plain numbers, so that this file needs
 * neither Python nor NumPy; the memory is borrowed for the time of one call,
 * and `data` may differ from call to call (it is passed in each time).
 */
#ifndef FP_CORE_STRIDED_H
#define FP_CORE_STRIDED_H

#include <stddef.h>
#include <stdint.h>

#define FP_STRIDED_MAX_DIMS 64

typedef struct {
    int n_dims; /* after merging adjacent axes that lie behind one another */
    size_t item_bytes;
    int64_t shape[FP_STRIDED_MAX_DIMS];
    int64_t strides[FP_STRIDED_MAX_DIMS]; /* bytes, any sign */
    int64_t index[FP_STRIDED_MAX_DIMS];   /* the element to copy next */
    size_t item_offset;                   /* bytes of it already copied */
    uint64_t n_left;                      /* bytes still to copy */
} fp_strided;

/* n_dims <= FP_STRIDED_MAX_DIMS, item_bytes > 0, extents >= 0, their product
 * times item_bytes representable (NumPy guarantees all of it). */
void fp_strided_init(fp_strided *cursor, int n_dims, const int64_t *shape,
                     const int64_t *strides, size_t item_bytes);

/* Moves a cursor that is at the start to an offset in the bytes, up to their
 * number. */
void fp_strided_seek(fp_strided *cursor, uint64_t offset);

/* Copies min(n_room, n_left) bytes to `out`; returns how many. `data` is the
 * address of element (0, ..., 0). */
size_t fp_strided_copy(fp_strided *cursor, const unsigned char *data,
                       unsigned char *out, size_t n_room);

/* Sets to zero the bytes of `out` that no field covers. `covered` has one byte
 * per byte of an element, 1 where a field lies; `phase` is the offset in an
 * element of out[0]. */
void fp_strided_zero_gaps(unsigned char *out, size_t n_bytes,
                          const unsigned char *covered, size_t item_bytes,
                          size_t phase);

#endif
