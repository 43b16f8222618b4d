#include <string.h>

#include <xxhash.h>

#include "check.h"
#include "layout.h"

/* --- an encoder of its own, which can also write what is wrong --- */

typedef struct {
    uint32_t version;
    uint32_t flags;
    uint64_t total_length;
    uint64_t arrays_offset;
    uint64_t arrays_length;
    uint64_t graph_offset;
    uint64_t graph_length;
    uint64_t n_blobs;
    uint64_t blob_table_bytes;
    uint64_t n_hashes;
    uint64_t environment_bytes;
    uint64_t state;
    fp_buffer body; /* table, hashes, environment, padding */
} plan;

static size_t
forge(const plan *p, unsigned char **out)
{
    fp_buffer payload = {0};
    CHECK_OK(fp_buffer_append(&payload, "fastpersist ftr\0", 16));
    CHECK_OK(fp_buffer_append_u32(&payload, p->version));
    CHECK_OK(fp_buffer_append_u32(&payload, p->flags));
    const uint64_t fields[] = {
        p->total_length,     p->arrays_offset, p->arrays_length,
        p->graph_offset,     p->graph_length,  p->n_blobs,
        p->blob_table_bytes, p->n_hashes,      p->environment_bytes,
    };
    for (size_t i = 0; i < 9; i++) {
        CHECK_OK(fp_buffer_append_u64(&payload, fields[i]));
    }
    CHECK_OK(fp_buffer_append(&payload, p->body.data, p->body.length));
    size_t state_offset = payload.length;
    uint64_t payload_bytes = state_offset + 40;
    /* The hashed bytes side by side, then the tail in its real order. */
    CHECK_OK(fp_buffer_append_u64(&payload, payload_bytes));
    uint64_t hash = XXH3_64bits(payload.data, payload.length);
    payload.length = state_offset;
    CHECK_OK(fp_buffer_append_u64(&payload, p->state));
    CHECK_OK(fp_buffer_append_u64(&payload, hash));
    CHECK_OK(fp_buffer_append_u64(&payload, payload_bytes));
    CHECK_OK(fp_buffer_append(&payload, "fastpersist end\0", 16));

    fp_buffer footer = {0};
    CHECK_OK(fp_buffer_append(&footer, "B", 1));
    CHECK_OK(fp_buffer_append_u32(&footer, (uint32_t)payload.length));
    CHECK_OK(fp_buffer_append(&footer, payload.data, payload.length));
    CHECK_OK(fp_buffer_append(&footer, "0.", 2));
    fp_buffer_free(&payload);
    *out = footer.data;
    return footer.length;
}

/* The plan of a dump without blobs and with one block of graph. */
static plan
simple_plan(void)
{
    plan p = {
        .version = 1,
        .arrays_offset = 21,
        .graph_offset = 21,
        .graph_length = 100,
        .n_hashes = 1,
        .environment_bytes = 2,
        .state = FP_STATE_VALID,
    };
    CHECK_OK(fp_buffer_append_u64(&p.body, 77));
    CHECK_OK(fp_buffer_append(&p.body, "{}", 2));
    return p;
}

static void
pad(plan *p)
{
    uint64_t length =
        p->graph_offset + p->graph_length + 5 + 96 + p->body.length + 40 + 2;
    size_t n_padding = (size_t)(-length & 63);
    CHECK_OK(fp_buffer_append_zeros(&p->body, n_padding));
    p->total_length = length + n_padding;
}

/* Decodes a copy that ends where the memory ends. */
static fp_status
decode(const unsigned char *data, size_t n_bytes)
{
    unsigned char *copy = malloc(n_bytes ? n_bytes : 1);
    CHECK(copy != NULL);
    memcpy(copy, data, n_bytes);
    fp_footer footer;
    fp_layout_error error = {.offset = 12345678, .expected = NULL};
    fp_status status = fp_footer_decode(copy, n_bytes, &footer, &error);
    if (status == FP_OK) {
        fp_footer_free(&footer);
    }
    else {
        CHECK(status == FP_CORRUPT || status == FP_TRUNCATED
              || status == FP_TOO_NEW);
        CHECK(error.expected != NULL && error.offset <= n_bytes);
        CHECK(footer.blobs == NULL && footer.hashes == NULL
              && footer.environment == NULL);
    }
    free(copy);
    return status;
}

