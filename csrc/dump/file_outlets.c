#include "file_outlets.h"

static fp_sidecar *
blobs_of(const fp_walk *walk)
{
    return &((fp_file_outlet *)walk->outlet->self)->blobs;
}

static fp_sidecar_file *
buffers_of(const fp_walk *walk)
{
    return &((fp_file_outlet *)walk->outlet->self)->buffers;
}

/* --- blobs --------------------------------------------------------------- */

static int
blob_fits(const fp_walk *walk, size_t n_bytes)
{
    return fp_sidecar_fits(blobs_of(walk), n_bytes);
}

static int
place_alone(fp_walk *walk, const fp_array_geometry *array,
            fp_array_place *place)
{
    fp_sidecar *blobs = blobs_of(walk);

    if (fp_draw_number(walk, &place->number) < 0
        || fp_sidecar_begin(blobs, FP_BLOB_BYTEARRAY, array->n_bytes,
                            place->number)
               < 0
        || fp_array_stage(&blobs->staging, array) < 0)
    {
        return -1;
    }
    return fp_sidecar_end(blobs);
}

static int
place_shared(fp_walk *walk, const fp_array_geometry *array,
             fp_array_place *place)
{
    fp_sidecar *blobs = blobs_of(walk);
    unsigned char *where;
    fp_array_reader from;

    place->number = blobs->shared_number;
    if (fp_sidecar_will_open(blobs, array->n_bytes)
        && fp_draw_number(walk, &place->number) < 0)
    {
        return -1;
    }
    if (fp_sidecar_share(blobs, array->n_bytes, place->number, &where,
                         &place->offset)
            < 0
        || fp_array_check_unchanged(array) < 0)
    {
        return -1;
    }
    fp_array_reader_init(&from, array);
    fp_array_read(&from, where, array->n_bytes);
    return 0;
}

static int
place_blob(fp_walk *walk, const fp_array_geometry *array,
           fp_array_place *place)
{
    return array->n_bytes >= FP_OWN_BLOB_BYTES
               ? place_alone(walk, array, place)
               : place_shared(walk, array, place);
}

static int
fetch_blob(fp_walk *walk, const fp_array_place *place)
{
    return fp_emit_get(walk, place->number);
}

static int
save_leaf(fp_walk *walk, fp_payload *source, fp_blob_kind kind, int lonely)
{
    fp_sidecar *blobs = blobs_of(walk);
    uint32_t number;

    if (walk->silent && !fp_sidecar_fits(blobs, source->n_bytes)) {
        return fp_call_out(walk);
    }
    if (fp_draw_number(walk, &number) < 0
        || fp_sidecar_begin(blobs, kind, source->n_bytes, number) < 0
        || fp_staging_take(&blobs->staging, source) < 0
        || fp_sidecar_end(blobs) < 0)
    {
        return -1;
    }
    if (!lonely
        && fp_memo_set(walk->memo, source->object, ~(int64_t)number) < 0)
    {
        return -1;
    }
    return fp_emit_get(walk, number);
}

static int
forget_blobs(fp_walk *walk)
{
    return fp_sidecar_reset(blobs_of(walk));
}

static const fp_outlet_methods one_file = {
    .save_array = fp_save_array,
    .step_array = fp_step_array,
    .array_fits = blob_fits,
    .place_array = place_blob,
    .fetch_array = fetch_blob,
    .save_leaf = save_leaf,
    .start_over = forget_blobs,
};

/* --- buffers of a second file -------------------------------------------- */

static int
buffer_fits(const fp_walk *walk, size_t n_bytes)
{
    return fp_sidecar_file_fits(buffers_of(walk), n_bytes);
}

/* Every array comes back writable, as from a file of one piece. */
static int
place_buffer(fp_walk *walk, const fp_array_geometry *array,
             fp_array_place *place)
{
    fp_sidecar_file *buffers = buffers_of(walk);

    (void)place;
    if (fp_sidecar_file_begin(buffers, array->n_bytes, 0) < 0) {
        return -1;
    }
    return fp_array_stage(&buffers->staging, array);
}

static int
fetch_buffer(fp_walk *walk, const fp_array_place *place)
{
    (void)place;
    return fp_emit_byte(walk, OP_NEXT_BUFFER);
}

static int
save_buffer(fp_walk *walk, fp_payload *source, int is_read_only, int lonely)
{
    static const unsigned char opcodes[] = {OP_NEXT_BUFFER,
                                            OP_READONLY_BUFFER};
    fp_sidecar_file *buffers = buffers_of(walk);

    if (walk->silent && !fp_sidecar_file_fits(buffers, source->n_bytes)) {
        return fp_call_out(walk);
    }
    if (fp_sidecar_file_begin(buffers, source->n_bytes, is_read_only) < 0
        || fp_staging_take(&buffers->staging, source) < 0
        || fp_emit(walk, opcodes, is_read_only ? 2 : 1) < 0)
    {
        return -1;
    }
    return fp_memo_put(walk, source->object, lonely);
}

static int
forget_both(fp_walk *walk)
{
    return fp_sidecar_file_reset(buffers_of(walk)) < 0 ? -1
                                                       : forget_blobs(walk);
}

static const fp_outlet_methods two_files = {
    .save_array = fp_save_array,
    .step_array = fp_step_array,
    .array_fits = buffer_fits,
    .place_array = place_buffer,
    .fetch_array = fetch_buffer,
    .is_ordered = 1,
    .save_leaf = save_leaf,
    .save_buffer = save_buffer,
    .start_over = forget_both,
};

/* ------------------------------------------------------------------------- */

void
fp_file_outlet_init(fp_file_outlet *files, int has_sidecar_file)
{
    files->outlet = (fp_outlet){
        .methods = has_sidecar_file ? &two_files : &one_file,
        .self = files,
    };
    files->blobs.is_silent = 1;
    if (has_sidecar_file) {
        files->blobs.header_flags = FP_FLAG_SIDECAR_FILE;
    }
}

void
fp_file_outlet_free(fp_file_outlet *files)
{
    fp_sidecar_free(&files->blobs);
    fp_sidecar_file_free(&files->buffers);
}
