/* The loop over opcodes. */
#include "survey_parts.h"

/* Text up to here is looked at in the loop. */
#define SHORT_TEXT 255

static const struct {
    uint8_t argument; /* fp_argument */
    uint8_t protocol;
    uint8_t is_known;
} opcodes[256] = {
#define X(name, code, argument, protocol, pops, pushes)                       \
    [code] = {FP_ARGUMENT_##argument, protocol, 1},
    FP_OPCODES(X)
#undef X
};

/* --- opcodes ------------------------------------------------------------ */

static int
load_pop(fp_survey_run_state *run)
{
    size_t height = fp_height(run);
    fp_survey_mark mark;

    if (run->marks.n > run->first_mark && run->fence == height) {
        return fp_take_value_mark(run, &mark);
    }
    if (height <= run->fence) {
        return fp_value_underflow(run);
    }
    fp_odd(run, FP_ODD_POP, run->place - 1);
    return fp_drop_values(run, height - 1, run->place - 1);
}

static int
load_pop_mark(fp_survey_run_state *run)
{
    fp_survey_mark mark;

    if (fp_take_value_mark(run, &mark) < 0) {
        return -1;
    }
    if ((size_t)mark.index < fp_height(run)) {
        fp_odd(run, FP_ODD_POP, run->place - 1);
    }
    return fp_drop_values(run, (size_t)mark.index, run->place - 1);
}

/* The copy is a value of one byte, without what hangs on the other one. */
static int
load_dup(fp_survey_run_state *run, uint64_t place)
{
    const fp_value *value;
    uint64_t head, tail;
    unsigned flags;

    if (fp_height(run) <= run->fence) {
        return fp_value_underflow(run);
    }
    value = run->top - 1;
    fp_odd(run, FP_ODD_DUP, place);
    flags = fp_flags_of(value->head);
    tail = value->tail;
    if (fp_kind_of(value->head) == FP_VALUE_STR && !(flags & FP_HAS_ORIGIN)) {
        tail = fp_place_of(value->head);
        flags |= FP_HAS_ORIGIN;
    }
    else if (!(flags & FP_HAS_ORIGIN)) {
        tail |= FP_NO_TAIL; /* no node */
    }
    flags &= FP_IS_UNHASHABLE | FP_IS_GROWN | FP_HAS_ORIGIN;
    flags |= FP_IS_COPY;
    if (fp_kind_of(value->head) == FP_VALUE_GLOBAL) {
        flags |= FP_IS_NOTABLE;
    }
    head = place | FP_HEAD(fp_kind_of(value->head), flags);
    return fp_push_value(run, head, tail);
}

static int
load_next_buffer(fp_survey_run_state *run, uint64_t place)
{
    fp_survey *survey = run->survey;

    if (fp_is_full(survey->n_buffers) || FP_ROWS_ROOM(run->buffers) < 0) {
        return -1;
    }
    run->buffers.rows[run->buffers.n++] = place;
    survey->n_undecided++;
    if (!survey->options.has_second_file) {
        fp_odd(run, FP_ODD_BUFFER, place);
    }
    return fp_push_value(run, place | FP_HEAD(FP_VALUE_BUFFER, 0),
                         FP_NO_TAIL | (uint64_t)survey->n_buffers++ << 32);
}

/* Opcodes whose argument has a fixed length, other than those of the loop. */
static int
load_fixed(fp_survey_run_state *run, unsigned char opcode, uint64_t place)
{
    fp_survey *survey = run->survey;
    size_t width = fp_argument_width((fp_argument)opcodes[opcode].argument);
    uint64_t number;

    if (fp_source_need(run, width) < 0) {
        return -1;
    }
    number = fp_le(survey->skeleton + run->place, width);
    run->place += width;
    switch (opcode) {
    case OP_FRAME:
        return fp_source_frame(run, number);
    case OP_PROTO:
        if (number > 5) {
            PyErr_Format(PyExc_ValueError, "unsupported pickle protocol: %d",
                         (int)number);
            return -1;
        }
        if (place != run->first_place || survey->options.is_ours) {
            fp_odd(run, FP_ODD_PROTOCOL_AGAIN, place);
        }
        run->protocol = (int)number;
        if (run->protocol > survey->protocol) {
            survey->protocol = run->protocol;
        }
        return fp_source_proto(run);
    case OP_EXT4:
        return fp_do_extension(run, place, (int32_t)(uint32_t)number);
    default: /* EXT1, EXT2 */
        return fp_do_extension(run, place, (int64_t)number);
    }
}

static int
load_readonly_buffer(fp_survey_run_state *run)
{
    if (fp_height(run) <= run->fence) {
        return fp_value_underflow(run);
    }
    run->survey->n_undecided++;
    return 0;
}

static int
invalid_key(const fp_survey_run_state *run, unsigned char opcode)
{
    int is_shown =
        opcode >= 0x20 && opcode <= 0x7e && opcode != '\'' && opcode != '\\';

    PyErr_Format(run->survey->state->unpickling_error,
                 is_shown ? "invalid load key, '%c'."
                          : "invalid load key, '\\x%02x'.",
                 opcode);
    return -1;
}

static void
look_at_protocols(fp_survey_run_state *run, uint64_t place)
{
    int latest = 0;

    for (int i = 0; i < 256; i++) {
        if (run->used[i] && opcodes[i].protocol > latest) {
            latest = opcodes[i].protocol;
        }
    }
    if (latest > run->survey->protocol
        && (latest > 1 || run->survey->protocol > 1))
    {
        fp_odd(run, FP_ODD_LATER_PROTOCOL, place);
    }
}

static void
look_at_memo(fp_survey_run_state *run, uint64_t place)
{
    const fp_survey_memo *memo = &run->memo;

    if (memo->n_filled > 0 && memo->highest >= memo->n_filled) {
        fp_odd(run, FP_ODD_MEMO_GAP, place);
        if (run->survey->odd[FP_ODD_MEMO_GAP] != NULL) {
            run->survey->odd[FP_ODD_MEMO_GAP]->count +=
                memo->highest - memo->n_filled;
        }
    }
}

/* joblib's wrapper elsewhere than in the hands of what makes an instance of it:
 * nobody knows which instances there are, and so which bytes are an array's. */
static void
look_at_wrappers(fp_survey_run_state *run, uint64_t place)
{
    const fp_survey *survey = run->survey;
    uint64_t n_arguments = 0;

    for (size_t i = 0; i < survey->n_globals; i++) {
        if (survey->globals[i].role == FP_ROLE_WRAPPER) {
            n_arguments += survey->globals[i].n_argument;
        }
    }
    if (n_arguments > run->n_wrappers) {
        fp_odd(run, FP_ODD_WRAPPER, place);
    }
}

/* The end of a stream: 1 where it was the outermost one. */
static int
load_stop(fp_survey_run_state *run, uint64_t place)
{
    fp_survey *survey = run->survey;

    if (survey->options.is_ours) {
        if (run->marks.n > 0 || fp_height(run) != 1) {
            return fp_survey_refuse(run,
                                    "the graph does not leave one object");
        }
    }
    else {
        if (fp_height(run) <= run->fence) {
            return fp_value_underflow(run);
        }
        if (run->marks.n > run->first_mark || fp_height(run) - run->floor != 1)
        {
            fp_odd(run, FP_ODD_LEFT_ON_STACK, place);
        }
        if (run->frame_end != FP_NO_FRAME && run->frame_end != run->place) {
            fp_odd(run, FP_ODD_STOP_IN_FRAME, place);
            if (fp_source_stop(run) < 0) {
                return -1;
            }
        }
    }
    look_at_memo(run, place);
    if (run->contexts.n > 0) {
        return fp_leave_context(run);
    }
    look_at_protocols(run, place);
    survey->is_complete = 1;
    survey->sums.stop = !survey->options.is_ours;
    if (fp_finish_tree(run) < 0) {
        return -1;
    }
    look_at_wrappers(run, place);
    return 1;
}

/* --- the loop ------------------------------------------------------------ */

/* Locals to the run, the run to locals. */
#define SYNC()                                                                \
    do {                                                                      \
        run->place = (uint64_t)(p - base);                                    \
        run->top = top;                                                       \
    } while (0)
#define RELOAD()                                                              \
    do {                                                                      \
        base = survey->skeleton;                                              \
        p = base + run->place;                                                \
        end = base + run->visible;                                            \
        top = run->top;                                                       \
        limit = run->stack_end;                                               \
        floor = run->stack + run->fence;                                      \
    } while (0)
#define CALL(call)                                                            \
    do {                                                                      \
        SYNC();                                                               \
        if ((call) < 0) {                                                     \
            goto failed;                                                      \
        }                                                                     \
        RELOAD();                                                             \
    } while (0)
/* n bytes at p */
#define NEED(n)                                                               \
    do {                                                                      \
        if ((size_t)(end - p) < (size_t)(n)) {                                \
            uint64_t started = PLACE;                                         \
            CALL(fp_source_need(run, (n)));                                   \
            start = base + started;                                           \
        }                                                                     \
    } while (0)
#define PLACE ((uint64_t)(start - base))
/* A leaf that begins with this opcode. */
#define PUSH(kind, flags)                                                     \
    do {                                                                      \
        if (top == limit) {                                                   \
            CALL(fp_push_value(run, PLACE | FP_HEAD(kind, flags),             \
                               FP_NO_TAIL));                                  \
        }                                                                     \
        else {                                                                \
            top->head = PLACE | FP_HEAD(kind, flags);                         \
            top->tail = FP_NO_TAIL;                                           \
            top++;                                                            \
        }                                                                     \
    } while (0)

int
fp_survey_opcodes(fp_survey_run_state *run)
{
    fp_survey *survey = run->survey;
    const unsigned char *base, *p, *end, *start;
    fp_value *top, *limit, *floor;
    uint64_t n_opcodes = 0, number;
    int status = -1;

    run->visible = run->place;
    RELOAD();
    for (;;) {
        unsigned char opcode;

        if (p == end) {
            SYNC();
            status = fp_source_opcode(run);
            if (status != 0) {
                if (status > 0) {
                    status = load_stop(run, run->place);
                }
                goto done;
            }
            RELOAD();
        }
        start = p;
        opcode = *p++;
        n_opcodes++;
        run->used[opcode] = 1;
        switch (opcode) {
        case OP_NONE:
            PUSH(FP_VALUE_NONE, 0);
            break;
        case OP_NEWTRUE:
        case OP_NEWFALSE:
            PUSH(FP_VALUE_BOOL, 0);
            break;
        case OP_BININT1:
            NEED(1);
            p += 1;
            PUSH(FP_VALUE_INT, 0);
            break;
        case OP_BININT2:
            NEED(2);
            p += 2;
            PUSH(FP_VALUE_INT, 0);
            break;
        case OP_BININT:
            NEED(4);
            p += 4;
            PUSH(FP_VALUE_INT, 0);
            break;
        case OP_BINFLOAT:
            NEED(8);
            p += 8;
            PUSH(FP_VALUE_FLOAT, 0);
            break;
        case OP_SHORT_BINUNICODE:
            if (end - p >= 1 && end - p > p[0]
                && fp_is_short_ascii(p + 1, p[0]))
            {
                p += 1 + p[0];
                PUSH(FP_VALUE_STR, 0);
                break;
            }
            CALL(fp_do_counted(run, opcode,
                               (fp_argument)opcodes[opcode].argument, PLACE));
            break;
        case OP_BINUNICODE:
            if (end - p >= 4 && fp_le(p, 4) <= SHORT_TEXT
                && end - p >= 4 + (ptrdiff_t)p[0]
                && fp_is_short_ascii(p + 4, p[0]))
            {
                p += 4 + p[0];
                PUSH(FP_VALUE_STR, 0);
                break;
            }
            CALL(fp_do_counted(run, opcode,
                               (fp_argument)opcodes[opcode].argument, PLACE));
            break;
        case OP_SHORT_BINBYTES:
            if (end - p >= 1 && end - p > p[0]) {
                p += 1 + p[0];
                PUSH(FP_VALUE_BYTES, 0);
                break;
            }
            CALL(fp_do_counted(run, opcode,
                               (fp_argument)opcodes[opcode].argument, PLACE));
            break;

        case OP_BINGET:
            NEED(1);
            number = p[0];
            p += 1;
            CALL(fp_fetch(run, number, PLACE));
            break;
        case OP_LONG_BINGET:
            NEED(4);
            number = fp_le(p, 4);
            p += 4;
            CALL(fp_fetch(run, number, PLACE));
            break;
        case OP_BINPUT:
            NEED(1);
            number = p[0];
            p += 1;
            goto put;
        case OP_LONG_BINPUT:
            NEED(4);
            number = fp_le(p, 4);
            p += 4;
            goto put;
        case OP_MEMOIZE:
            number = run->memo.n_filled;
put:
            if (top <= floor) {
                goto underflow;
            }
            CALL(fp_remember(run, number));
            break;

        case OP_MARK:
            CALL(fp_push_mark(run));
            break;
        case OP_EMPTY_TUPLE:
            PUSH(FP_VALUE_TUPLE, 0);
            break;
        case OP_EMPTY_LIST:
            PUSH(FP_VALUE_LIST, FP_IS_UNHASHABLE);
            break;
        case OP_EMPTY_DICT:
            PUSH(FP_VALUE_DICT, FP_IS_UNHASHABLE);
            break;
        case OP_EMPTY_SET:
            PUSH(FP_VALUE_SET, FP_IS_UNHASHABLE);
            break;
        case OP_TUPLE1:
        case OP_TUPLE2:
        case OP_TUPLE3:
            CALL(fp_do_short_tuple(run, (size_t)(opcode - OP_TUPLE1) + 1));
            break;
        case OP_TUPLE:
        case OP_LIST:
        case OP_DICT:
        case OP_FROZENSET:
            CALL(fp_do_marked(run, opcode));
            break;
        case OP_APPENDS:
        case OP_SETITEMS:
        case OP_ADDITEMS:
            CALL(fp_do_items(run, opcode));
            break;
        case OP_APPEND:
            CALL(fp_do_item(run, 1));
            break;
        case OP_SETITEM:
            CALL(fp_do_item(run, 2));
            break;
        case OP_POP:
            CALL(load_pop(run));
            break;
        case OP_POP_MARK:
            CALL(load_pop_mark(run));
            break;
        case OP_DUP:
            CALL(load_dup(run, PLACE));
            break;

        case OP_STACK_GLOBAL:
            CALL(fp_stack_global(run, PLACE));
            break;
        case OP_GLOBAL: {
            uint64_t place = PLACE;
            uint32_t global;
            CALL(fp_global_of_lines(run, 0, &global));
            CALL(fp_push_value(run,
                               place | FP_HEAD(FP_VALUE_GLOBAL, FP_IS_NOTABLE),
                               FP_NO_TAIL | (uint64_t)global << 32));
            break;
        }
        case OP_REDUCE:
            CALL(fp_do_reduce(run));
            break;
        case OP_BUILD:
            CALL(fp_do_build(run));
            break;
        case OP_NEWOBJ:
            CALL(fp_do_newobj(run, 0));
            break;
        case OP_NEWOBJ_EX:
            CALL(fp_do_newobj(run, 1));
            break;
        case OP_INST:
            CALL(fp_do_inst(run, PLACE));
            break;
        case OP_OBJ:
            CALL(fp_do_obj(run));
            break;
        case OP_PERSID:
        case OP_BINPERSID:
            CALL(fp_do_persistent(run, PLACE, opcode == OP_BINPERSID));
            break;
        case OP_NEXT_BUFFER:
            CALL(load_next_buffer(run, PLACE));
            break;
        case OP_READONLY_BUFFER:
            CALL(load_readonly_buffer(run));
            break;
        case OP_STOP:
            SYNC();
            if (survey->options.is_ours) {
                fp_survey_refuse(run, "STOP inside the graph");
                goto failed;
            }
            status = load_stop(run, PLACE);
            if (status != 0) {
                goto done;
            }
            RELOAD();
            break;
        default:
            switch (opcodes[opcode].is_known ? opcodes[opcode].argument
                                             : UINT8_MAX)
            {
            case FP_ARGUMENT_COUNT_1:
            case FP_ARGUMENT_COUNT_4:
            case FP_ARGUMENT_COUNT_8:
                CALL(fp_do_counted(run, opcode,
                                   (fp_argument)opcodes[opcode].argument,
                                   PLACE));
                break;
            case FP_ARGUMENT_LINE:
                CALL(fp_do_line(run, opcode, PLACE));
                break;
            case FP_ARGUMENT_1:
            case FP_ARGUMENT_2:
            case FP_ARGUMENT_4:
            case FP_ARGUMENT_8:
                CALL(load_fixed(run, opcode, PLACE));
                break;
            default:
                SYNC();
                run->place--;
                invalid_key(run, opcode);
                goto failed;
            }
            break;
underflow:
            SYNC();
            fp_value_underflow(run);
            goto failed;
        }
    }
failed:
    status = -1;
done:
    survey->n_opcodes = n_opcodes;
    return status;
}