static fp_status
decode_plan(plan *p)
{
    unsigned char *data;
    size_t n_bytes = forge(p, &data);
    fp_status status = decode(data, n_bytes);
    free(data);
    fp_buffer_free(&p->body);
    return status;
}

/* --- random, valid footers --- */

typedef struct {
    fp_footer footer;
    fp_buffer encoded;
} sample;

static sample
random_sample(random_source *source)
{
    sample s = {0};
    fp_footer *footer = &s.footer;
    footer->n_blobs = random_below(source, 3) ? random_below(source, 20) : 0;
    footer->blobs = malloc(footer->n_blobs * sizeof(fp_blob) + 1);
    CHECK(footer->blobs != NULL);
    uint64_t position = FP_HEADER_BYTES;
    for (size_t i = 0; i < footer->n_blobs; i++) {
        fp_blob *blob = &footer->blobs[i];
        blob->kind = (fp_blob_kind)random_below(source, 3);
        blob->length = random_below(source, 4)
                           ? random_below(source, 500)
                           : random_below(source, (size_t)5 << 20);
        blob->memo_number =
            (uint32_t)(random_u64(source) >> (32 + random_below(source, 32)));
        unsigned char bytes[FP_BLOB_PREFIX_MAX];
        position +=
            fp_blob_prefix_encode(bytes, position, blob->kind, blob->length);
        CHECK(position % FP_ALIGN == 0);
        blob->offset = position;
        position += blob->length;
        position += fp_blob_suffix_encode(bytes, blob->memo_number);
    }
    footer->arrays_offset = FP_HEADER_BYTES;
    footer->arrays_length = position - FP_HEADER_BYTES;
    footer->graph_offset = position;
    footer->graph_length = random_below(source, (size_t)3 << 20);
    footer->state = random_below(source, 2) ? FP_STATE_VALID : FP_STATE_VOID;
    footer->n_hashes = (size_t)(((footer->arrays_length + 1048575) >> 20)
                                + ((footer->graph_length + 1048575) >> 20));
    footer->hashes = malloc(footer->n_hashes * 8 + 1);
    CHECK(footer->hashes != NULL);
    for (size_t i = 0; i < footer->n_hashes; i++) {
        footer->hashes[i] = random_u64(source);
    }
    footer->environment_bytes = random_below(source, 300);
    footer->environment =
        (char *)random_bytes_new(source, footer->environment_bytes);
    CHECK_OK(fp_footer_encode(footer, &s.encoded));
    return s;
}

static void
free_sample(sample *s)
{
    fp_footer_free(&s->footer);
    fp_buffer_free(&s->encoded);
}

static void
layout_round_trip(const char *directory)
{
    (void)directory;
    random_source source = {31};
    for (int round = 0; round < 1000; round++) {
        sample s = random_sample(&source);
        const fp_footer *in = &s.footer;
        CHECK(in->total_length % FP_ALIGN == 0);
        CHECK(in->total_length
              == in->graph_offset + in->graph_length + s.encoded.length);

        uint64_t n_bytes;
        fp_layout_error error;
        CHECK(s.encoded.length >= FP_TAIL_READ_BYTES);
        const unsigned char *tail =
            s.encoded.data + s.encoded.length - FP_TAIL_READ_BYTES;
        CHECK_OK(fp_tail_decode(tail, in->total_length, &n_bytes, &error));
        CHECK(n_bytes == s.encoded.length);
        CHECK_OK(fp_tail_decode(tail, n_bytes, &n_bytes, &error));
        CHECK(fp_tail_decode(tail, n_bytes - 1, &n_bytes, &error)
              == FP_CORRUPT);
        CHECK(n_bytes == 0);

        fp_footer out;
        CHECK_OK(
            fp_footer_decode(s.encoded.data, s.encoded.length, &out, &error));
        CHECK(out.total_length == in->total_length);
        CHECK(out.arrays_offset == in->arrays_offset);
        CHECK(out.arrays_length == in->arrays_length);
        CHECK(out.graph_offset == in->graph_offset);
        CHECK(out.graph_length == in->graph_length);
        CHECK(out.state == in->state);
        CHECK(out.n_blobs == in->n_blobs);
        for (size_t i = 0; i < out.n_blobs; i++) {
            CHECK(out.blobs[i].kind == in->blobs[i].kind);
            CHECK(out.blobs[i].memo_number == in->blobs[i].memo_number);
            CHECK(out.blobs[i].offset == in->blobs[i].offset);
            CHECK(out.blobs[i].length == in->blobs[i].length);
        }
        CHECK(out.n_hashes == in->n_hashes);
        CHECK(memcmp(out.hashes, in->hashes, out.n_hashes * 8) == 0);
        CHECK(out.environment_bytes == in->environment_bytes);
        CHECK(memcmp(out.environment, in->environment, out.environment_bytes)
              == 0);
        fp_footer_free(&out);
        fp_footer_free(&out);
        free_sample(&s);
    }
}

