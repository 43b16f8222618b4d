/* Where the payloads of our own layout go, as outlets of the walk
 * (walk/outlet.h):
 *   - one file: arrays and large leaves become blobs of the sidecar, in front
 *     of the graph, fetched by GET;
 *   - two files: arrays and PickleBuffers become buffers of the second, fetched
 *     by NEXT_BUFFER in the order in which they lie there; large leaves stay
 *     blobs of the first.
 *
 * Ownership: everything is borrowed, and outlives the walk. GIL and errors:
 * walk/outlet.h.
 */
#ifndef FP_FILE_OUTLETS_H
#define FP_FILE_OUTLETS_H

#include "out/sidecar.h"
#include "out/sidecar_file.h"
#include "walk/outlet.h"

typedef struct {
    fp_outlet outlet;
    fp_sidecar blobs;
    fp_sidecar_file buffers; /* of a dump in two files */
} fp_file_outlet;

/* For a zeroed one. */
void fp_file_outlet_init(fp_file_outlet *files, int has_sidecar_file);
void fp_file_outlet_free(fp_file_outlet *files);

#endif
