#include "strided.h"

#include <string.h>

static int
lies_behind(int64_t outer_stride, int64_t inner_shape, int64_t inner_stride)
{
    int64_t extent;
    return !__builtin_mul_overflow(inner_shape, inner_stride, &extent)
           && extent == outer_stride;
}

void
fp_strided_init(fp_strided *cursor, int n_dims, const int64_t *shape,
                const int64_t *strides, size_t item_bytes)
{
    memset(cursor, 0, sizeof(*cursor));
    cursor->item_bytes = item_bytes;
    cursor->n_left = item_bytes;

    for (int i = 0; i < n_dims; i++) {
        cursor->n_left *= (uint64_t)shape[i];
    }
    int n_kept = 0;
    for (int i = 0; i < n_dims && cursor->n_left > 0; i++) {
        if (shape[i] == 1) {
            continue; /* its stride means nothing */
        }
        if (n_kept > 0
            && lies_behind(cursor->strides[n_kept - 1], shape[i], strides[i]))
        {
            cursor->shape[n_kept - 1] *= shape[i];
            cursor->strides[n_kept - 1] = strides[i];
        }
        else {
            cursor->shape[n_kept] = shape[i];
            cursor->strides[n_kept] = strides[i];
            n_kept++;
        }
    }
    if (n_kept == 0) {
        cursor->shape[0] = 1;
        cursor->strides[0] = (int64_t)item_bytes;
        n_kept = 1;
    }
    cursor->n_dims = n_kept;
}

void
fp_strided_seek(fp_strided *cursor, uint64_t offset)
{
    uint64_t item = offset / cursor->item_bytes;

    cursor->n_left -= offset;
    cursor->item_offset = (size_t)(offset % cursor->item_bytes);
    for (int i = cursor->n_dims - 1; i >= 0 && cursor->n_left > 0; i--) {
        cursor->index[i] = (int64_t)(item % (uint64_t)cursor->shape[i]);
        item /= (uint64_t)cursor->shape[i];
    }
}

static int64_t
columns_at_once(int64_t n_rows, int64_t row_stride, int64_t n_items,
                int64_t stride)
{
    int64_t row_step = row_stride < 0 ? -row_stride : row_stride;
    int64_t step = stride < 0 ? -stride : stride;
    return n_rows > 1 && row_step < step ? 16 : n_items;
}

/* Copies n_rows rows of n_items, the way the two innermost axes lie. A fixed
 * item size lets the compiler make a load and a store of each memcpy(). Rows
 * whose neighbours share cache lines (a slice of a Fortran-ordered array) are
 * taken a few columns at a time. The address is computed from the offset each
 * time: a pointer moved past the last element might leave the array. */
#define DEFINE_COPY_ROWS(NAME, ITEM_BYTES)                                    \
    static void NAME(unsigned char *restrict out,                             \
                     const unsigned char *restrict data, int64_t n_rows,      \
                     int64_t row_stride, int64_t n_items, int64_t stride,     \
                     size_t item_bytes)                                       \
    {                                                                         \
        (void)item_bytes;                                                     \
        int64_t n_columns =                                                   \
            columns_at_once(n_rows, row_stride, n_items, stride);             \
        for (int64_t first = 0; first < n_items; first += n_columns) {        \
            int64_t n = n_items - first;                                      \
            if (n > n_columns) {                                              \
                n = n_columns;                                                \
            }                                                                 \
            for (int64_t row = 0; row < n_rows; row++) {                      \
                const unsigned char *from =                                   \
                    data + row * row_stride + first * stride;                 \
                unsigned char *to =                                           \
                    out + (size_t)(row * n_items + first) * (ITEM_BYTES);     \
                for (int64_t item = 0; item < n; item++) {                    \
                    memcpy(to, from + item * stride, ITEM_BYTES);             \
                    to += ITEM_BYTES;                                         \
                }                                                             \
            }                                                                 \
        }                                                                     \
    }

DEFINE_COPY_ROWS(copy_rows_of_1, 1)
DEFINE_COPY_ROWS(copy_rows_of_2, 2)
DEFINE_COPY_ROWS(copy_rows_of_4, 4)
DEFINE_COPY_ROWS(copy_rows_of_8, 8)
DEFINE_COPY_ROWS(copy_rows_of_16, 16)
DEFINE_COPY_ROWS(copy_rows_of_any, item_bytes)