/* The encoder against the test's own, byte for byte. */
static void
layout_encodes_as_specified(const char *directory)
{
    (void)directory;
    uint64_t hash = 77;
    char environment[] = "{}";
    fp_footer footer = {
        .arrays_offset = 21,
        .graph_offset = 21,
        .graph_length = 100,
        .state = FP_STATE_VALID,
        .n_hashes = 1,
        .hashes = &hash,
        .environment = environment,
        .environment_bytes = 2,
    };
    fp_buffer encoded = {0};
    CHECK_OK(fp_footer_encode(&footer, &encoded));
    plan p = simple_plan();
    pad(&p);
    unsigned char *forged;
    size_t n_forged = forge(&p, &forged);
    CHECK(encoded.length == n_forged);
    CHECK(memcmp(encoded.data, forged, n_forged) == 0);
    CHECK(footer.total_length == p.total_length);
    free(forged);
    fp_buffer_free(&encoded);
    CHECK(decode_plan(&p) == FP_OK);

    /* Two blobs: payloads from 64 to 110 and from 128 to 138, so the gaps are
     * 43 and 18; the table by hand. */
    p = simple_plan();
    fp_buffer_free(&p.body);
    const unsigned char table[] = {
        0xad, 0x01, 46,   2,    /* 43 << 2 | bytes, length, memo + 1 */
        0x48, 10,   0xfe, 0x03, /* 18 << 2 | bytearray, length, memo + 255 */
    };
    CHECK_OK(fp_buffer_append(&p.body, table, sizeof(table)));
    CHECK_OK(fp_buffer_append_u64(&p.body, 1));
    CHECK_OK(fp_buffer_append_u64(&p.body, 2));
    p.environment_bytes = 0;
    p.n_blobs = 2;
    p.blob_table_bytes = sizeof(table);
    p.n_hashes = 2;
    p.arrays_length = 128 + 10 + 6 - 21;
    p.graph_offset = 144;
    pad(&p);
    unsigned char *data;
    size_t n_bytes = forge(&p, &data);
    fp_footer out;
    fp_layout_error error;
    CHECK_OK(fp_footer_decode(data, n_bytes, &out, &error));
    CHECK(out.blobs[0].kind == FP_BLOB_BYTES);
    CHECK(out.blobs[0].offset == 64 && out.blobs[0].length == 46);
    CHECK(out.blobs[0].memo_number == 1);
    CHECK(out.blobs[1].kind == FP_BLOB_BYTEARRAY);
    CHECK(out.blobs[1].offset == 128 && out.blobs[1].length == 10);
    CHECK(out.blobs[1].memo_number == 256);
    CHECK_OK(fp_footer_encode(&out, &encoded));
    CHECK(encoded.length == n_bytes);
    CHECK(memcmp(encoded.data, data, n_bytes) == 0);
    fp_buffer_free(&encoded);
    fp_footer_free(&out);
    free(data);
    fp_buffer_free(&p.body);
}

static void
layout_every_flip_is_refused(const char *directory)
{
    (void)directory;
    random_source source = {32};
    for (int round = 0; round < 8; round++) {
        sample s = random_sample(&source);
        for (size_t i = 0; i < s.encoded.length; i++) {
            for (int bit = 0; bit < 8; bit++) {
                s.encoded.data[i] ^= (unsigned char)(1 << bit);
                CHECK(decode(s.encoded.data, s.encoded.length) != FP_OK);
                s.encoded.data[i] ^= (unsigned char)(1 << bit);
            }
        }
        CHECK(decode(s.encoded.data, s.encoded.length) == FP_OK);
        free_sample(&s);
    }

    unsigned char header[FP_HEADER_BYTES];
    fp_layout_error error;
    fp_header_encode(header);
    CHECK_OK(fp_header_decode(header, sizeof(header), &error));
    for (size_t i = 0; i < sizeof(header); i++) {
        for (int bit = 0; bit < 8; bit++) {
            header[i] ^= (unsigned char)(1 << bit);
            fp_status status =
                fp_header_decode(header, sizeof(header), &error);
            if (i >= 4 && i < 16) {
                CHECK(status == FP_NOT_OURS);
            }
            else if (i == 16 || i == 17) {
                /* Version 1 with a bit flipped is 0 or a later one. */
                CHECK(status
                      == (i == 16 && bit == 0 ? FP_CORRUPT : FP_TOO_NEW));
            }
            else if (i == 18 && bit == 0) {
                CHECK(status == FP_OK); /* compared with the footer's */
            }
            else {
                CHECK(status == FP_CORRUPT);
            }
            header[i] ^= (unsigned char)(1 << bit);
        }
    }
}

