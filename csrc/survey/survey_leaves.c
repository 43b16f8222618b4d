/* Leaves: text, bytes and numbers that the loop does not push itself, and the
 * opcodes of protocol 0, whose argument is a line. */
#include "survey_parts.h"

/* A leaf whose bytes are done with; from FP_SURVEY_LEAF_BYTES on it has a
 * record. */
static int
push_bytes(fp_survey_run_state *run, uint64_t place, fp_value_kind kind,
           uint64_t n_bytes, uint64_t first, uint32_t payload)
{
    unsigned flags = kind == FP_VALUE_BYTEARRAY ? FP_IS_UNHASHABLE : 0;

    if (n_bytes >= FP_SURVEY_LEAF_BYTES) {
        fp_survey_leaf leaf = {
            .offset = fp_survey_offset(run->survey, first),
            .n_bytes = n_bytes,
            .node = FP_SURVEY_NONE,
            .payload = payload,
            .kind = (uint8_t)kind,
            .stored = payload == FP_SURVEY_NONE ? FP_STORED_INLINE
                                                : FP_STORED_PAYLOAD,
        };
        if (payload != FP_SURVEY_NONE) {
            leaf.offset = run->survey->payloads[payload].offset;
        }
        return fp_push_leaf(run, place, kind, &leaf);
    }
    if (n_bytes >= FP_SURVEY_CONTAINER_BYTES) {
        flags |= FP_IS_NOTABLE | FP_IS_LARGE;
    }
    return fp_push_value(run, place | FP_HEAD(kind, flags), FP_NO_TAIL);
}

/* Opcodes with a length in front of what they hold. */
int
fp_do_counted(fp_survey_run_state *run, unsigned char opcode,
              fp_argument argument, uint64_t place)
{
    fp_survey *survey = run->survey;
    size_t width = fp_argument_width(argument);
    uint64_t n_bytes, first;
    uint32_t payload;
    fp_value_kind kind;

    if (fp_source_need(run, width) < 0) {
        return -1;
    }
    n_bytes = fp_le(survey->skeleton + run->place, width);
    run->place += width;
    switch (opcode) {
    case OP_SHORT_BINUNICODE:
    case OP_BINUNICODE:
    case OP_BINUNICODE8:
        kind = FP_VALUE_STR;
        break;
    case OP_SHORT_BINBYTES:
    case OP_BINBYTES:
    case OP_BINBYTES8:
        kind = FP_VALUE_BYTES;
        break;
    case OP_BYTEARRAY8:
        kind = FP_VALUE_BYTEARRAY;
        break;
    case OP_LONG4:
        if (n_bytes > INT32_MAX) {
            return fp_survey_refuse(run,
                                    "LONG pickle has negative byte count");
        }
        /* fall through */
    case OP_LONG1:
        kind = FP_VALUE_INT;
        break;
    default: /* BINSTRING, SHORT_BINSTRING */
        if (n_bytes > INT32_MAX) {
            return fp_survey_refuse(
                run, "BINSTRING pickle has negative byte count");
        }
        kind = FP_VALUE_OLD_STR;
        fp_odd(run, FP_ODD_OLD_STR, place);
    }
    first = run->place;
    if (fp_source_take(run, n_bytes, kind == FP_VALUE_STR, &payload) < 0) {
        return -1;
    }
    if (kind == FP_VALUE_INT) {
        return fp_push_value(
            run,
            place
                | FP_HEAD(kind, n_bytes >= FP_SURVEY_CONTAINER_BYTES
                                    ? FP_IS_NOTABLE | FP_IS_LARGE
                                    : 0),
            FP_NO_TAIL);
    }
    if (kind == FP_VALUE_OLD_STR
        && (payload != FP_SURVEY_NONE
            || !fp_is_short_ascii(survey->skeleton + first, (size_t)n_bytes)))
    {
        survey->n_undecided++; /* whether it can be decoded */
    }
    return push_bytes(run, place, kind, n_bytes, first, payload);
}

/* Opcodes whose argument is a line. */
int
fp_do_line(fp_survey_run_state *run, unsigned char opcode, uint64_t place)
{
    fp_survey *survey = run->survey;
    uint64_t start, n_bytes;
    const unsigned char *line;
    int64_t number;
    int status = 1;

    if (opcode == OP_PUT && fp_height(run) <= run->fence) {
        return fp_value_underflow(run);
    }
    if (fp_source_line(run, &start, &n_bytes) < 0) {
        return -1;
    }
    line = survey->skeleton + start;
    if (n_bytes == 0 && opcode != OP_UNICODE && opcode != OP_STRING) {
        return fp_survey_refuse(run, "pickle data was truncated");
    }
    switch (opcode) {
    case OP_GET:
        return fp_number_of_line(line, (size_t)n_bytes, &number) < 0
                   ? -1
                   : fp_fetch(run, (uint64_t)number, place);
    case OP_PUT:
        if (fp_number_of_line(line, (size_t)n_bytes, &number) < 0) {
            return -1;
        }
        if (number < 0) {
            PyErr_SetString(PyExc_ValueError, "negative PUT argument");
            return -1;
        }
        return fp_remember(run, (uint64_t)number);
    case OP_INT:
    case OP_LONG:
        status = fp_check_int_line(line, (size_t)n_bytes, opcode == OP_LONG);
        break;
    case OP_FLOAT:
        status = fp_check_float_line(line, (size_t)n_bytes);
        break;
    case OP_STRING:
        if (n_bytes < 2 || line[0] != line[n_bytes - 1]
            || (line[0] != '\'' && line[0] != '"'))
        {
            return fp_survey_refuse(
                run, "the STRING opcode argument must be quoted");
        }
        if (memchr(line, '\\', (size_t)n_bytes) != NULL
            || !fp_is_short_ascii(line, (size_t)n_bytes))
        {
            survey->n_undecided++;
        }
        fp_odd(run, FP_ODD_OLD_STR, place);
        return push_bytes(run, place, FP_VALUE_OLD_STR, n_bytes - 2, start + 1,
                          FP_SURVEY_NONE);
    default: /* UNICODE */
        if (memchr(line, '\\', (size_t)n_bytes) != NULL) {
            status = fp_decode_raw_unicode(run, line, (size_t)n_bytes);
            if (status == 0) {
                return fp_survey_refuse(run, "text with a wrong escape");
            }
        }
        return status < 0 ? -1
                          : push_bytes(run, place, FP_VALUE_STR, n_bytes,
                                       start, FP_SURVEY_NONE);
    }
    if (status < 0) {
        return -1;
    }
    if (status == 0) {
        fp_odd(run, FP_ODD_NUMBER, place);
        survey->n_undecided++;
    }
    if (opcode == OP_INT && n_bytes == 2 && line[0] == '0' && status > 0) {
        return fp_push_value(run, place | FP_HEAD(FP_VALUE_BOOL, 0),
                             FP_NO_TAIL);
    }
    return fp_push_value(
        run,
        place
            | FP_HEAD(opcode == OP_FLOAT ? FP_VALUE_FLOAT : FP_VALUE_INT,
                      n_bytes >= FP_SURVEY_CONTAINER_BYTES
                          ? FP_IS_NOTABLE | FP_IS_LARGE
                          : 0),
        FP_NO_TAIL);
}