static void
copy_rows(unsigned char *out, const unsigned char *data, int64_t n_rows,
          int64_t row_stride, int64_t n_items, int64_t stride,
          size_t item_bytes)
{
    if (stride == (int64_t)item_bytes) {
        size_t row_bytes = (size_t)n_items * item_bytes;
        switch (row_bytes) {
        case 8:
            copy_rows_of_8(out, data, n_rows, row_stride, 1, 0, 8);
            break;
        case 16:
            copy_rows_of_16(out, data, n_rows, row_stride, 1, 0, 16);
            break;
        default:
            copy_rows_of_any(out, data, n_rows, row_stride, 1, 0, row_bytes);
            break;
        }
        return;
    }
    switch (item_bytes) {
    case 1:
        copy_rows_of_1(out, data, n_rows, row_stride, n_items, stride, 1);
        break;
    case 2:
        copy_rows_of_2(out, data, n_rows, row_stride, n_items, stride, 2);
        break;
    case 4:
        copy_rows_of_4(out, data, n_rows, row_stride, n_items, stride, 4);
        break;
    case 8:
        copy_rows_of_8(out, data, n_rows, row_stride, n_items, stride, 8);
        break;
    case 16:
        copy_rows_of_16(out, data, n_rows, row_stride, n_items, stride, 16);
        break;
    default:
        copy_rows_of_any(out, data, n_rows, row_stride, n_items, stride,
                         item_bytes);
        break;
    }
}

/* Moves the index n steps along `axis`, carrying into the axes outside it. */
static void
step(fp_strided *cursor, int axis, int64_t n)
{
    cursor->index[axis] += n;
    while (axis > 0 && cursor->index[axis] == cursor->shape[axis]) {
        cursor->index[axis] = 0;
        axis--;
        cursor->index[axis]++;
    }
}

size_t
fp_strided_copy(fp_strided *cursor, const unsigned char *data,
                unsigned char *out, size_t n_room)
{
    size_t n_total = n_room;
    if (n_total > cursor->n_left) {
        n_total = (size_t)cursor->n_left;
    }
    const size_t item_bytes = cursor->item_bytes;
    const int inner = cursor->n_dims - 1;
    const int64_t inner_shape = cursor->shape[inner];
    const int64_t inner_stride = cursor->strides[inner];

    size_t n_todo = n_total;
    while (n_todo > 0) {
        int64_t offset = 0;
        for (int axis = 0; axis <= inner; axis++) {
            offset += cursor->index[axis] * cursor->strides[axis];
        }
        const unsigned char *item = data + offset;
        size_t n_copied;
        int64_t n_items = (int64_t)(n_todo / item_bytes);

        if (cursor->item_offset > 0 || n_items == 0) {
            n_copied = item_bytes - cursor->item_offset;
            if (n_copied > n_todo) {
                n_copied = n_todo;
            }
            memcpy(out, item + cursor->item_offset, n_copied);
            cursor->item_offset += n_copied;
            if (cursor->item_offset == item_bytes) {
                cursor->item_offset = 0;
                step(cursor, inner, 1);
            }
        }
        else if (inner > 0 && cursor->index[inner] == 0
                 && n_items >= inner_shape)
        {
            int64_t n_rows =
                cursor->shape[inner - 1] - cursor->index[inner - 1];
            if (n_rows > n_items / inner_shape) {
                n_rows = n_items / inner_shape;
            }
            n_copied = (size_t)(n_rows * inner_shape) * item_bytes;
            copy_rows(out, item, n_rows, cursor->strides[inner - 1],
                      inner_shape, inner_stride, item_bytes);
            step(cursor, inner - 1, n_rows);
        }
        else {
            if (n_items > inner_shape - cursor->index[inner]) {
                n_items = inner_shape - cursor->index[inner];
            }
            n_copied = (size_t)n_items * item_bytes;
            copy_rows(out, item, 1, 0, n_items, inner_stride, item_bytes);
            step(cursor, inner, n_items);
        }
        out += n_copied;
        n_todo -= n_copied;
        cursor->n_left -= n_copied;
    }
    return n_total;
}

void
fp_strided_zero_gaps(unsigned char *out, size_t n_bytes,
                     const unsigned char *covered, size_t item_bytes,
                     size_t phase)
{
    phase %= item_bytes;
    for (size_t byte = 0; byte < item_bytes; byte++) {
        if (covered[byte]) {
            continue;
        }
        size_t first =
            byte >= phase ? byte - phase : byte + item_bytes - phase;
        for (size_t i = first; i < n_bytes; i += item_bytes) {
            out[i] = 0;
        }
    }
}