static void
layout_every_cut_is_refused(const char *directory)
{
    (void)directory;
    random_source source = {33};
    for (int round = 0; round < 8; round++) {
        sample s = random_sample(&source);
        const size_t n_bytes = s.encoded.length;
        for (size_t n_cut = 1; n_cut <= n_bytes; n_cut++) {
            /* At the end, and at the front. */
            CHECK(decode(s.encoded.data, n_bytes - n_cut) == FP_TRUNCATED);
            CHECK(decode(s.encoded.data + n_cut, n_bytes - n_cut) != FP_OK);
            if (n_bytes - n_cut >= FP_TAIL_READ_BYTES) {
                uint64_t n_footer;
                fp_layout_error error;
                CHECK(fp_tail_decode(s.encoded.data + n_bytes - n_cut
                                         - FP_TAIL_READ_BYTES,
                                     n_bytes - n_cut, &n_footer, &error)
                      != FP_OK);
            }
        }
        /* One byte too many. */
        CHECK_OK(fp_buffer_append(&s.encoded, ".", 1));
        CHECK(decode(s.encoded.data, n_bytes + 1) == FP_CORRUPT);
        free_sample(&s);
    }
    for (size_t n_bytes = 1; n_bytes < 9; n_bytes++) {
        CHECK(decode((const unsigned char *)"\x8e\0\0\0\0\0\0\0\0", n_bytes)
              == FP_TRUNCATED);
    }
    unsigned char header[FP_HEADER_BYTES];
    fp_layout_error error;
    fp_header_encode(header);
    for (size_t n_bytes = 0; n_bytes < sizeof(header); n_bytes++) {
        CHECK(fp_header_decode(header, n_bytes, &error)
              == (n_bytes > 4 ? FP_TRUNCATED : FP_NOT_OURS));
    }
    CHECK(fp_header_decode((const unsigned char *)"\x80\x05X", 3, &error)
          == FP_NOT_OURS);
}

static void
layout_tail_extremes(const char *directory)
{
    (void)directory;
    unsigned char tail[FP_TAIL_READ_BYTES] = {0};
    uint64_t n_bytes;
    fp_layout_error error;
    CHECK(fp_tail_decode(tail, 1000, &n_bytes, &error) == FP_NOT_OURS);
    memcpy(tail + 24, "fastpersist end\0000.", 18);
    static const struct {
        uint64_t payload_bytes;
        uint64_t available;
        uint64_t n_bytes; /* 0: refused */
    } cases[] = {
        {0, 1000, 0},
        {135, 1000, 0},
        {136, 1000, 143},
        {136, 143, 143},
        {136, 142, 0},
        {136, 6, 0},
        {136, 0, 0},
        {UINT64_C(0xffffffff), UINT64_MAX, UINT64_C(0xffffffff) + 7},
        {UINT64_C(0x100000000), UINT64_MAX, UINT64_C(0x100000000) + 11},
        {UINT64_MAX, UINT64_MAX, 0},
        {UINT64_MAX - 11, UINT64_MAX, UINT64_MAX},
        {UINT64_MAX - 10, UINT64_MAX, 0},
        {(uint64_t)1 << 63, 1000, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t k = 0; k < 8; k++) {
            tail[16 + k] = (unsigned char)(cases[i].payload_bytes >> 8 * k);
        }
        fp_status status =
            fp_tail_decode(tail, cases[i].available, &n_bytes, &error);
        CHECK(status == (cases[i].n_bytes ? FP_OK : FP_CORRUPT));
        CHECK(n_bytes == cases[i].n_bytes);
    }
}

