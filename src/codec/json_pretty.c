/*
 * codec/json_pretty.c - a value of a tape as rapidjson's PrettyWriter prints it (4 spaces, arrays in one
 * line); see codec/json_tape.h. Only for error texts, but those are compared byte for byte. Iterative.
 */
#include <math.h>

#include "codec/json.h"
#include "codec/json_tape.h"
#include "codec/number.h"

/* A container being printed. */
typedef struct level {
    uint32_t end;  /* index behind it */
    uint32_t done; /* values printed in it */
    uint32_t object;
    uint32_t pad;
} level;

/* Shortest digits that read back, without a point; *exponent: value = 0.d1d2d3... * 10^exponent. */
static size_t shortest(double value, char *out, int *exponent)
{
    char text[40];
    double back = 0;
    int n = 0;
    for (int precision = 0; precision < 17; precision++) {
        n = snprintf(text, sizeof text, "%.*e", precision, value);
        tn_number_read_double(text, text + n, &back);
        if (back == value)
            break;
    }
    const char *e = memchr(text, 'e', (size_t)n);
    size_t length = 0;
    for (const char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9')
            out[length++] = *p;
    int power = 0;
    for (const char *p = e + 2; *p != '\0'; p++)
        power = power * 10 + (*p - '0');
    *exponent = (e[1] == '-' ? -power : power) + 1;
    while (length > 1 && out[length - 1] == '0')
        length--;
    return length;
}

/* rapidjson/internal/dtoa.h: Prettify. */
static void print_double(double value, tn_buf *out)
{
    char digits[32];
    int point;
    if (value == 0) {
        tn_buf_z(out, signbit(value) ? "-0.0" : "0.0");
        return;
    }
    if (signbit(value))
        tn_buf_char(out, '-');
    size_t n = shortest(fabs(value), digits, &point);
    if (point >= (int)n && point <= 21) {
        tn_buf_append(out, digits, n);
        tn_buf_fill(out, '0', (size_t)point - n);
        tn_buf_z(out, ".0");
    } else if (point > 0 && point <= 21) {
        tn_buf_append(out, digits, (size_t)point);
        tn_buf_char(out, '.');
        tn_buf_append(out, digits + point, n - (size_t)point);
    } else if (point > -6 && point <= 0) {
        tn_buf_z(out, "0.");
        tn_buf_fill(out, '0', (size_t)-point);
        tn_buf_append(out, digits, n);
    } else {
        tn_buf_append(out, digits, 1);
        if (n > 1) {
            tn_buf_char(out, '.');
            tn_buf_append(out, digits + 1, n - 1);
        }
        tn_buf_printf(out, "e%d", point - 1);
    }
}

/*
 * Nothing for NaN and infinities: so does the original. Whole numbers beyond 64 bits are doubles to
 * rapidjson.
 */
static void print_number(const tn_tape *t, const tn_node *n, tn_buf *out)
{
    tn_str token = tn_tape_text(t, n);
    uint64_t u;
    int64_t i;
    if (!(n->flags & TN_NODE_REAL) && (tn_str_u64(token, &u) || tn_str_i64(token, &i))) {
        tn_buf_str(out, tn_str_eq(token, TN_STR("-0")) ? TN_STR("0") : token);
        return;
    }
    double value = 0;
    if (n->flags & TN_NODE_LETTERS)
        return;
    tn_number_read_double(token.ptr, token.ptr + token.len, &value);
    if (isfinite(value))
        print_double(value, out);
}

static void print_string(const tn_tape *t, const tn_node *n, tn_buf *out)
{
    tn_buf decoded;
    tn_buf_init(&decoded, n->end - n->start + 1);
    tn_tape_string(t, n, &decoded);
    tn_json_quote_raw(out, tn_buf_view(&decoded));
    tn_buf_free(&decoded);
}

static void print_scalar(const tn_tape *t, const tn_node *n, tn_buf *out)
{
    switch (n->type) {
    case TN_NODE_NULL:
        tn_buf_z(out, "null");
        break;
    case TN_NODE_FALSE:
        tn_buf_z(out, "false");
        break;
    case TN_NODE_TRUE:
        tn_buf_z(out, "true");
        break;
    case TN_NODE_STRING:
        print_string(t, n, out);
        break;
    default:
        print_number(t, n, out);
    }
}

static level *top(tn_buf *levels)
{
    return levels->len > 0 ? (level *)(void *)(levels->ptr + levels->len) - 1 : NULL;
}

static void new_line(tn_buf *levels, tn_buf *out)
{
    tn_buf_char(out, '\n');
    tn_buf_fill(out, ' ', levels->len / sizeof(level) * 4);
}

/* What stands before a key or value at this place. */
static void separate(tn_buf *levels, tn_buf *out)
{
    level *l = top(levels);
    if (l == NULL)
        return;
    if (!l->object) {
        if (l->done > 0)
            tn_buf_z(out, ", ");
    } else if (l->done % 2 == 1) {
        tn_buf_z(out, ": ");
    } else {
        if (l->done > 0)
            tn_buf_char(out, ',');
        new_line(levels, out);
    }
    l->done++;
}

static void close_finished(tn_buf *levels, uint32_t at, tn_buf *out)
{
    for (level *l; (l = top(levels)) != NULL && l->end == at;) {
        const level closed = *l;
        levels->len -= sizeof closed;
        if (closed.object && closed.done > 0)
            new_line(levels, out);
        tn_buf_char(out, closed.object ? '}' : ']');
    }
}

void tn_tape_pretty(const tn_tape *t, uint32_t i, size_t enough, tn_buf *out)
{
    uint32_t end = tn_tape_at(t, i)->next;
    tn_buf levels;
    tn_buf_init(&levels, 64u << 20);
    for (uint32_t at = i; at < end && !levels.failed && !out->failed && out->len < enough;) {
        const tn_node *n = tn_tape_at(t, at++);
        bool container = n->type == TN_NODE_OBJECT || n->type == TN_NODE_ARRAY;
        separate(&levels, out);
        if (container) {
            const level l = {.end = n->next, .object = n->type == TN_NODE_OBJECT};
            tn_buf_char(out, l.object ? '{' : '[');
            tn_buf_append(&levels, &l, sizeof l);
        } else {
            print_scalar(t, n, out);
        }
        close_finished(&levels, at, out);
    }
    tn_buf_free(&levels);
}
