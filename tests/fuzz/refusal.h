/* What every refusal of a layout's decoder must look like. */
#ifndef FP_FUZZ_REFUSAL_H
#define FP_FUZZ_REFUSAL_H

#include "core/layout.h"
#include "fuzz.h"

static inline void
check_refusal(fp_status status, const fp_layout_error *error, size_t n_bytes)
{
    if (status == FP_TRUNCATED || status == FP_CORRUPT || status == FP_TOO_NEW)
    {
        CHECK(error->offset <= n_bytes);
        CHECK(error->expected != NULL && error->expected[0] != '\0');
    }
    else {
        CHECK(status == FP_NOT_OURS || status == FP_NO_MEMORY);
    }
}

#endif