/* A sidecar file is announced, and nothing, or zeros, say which. */
static void
layout_no_room_for_a_sidecar_file(const char *directory)
{
    (void)directory;
    int n_short = 0;
    for (uint64_t graph_length = 1; graph_length <= 64; graph_length++) {
        plan p = simple_plan();
        p.graph_length = graph_length;
        p.flags = FP_FLAG_SIDECAR_FILE;
        pad(&p);
        /* It takes 24 bytes; a hash and the environment follow. */
        int is_short = p.body.length < 24 + 8 + 2;
        n_short += is_short;
        CHECK(decode_plan(&p) == FP_CORRUPT || !is_short);
    }
    CHECK(n_short > 10);
}

/* Fields that lie, under a hash that is right. */
static void
layout_forged_fields(const char *directory)
{
    (void)directory;
    plan p = simple_plan();
    pad(&p);
    CHECK(decode_plan(&p) == FP_OK);

    const uint64_t lies[] = {0,
                             1,
                             20,
                             22,
                             63,
                             64,
                             (uint64_t)1 << 20,
                             (uint64_t)1 << 32,
                             (uint64_t)1 << 61,
                             (uint64_t)1 << 63,
                             UINT64_MAX - 63,
                             UINT64_MAX - 1,
                             UINT64_MAX};
    for (size_t field = 0; field < 9; field++) {
        for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
            p = simple_plan();
            pad(&p);
            uint64_t *const fields[] = {
                &p.total_length,     &p.arrays_offset, &p.arrays_length,
                &p.graph_offset,     &p.graph_length,  &p.n_blobs,
                &p.blob_table_bytes, &p.n_hashes,      &p.environment_bytes,
            };
            int is_lie = *fields[field] != lies[i];
            if (field == 8) {
                /* The padding may as well be an environment's zeros. */
                is_lie = lies[i] < 2 || lies[i] > p.body.length - 8;
            }
            *fields[field] = lies[i];
            CHECK(decode_plan(&p) == (is_lie ? FP_CORRUPT : FP_OK));
            /* ... and together with its complement, so that sums wrap. */
            p = simple_plan();
            pad(&p);
            uint64_t *const again[] = {
                &p.total_length,     &p.arrays_offset, &p.arrays_length,
                &p.graph_offset,     &p.graph_length,  &p.n_blobs,
                &p.blob_table_bytes, &p.n_hashes,      &p.environment_bytes,
            };
            uint64_t change = lies[i] - *again[field];
            *again[field] += change;
            *again[(field + 1) % 9] -= change;
            if (change != 0) {
                CHECK(decode_plan(&p) == FP_CORRUPT);
            }
            else {
                fp_buffer_free(&p.body);
            }
        }
    }

    p = simple_plan();
    pad(&p);
    p.version = 2;
    CHECK(decode_plan(&p) == FP_TOO_NEW);
    p = simple_plan();
    pad(&p);
    p.version = 0;
    CHECK(decode_plan(&p) == FP_CORRUPT);
    p = simple_plan();
    pad(&p);
    p.flags = 2; /* 1 is known: test_sidecar_layout.c */
    CHECK(decode_plan(&p) == FP_CORRUPT);
    p = simple_plan();
    pad(&p);
    p.state = FP_STATE_VOID;
    CHECK(decode_plan(&p) == FP_OK);
    for (int bit = 0; bit < 64; bit++) {
        p = simple_plan();
        pad(&p);
        p.state ^= (uint64_t)1 << bit;
        CHECK(decode_plan(&p) == FP_CORRUPT);
    }

    /* Padding that is too long, or not zero. */
    p = simple_plan();
    pad(&p);
    CHECK_OK(fp_buffer_append_zeros(&p.body, 64));
    p.total_length += 64;
    CHECK(decode_plan(&p) == FP_CORRUPT);
    p = simple_plan();
    size_t n_before = p.body.length;
    pad(&p);
    CHECK(p.body.length > n_before + 1);
    p.body.data[p.body.length - 1] = 1;
    CHECK(decode_plan(&p) == FP_CORRUPT);
    p = simple_plan();
    pad(&p);
    p.body.data[n_before] = 1;
    CHECK(decode_plan(&p) == FP_CORRUPT);

    /* BINBYTES8 in front of a footer that fits BINBYTES. */
    p = simple_plan();
    pad(&p);
    unsigned char *data;
    size_t n_bytes = forge(&p, &data);
    unsigned char *longer = malloc(n_bytes + 4);
    CHECK(longer != NULL);
    longer[0] = 0x8e;
    memcpy(longer + 1, data + 1, 4);
    memset(longer + 5, 0, 4);
    memcpy(longer + 9, data + 5, n_bytes - 5);
    CHECK(decode(longer, n_bytes + 4) == FP_CORRUPT);
    free(longer);
    free(data);
    fp_buffer_free(&p.body);
}

