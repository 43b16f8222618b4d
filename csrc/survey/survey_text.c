/* Whether text is UTF-8, and whether lines are numbers. */
#include "survey_parts.h"

/* Numbers of more digits are left undecided: Python has a limit of its own. */
#define MANY_DIGITS 4000

/* --- UTF-8 --------------------------------------------------------------- */

/* How long the character is that starts with this byte; 0: none does. */
static unsigned
length_of(unsigned char first)
{
    return first < 0x80                     ? 1
           : first >= 0xc2 && first <= 0xdf ? 2
           : first >= 0xe0 && first <= 0xef ? 3
           : first >= 0xf0 && first <= 0xf4 ? 4
                                            : 0;
}

static int
is_character(const unsigned char *c, unsigned n_bytes, int surrogates)
{
    for (unsigned i = 1; i < n_bytes; i++) {
        if ((c[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    switch (c[0]) {
    case 0xe0:
        return c[1] >= 0xa0;
    case 0xed:
        return surrogates || c[1] < 0xa0;
    case 0xf0:
        return c[1] >= 0x90;
    case 0xf4:
        return c[1] < 0x90;
    default:
        return 1;
    }
}

int
fp_utf8_feed(fp_utf8_state *state, const unsigned char *text, size_t n_bytes,
             int surrogates)
{
    const unsigned char *end = text + n_bytes;

    while (state->n_bytes > 0 && text < end) { /* the rest of a character */
        unsigned length = length_of(state->bytes[0]);
        state->bytes[state->n_bytes++] = *text++;
        if (state->n_bytes == length) {
            if (!is_character(state->bytes, length, surrogates)) {
                return 0;
            }
            state->n_bytes = 0;
        }
    }
    while (text < end) {
        unsigned length;
        uint64_t word;
        if (end - text >= 8) {
            memcpy(&word, text, 8);
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                text += 8;
                continue;
            }
        }
        length = length_of(*text);
        if (length == 0) {
            return 0;
        }
        if ((size_t)(end - text) < length) {
            while (text < end) {
                state->bytes[state->n_bytes++] = *text++;
            }
            return 1;
        }
        if (!is_character(text, length, surrogates)) {
            return 0;
        }
        text += length;
    }
    return 1;
}

int
fp_is_utf8(const unsigned char *text, size_t n_bytes, int surrogates)
{
    fp_utf8_state state = {.n_bytes = 0};

    return fp_utf8_feed(&state, text, n_bytes, surrogates)
           && state.n_bytes == 0;
}

size_t
fp_whole_characters(const unsigned char *text, size_t n_bytes)
{
    size_t first = n_bytes;

    while (first > 0 && n_bytes - first < 3
           && (text[first - 1] & 0xc0) == 0x80)
    {
        first--;
    }
    if (first > 0) {
        first--;
    }
    return first + length_of(text[first]) == n_bytes ? n_bytes : first;
}

/* --- UNICODE ------------------------------------------------------------- */

/* 16: no hexadecimal digit. */
static unsigned
hex_digit(unsigned char c)
{
    return c >= '0' && c <= '9'   ? (unsigned)(c - '0')
           : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
           : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                  : 16;
}

static int
hex_of(const unsigned char *digits, size_t n, uint32_t *character)
{
    *character = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned digit = hex_digit(digits[i]);
        if (digit == 16) {
            return 0;
        }
        *character = *character << 4 | digit;
    }
    return *character <= 0x10ffff;
}

static size_t
encode(uint32_t c, unsigned char *out)
{
    if (c < 0x80) {
        out[0] = (unsigned char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (unsigned char)(0xc0 | c >> 6);
        out[1] = (unsigned char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (unsigned char)(0xe0 | c >> 12);
        out[1] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (unsigned char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (unsigned char)(0xf0 | c >> 18);
    out[1] = (unsigned char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (unsigned char)(0x80 | (c & 0x3f));
    return 4;
}

/* Latin-1, with the escapes \u and \U where the backslash is not itself behind
 * one. Each character takes at most twice the bytes of its spelling. */
int
fp_decode_raw_unicode(fp_survey_run_state *run, const unsigned char *line,
                      size_t n_bytes)
{
    const unsigned char *end = line + n_bytes;
    unsigned char *out;

    if (fp_rows_grow(&run->decoded.rows, &run->decoded.capacity,
                     2 * n_bytes + 8, 1)
        < 0)
    {
        return -1;
    }
    out = run->decoded.rows;
    while (line < end) {
        uint32_t c = *line++;
        if (c == '\\' && line < end) {
            size_t n = *line == 'u' ? 4 : *line == 'U' ? 8 : 0;
            if (n == 0) {
                *out++ = '\\';
                c = *line++;
            }
            else {
                if ((size_t)(end - line) <= n || !hex_of(line + 1, n, &c)) {
                    return 0;
                }
                line += 1 + n;
            }
        }
        out += encode(c, out);
    }
    run->decoded.n = (size_t)(out - run->decoded.rows);
    return 1;
}

/* --- numbers ------------------------------------------------------------- */

static int
is_space(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int
is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static int
no_number(const char *kind)
{
    PyErr_Format(PyExc_ValueError, "could not convert string to %s", kind);
    return -1;
}

/* A line of decimal digits, as pickle writes it; of LONG with an L behind. What
 * else Python takes (bases, underscores, white space) is left undecided. */
int
fp_check_int_line(const unsigned char *line, size_t n_bytes, int is_long)
{
    size_t i = 0, n = n_bytes;

    if (is_long && n > 0 && line[n - 1] == 'L') {
        n--;
    }
    if (i < n && line[i] == '-') {
        i++;
    }
    if (i < n && n - i <= MANY_DIGITS
        && (line[i] != '0' || n - i == 1
            || (!is_long && n == 2 && line[0] == '0'
                && (line[1] == '0' || line[1] == '1'))))
    {
        while (i < n && is_digit(line[i])) {
            i++;
        }
        if (i == n) {
            return 1;
        }
    }
    if (!is_long && n > 0 && line[0] == '\0') {
        return 0; /* strtol() takes nothing for 0 */
    }
    /* Whatever its base is, it begins with a digit. */
    for (i = 0; i < n && is_space(line[i]); i++) {
    }
    if (i < n && (line[i] == '-' || line[i] == '+')) {
        i++;
    }
    if (i == n || !is_digit(line[i])) {
        return no_number("int");
    }
    for (; i < n && line[i] != '\0'; i++) {
        if (hex_digit(line[i]) == 16 && !is_space(line[i])
            && memchr("_xXoO", line[i], 5) == NULL)
        {
            return no_number("int");
        }
    }
    return 0;
}

static size_t
skip_digits(const unsigned char *line, size_t i, size_t n_bytes)
{
    while (i < n_bytes && is_digit(line[i])) {
        i++;
    }
    return i;
}

/* As repr() has it: digits, a point, an exponent that no float is too small for;
 * inf and nan. */
static int
is_plain_float(const unsigned char *line, size_t n_bytes)
{
    size_t first = n_bytes > 0 && line[0] == '-';
    size_t i = skip_digits(line, first, n_bytes);

    if (i == first) {
        return n_bytes - first == 3
               && (memcmp(line + first, "inf", 3) == 0
                   || memcmp(line + first, "nan", 3) == 0);
    }
    if (i < n_bytes && line[i] == '.') {
        i = skip_digits(line, i + 1, n_bytes);
    }
    if (i < n_bytes && line[i] == 'e') {
        first = ++i;
        if (i < n_bytes && (line[i] == '-' || line[i] == '+')) {
            first = ++i;
        }
        i = skip_digits(line, i, n_bytes);
        if (i == first || i - first > 3) {
            return 0;
        }
        if (i - first == 3 && line[first - 1] != '-'
            && memcmp(line + first, "308", 3) >= 0)
        {
            return 0; /* perhaps too large */
        }
    }
    return i == n_bytes && n_bytes <= MANY_DIGITS;
}

int
fp_check_float_line(const unsigned char *line, size_t n_bytes)
{
    if (is_plain_float(line, n_bytes)) {
        return 1;
    }
    for (size_t i = 0; i < n_bytes && line[i] != '\0'; i++) {
        if (!is_digit(line[i])
            && memchr("+-.eEinfatyINFATY", line[i], 17) == NULL)
        {
            return no_number("float");
        }
    }
    return n_bytes > 0 && line[0] != '\0' ? 0 : no_number("float");
}

/* As PyLong_FromString() with base 10 has it: white space around, a sign, single
 * underscores between digits, and the end at a NUL. */
int
fp_number_of_line(const unsigned char *line, size_t n_bytes, int64_t *number)
{
    size_t i = 0;
    int is_negative = 0, is_digit_before = 0, is_over = 0;
    uint64_t value = 0;

    while (i < n_bytes && is_space(line[i])) {
        i++;
    }
    if (i < n_bytes && (line[i] == '-' || line[i] == '+')) {
        is_negative = line[i++] == '-';
    }
    for (; i < n_bytes; i++) {
        if (is_digit(line[i])) {
            is_over |= value > (uint64_t)PY_SSIZE_T_MAX / 10;
            value = is_over ? value : value * 10 + (line[i] - '0');
            is_digit_before = 1;
        }
        else if (line[i] == '_' && is_digit_before) {
            is_digit_before = 0;
        }
        else {
            break;
        }
    }
    if (!is_digit_before) {
        return no_number("int");
    }
    while (i < n_bytes && is_space(line[i])) {
        i++;
    }
    if (i < n_bytes && line[i] != '\0') {
        return no_number("int");
    }
    if (is_over || value > (uint64_t)PY_SSIZE_T_MAX) {
        PyErr_SetString(PyExc_OverflowError,
                        "Python int too large to convert to C ssize_t");
        return -1;
    }
    *number = is_negative ? -(int64_t)value : (int64_t)value;
    return 0;
}