/* A dump with a blob table given as bytes; the sidecar is n_sidecar long. */
static fp_status
decode_table(const void *table, size_t n_table, uint64_t n_blobs,
             uint64_t n_sidecar)
{
    plan p = simple_plan();
    fp_buffer_free(&p.body);
    CHECK_OK(fp_buffer_append(&p.body, table, n_table));
    CHECK_OK(fp_buffer_append_u64(&p.body, 1));
    p.n_hashes = n_sidecar > 0 ? 2 : 1;
    if (n_sidecar > 0) {
        CHECK_OK(fp_buffer_append_u64(&p.body, 2));
    }
    p.environment_bytes = 0;
    p.n_blobs = n_blobs;
    p.blob_table_bytes = n_table;
    p.arrays_length = n_sidecar;
    p.graph_offset = 21 + n_sidecar;
    pad(&p);
    return decode_plan(&p);
}

static void
layout_bad_blob_tables(const char *directory)
{
    (void)directory;
    /* Good: one bytearray of 10 bytes at 64, memo number 0. Its entry starts
     * with 43 << 2 = 172 = 2c 01, its sidecar is 43 + 10 + 3 long. */
#define TABLE(BYTES, N_BLOBS, N_SIDECAR)                                      \
    decode_table(BYTES, sizeof(BYTES) - 1, N_BLOBS, N_SIDECAR)
    CHECK(TABLE("\xac\x01\x0a\x00", 1, 56) == FP_OK);
    CHECK(TABLE("\xad\x01\x0a\x00", 1, 56) == FP_OK);
    CHECK(TABLE("\xae\x01\x0a\x00", 1, 56) == FP_OK);
    CHECK(TABLE("\xaf\x01\x0a\x00", 1, 56) == FP_CORRUPT); /* kind 3 */
    CHECK(TABLE("\xac\x01\x00\x00", 1, 46) == FP_OK);      /* empty */

    /* Longer than need be. */
    CHECK(TABLE("\xac\x81\x00\x0a\x00", 1, 56) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x8a\x00\x00", 1, 56) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x0a\x80\x00", 1, 56) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x8a\x80\x80\x80\x80\x80\x80\x80\x80\x00\x00", 1, 56)
          == FP_CORRUPT);
    /* Longer than 64 bits. */
    CHECK(TABLE("\xac\x01\x8a\x80\x80\x80\x80\x80\x80\x80\x80\x02\x00", 1, 56)
          == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x8a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x00", 1,
                56)
          == FP_CORRUPT);
    /* Cut. */
    CHECK(TABLE("\xac\x01\x0a\x80", 1, 56) == FP_CORRUPT);
    CHECK(TABLE("\xac\x81\x8a\x80", 1, 56) == FP_CORRUPT);
    /* Too few blobs announced, or too many. */
    CHECK(TABLE("\xac\x01\x0a\x00", 0, 56) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x0a\x00", 2, 56) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x0a\x00\x00\x00\x00", 2, 56) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x0a\x00", UINT64_MAX, 56) == FP_CORRUPT);
    CHECK(TABLE("", 1, 0) == FP_CORRUPT);
    CHECK(TABLE("", 0, 0) == FP_OK);
    CHECK(TABLE("", 0, 56) == FP_CORRUPT);
    /* Misaligned, aligned elsewhere, beyond the sidecar. */
    CHECK(TABLE("\xb0\x01\x0a\x00", 1, 56) == FP_CORRUPT);
    CHECK(TABLE("\xac\x03\x0a\x00", 1, 120) == FP_CORRUPT);
    CHECK(TABLE("\x00\x0a\x00", 1, 56) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x0b\x00", 1, 56) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x0a\x00", 1, 55) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x0a\x00", 1, 57) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x0a\x00", 1, 40) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", 1, 56)
          == FP_CORRUPT);
    CHECK(TABLE("\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x01\x0a\x00", 1, 56)
          == FP_CORRUPT);
    /* Memo numbers: -1, the largest, one more, the smallest delta. */
    CHECK(TABLE("\xac\x01\x0a\x01", 1, 56) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x0a\xfe\xff\xff\xff\x1f", 1, 59) == FP_OK);
    CHECK(TABLE("\xac\x01\x0a\x80\x80\x80\x80\x20", 1, 59) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x0a\xff\xff\xff\xff\x1f", 1, 59) == FP_CORRUPT);
    CHECK(TABLE("\xac\x01\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 1, 59)
          == FP_CORRUPT);
#undef TABLE
}

static void
layout_blob_frames(const char *directory)
{
    (void)directory;
    random_source source = {35};
    const unsigned char opcodes[] = {0x96, 0x8e, 0x8d};
    for (uint64_t position = 0; position < 500; position++) {
        for (int kind = 0; kind < 3; kind++) {
            unsigned char out[FP_BLOB_PREFIX_MAX + 1];
            out[FP_BLOB_PREFIX_MAX] = 0xa5;
            uint64_t length = random_u64(&source);
            size_t n_bytes = fp_blob_prefix_encode(out, position,
                                                   (fp_blob_kind)kind, length);
            CHECK(n_bytes <= FP_BLOB_PREFIX_MAX);
            CHECK(out[FP_BLOB_PREFIX_MAX] == 0xa5);
            CHECK((position + n_bytes) % FP_ALIGN == 0);
            size_t n_padding = n_bytes - 12;
            CHECK(n_padding < FP_ALIGN);
            CHECK(out[0] == 0x43 && out[1] == n_padding);
            for (size_t i = 0; i < n_padding; i++) {
                CHECK(out[2 + i] == 0);
            }
            CHECK(out[2 + n_padding] == 0x30);
            CHECK(out[3 + n_padding] == opcodes[kind]);
            for (size_t i = 0; i < 8; i++) {
                CHECK(out[4 + n_padding + i]
                      == (unsigned char)(length >> 8 * i));
            }
        }
    }
    unsigned char suffix[FP_BLOB_SUFFIX_MAX];
    CHECK(fp_blob_suffix_encode(suffix, 0) == 3);
    CHECK(memcmp(suffix, "q\0000", 3) == 0);
    CHECK(fp_blob_suffix_encode(suffix, 255) == 3);
    CHECK(memcmp(suffix,
                 "q\xff"
                 "0",
                 3)
          == 0);
    CHECK(fp_blob_suffix_encode(suffix, 256) == 6);
    CHECK(memcmp(suffix, "r\0\1\0\0000", 6) == 0);
    CHECK(fp_blob_suffix_encode(suffix, UINT32_MAX) == 6);
    CHECK(memcmp(suffix,
                 "r\xff\xff\xff\xff"
                 "0",
                 6)
          == 0);
}

/* Random bytes in the place of table and body, under a right hash. */
static void
layout_random_bodies(const char *directory)
{
    (void)directory;
    random_source source = {36};
    for (int round = 0; round < 20000; round++) {
        unsigned char table[64];
        size_t n_table = random_below(&source, sizeof(table));
        for (size_t i = 0; i < n_table; i++) {
            table[i] = random_below(&source, 3)
                           ? (unsigned char)random_below(&source, 4)
                           : (unsigned char)random_u64(&source);
        }
        if (n_table > 2) {
            table[0] = 0xac; /* a right first gap, mostly */
            table[1] = 0x01;
        }
        (void)decode_table(table, n_table, random_below(&source, 8),
                           random_below(&source, 600));
    }
}

const test_case layout_tests[] = {
    {"layout_round_trip", layout_round_trip},
    {"layout_encodes_as_specified", layout_encodes_as_specified},
    {"layout_every_flip_is_refused", layout_every_flip_is_refused},
    {"layout_every_cut_is_refused", layout_every_cut_is_refused},
    {"layout_tail_extremes", layout_tail_extremes},
    {"layout_no_room_for_a_sidecar_file", layout_no_room_for_a_sidecar_file},
    {"layout_forged_fields", layout_forged_fields},
    {"layout_bad_blob_tables", layout_bad_blob_tables},
    {"layout_blob_frames", layout_blob_frames},
    {"layout_random_bodies", layout_random_bodies},
    {NULL, NULL},
};
