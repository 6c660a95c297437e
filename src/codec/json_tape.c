/*
 * codec/json_tape.c - the parser; see codec/json_tape.h. States and errors: rapidjson/reader.h,
 * IterativeParse.
 */
#include "codec/json_tape.h"

#include "codec/number.h"

typedef struct open_container {
    uint32_t node;
    uint32_t kind; /* tn_node_type */
} open_container;

typedef enum parse_state {
    STATE_START,
    STATE_OBJECT_INITIAL,
    STATE_MEMBER_KEY,
    STATE_KEY_VALUE_DELIMITER,
    STATE_MEMBER_VALUE,
    STATE_MEMBER_DELIMITER,
    STATE_ARRAY_INITIAL,
    STATE_ELEMENT,
    STATE_ELEMENT_DELIMITER,
    STATE_DONE
} parse_state;

typedef struct parser {
    tn_tape *tape;
    const char *p; /* text's begin */
    size_t at;
    size_t len;
    parse_state state;
    int64_t depth, max_depth;
    tern_status *st;
} parser;

static const char miss_name[] = "Missing a name for object member.";
static const char miss_quote[] = "Missing a closing quotation mark in string.";
static const char bad_value[] = "Invalid value.";
static const char bad_escape[] = "Invalid escape character in string.";
static const char too_big[] = "Number too big to be stored in double.";

void tn_tape_init(tn_tape *t, tn_str text, size_t max_bytes)
{
    t->text = text;
    t->end = 0;
    tn_buf_init(&t->nodes, max_bytes);
    tn_buf_init(&t->stack, max_bytes);
}

void tn_tape_free(tn_tape *t)
{
    tn_buf_free(&t->nodes);
    tn_buf_free(&t->stack);
}

static tern_code fail_at(const parser *q, const char *what, size_t offset)
{
    return tern_fail(q->st, TERN_INVALID_ARGUMENT, "JSON Parse error: %s at offset: %zu", what, offset);
}

/* 0 at the end, as a rapidjson stream has it. */
static char peek(const parser *q)
{
    return q->at < q->len ? q->p[q->at] : '\0';
}

static void skip_blanks(parser *q)
{
    while (q->at < q->len &&
           (q->p[q->at] == ' ' || q->p[q->at] == '\n' || q->p[q->at] == '\t' || q->p[q->at] == '\r'))
        q->at++;
}

static tn_node *node_at(const parser *q, uint32_t i)
{
    return (tn_node *)(void *)q->tape->nodes.ptr + i;
}

static uint32_t n_nodes(const parser *q)
{
    return (uint32_t)(q->tape->nodes.len / sizeof(tn_node));
}

static tern_code add_node(parser *q, tn_node_type type, size_t start, size_t end, uint8_t flags)
{
    uint32_t index = n_nodes(q);
    const tn_node n = {.start = start, .end = end, .next = index + 1, .type = (uint8_t)type, .flags = flags};
    if (index < UINT32_MAX - 1)
        tn_buf_append(&q->tape->nodes, &n, sizeof n);
    if (q->tape->nodes.failed || index >= UINT32_MAX - 1)
        return tern_fail(q->st, TERN_RESOURCE_EXHAUSTED,
                         "The JSON has too many values to be read; send fewer at a time");
    return TERN_OK;
}

/* ---- scalars ---- */

static tern_code literal(parser *q, const char *rest, tn_node_type type)
{
    size_t start = q->at++;
    for (; *rest != '\0'; rest++, q->at++)
        if (peek(q) != *rest)
            return fail_at(q, bad_value, q->at);
    return add_node(q, type, start, q->at, 0);
}

static int hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'                     ? c - '0'
                : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                         : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* What is wrong with the escape behind the backslash at p; NULL when nothing. */
static const char *unescape(const char *p, const char *end, char utf8[4], size_t *length, size_t *taken)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *known = p < end && *p != '\0' ? strchr(from, *p) : NULL;
    *length = *taken = 1;
    if (known != NULL) {
        utf8[0] = to[known - from];
        return NULL;
    }
    if (p == end || *p != 'u')
        return bad_escape;
    int high = hex4(p + 1, end);
    *taken = 5;
    if (high < 0)
        return "Incorrect hex digit after \\u escape in string.";
    uint32_t c = (uint32_t)high;
    if (c >= 0xD800 && c <= 0xDBFF) {
        if (end - p < 7 || p[5] != '\\' || p[6] != 'u')
            return "The surrogate pair in string is invalid.";
        int low = hex4(p + 7, end);
        *taken = 11;
        if (low < 0)
            return "Incorrect hex digit after \\u escape in string.";
        if (low < 0xDC00 || low > 0xDFFF)
            return "The surrogate pair in string is invalid.";
        c = 0x10000 + ((c - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
    }
    *length = tn_put_utf8(utf8, c);
    return NULL;
}

size_t tn_json_unescape(const char *p, const char *end, char utf8[4], size_t *length)
{
    size_t taken;
    return unescape(p, end, utf8, length, &taken) == NULL ? taken : 0;
}

static tern_code string(parser *q)
{
    size_t start = ++q->at;
    uint8_t flags = 0;
    for (;;) {
        unsigned char c = (unsigned char)peek(q);
        if (c == '"')
            break;
        if (c == '\\') {
            char utf8[4];
            size_t length, taken;
            const char *wrong = unescape(q->p + q->at + 1, q->p + q->len, utf8, &length, &taken);
            if (wrong != NULL)
                return fail_at(q, wrong, q->at);
            flags = TN_NODE_ESCAPED;
            q->at += 1 + taken;
        } else if (c < 0x20) {
            return fail_at(q, c == 0 ? miss_quote : bad_escape, q->at);
        } else {
            q->at++;
        }
    }
    tern_code code = add_node(q, TN_NODE_STRING, start, q->at, flags);
    q->at++;
    return code;
}

static bool digit(const parser *q)
{
    return peek(q) >= '0' && peek(q) <= '9';
}

static size_t digits(parser *q)
{
    size_t from = q->at;
    while (digit(q))
        q->at++;
    return q->at - from;
}

/* Takes what is there of the word; true when it was all there. */
static bool take_word(parser *q, const char *word)
{
    while (*word != '\0' && peek(q) == *word) {
        q->at++;
        word++;
    }
    return *word == '\0';
}

/*
 * NaN, Inf, Infinity, after an optional minus. What began as NaN and is not may still go on as Inf: so it is
 * there.
 */
static tern_code special_number(parser *q, size_t start)
{
    if (!take_word(q, "NaN")) {
        if (!take_word(q, "Inf"))
            return fail_at(q, bad_value, q->at);
        if (peek(q) == 'i' && !take_word(q, "inity"))
            return fail_at(q, bad_value, q->at);
    }
    return add_node(q, TN_NODE_NUMBER, start, q->at, TN_NODE_REAL | TN_NODE_LETTERS);
}

/* ParseNumber of rapidjson 1.1.0: what it says of a number, told from its digits. */
typedef struct number_parts {
    const char *whole; /* behind the minus */
    size_t n_whole;
    size_t n_fraction;
    int64_t exponent;
    bool has_exponent;
} number_parts;

/* Whether the whole part has more than 64 bits (63 and one for a negative one). */
static bool is_wide(const number_parts *n, bool negative, uint64_t *value)
{
    if (!tn_str_u64((tn_str){n->whole, n->n_whole}, value))
        return true;
    return negative && *value > UINT64_C(1) << 63;
}

/*
 * The decimal exponent that the digits behind the point make: the original leaves out those that it does not
 * look at.
 */
static int64_t fraction_exponent(const number_parts *n, uint64_t value, bool wide)
{
    const char *p = n->whole + n->n_whole + 1, *end = p + n->n_fraction;
    const uint64_t limit = (UINT64_C(1) << 53) - 1;
    /* Digits of the whole part but the first, up to those where it goes over to floating point. */
    size_t significant = wide ? 18 : n->n_whole - 1;
    int64_t exponent = 0;
    for (; !wide && p < end && value <= limit; p++, exponent--) {
        value = value * 10 + (uint64_t)(*p - '0');
        significant += value != 0;
    }
    bool any = wide || value != 0;
    for (; p < end && significant < 17; p++, exponent--) {
        any |= *p != '0';
        significant += any;
    }
    return exponent;
}

/*
 * Whether a whole part of more than 64 bits gets over a tenth of the largest double with digits still to
 * come; its digits are summed up as the original does, with its rounding.
 */
static bool is_too_long(const number_parts *n, bool negative)
{
    const uint64_t limit = (UINT64_MAX >> negative) / 10;
    const char last = negative ? '8' : '5';
    uint64_t first = 0;
    size_t i = 0;
    while (first < limit || (first == limit && n->whole[i] <= last))
        first = first * 10 + (uint64_t)(n->whole[i++] - '0');
    double sum = (double)first;
    for (; i < n->n_whole; i++) {
        if (sum >= 1.7976931348623157e307)
            return true;
        sum = sum * 10 + (n->whole[i] - '0');
    }
    return false;
}

/*
 * "Number too big": a whole part over the largest double, or an exponent over 308, counted from the last
 * digit that was looked at. So 0e309 is too big, and 2e308 is infinite.
 */
static bool is_too_big(const number_parts *n, bool negative)
{
    uint64_t value = 0;
    bool wide = is_wide(n, negative, &value);
    if (n->n_whole > 308 && is_too_long(n, negative))
        return true;
    return n->exponent > 9 && n->exponent > 308 - fraction_exponent(n, value, wide);
}

static tern_code exponent(parser *q, int64_t *value)
{
    q->at++;
    bool negative = peek(q) == '-';
    if (negative || peek(q) == '+')
        q->at++;
    if (!digit(q))
        return fail_at(q, "Miss exponent in number.", q->at);
    for (*value = 0; digit(q); q->at++)
        if (*value < INT64_C(1) << 40)
            *value = *value * 10 + (peek(q) - '0');
    if (negative)
        *value = -*value;
    return TERN_OK;
}

static tern_code number(parser *q)
{
    size_t start = q->at;
    number_parts n = {0};
    bool negative = peek(q) == '-';
    q->at += negative;
    n.whole = q->p + q->at;
    n.n_whole = 1;
    if (peek(q) == '0')
        q->at++;
    else if (digit(q))
        n.n_whole = digits(q);
    else if (peek(q) == 'N' || peek(q) == 'I')
        return special_number(q, start);
    else
        return fail_at(q, bad_value, q->at);
    if (peek(q) == '.') {
        q->at++;
        n.n_fraction = digits(q);
        if (n.n_fraction == 0)
            return fail_at(q, "Miss fraction part in number.", q->at);
    }
    if (peek(q) == 'e' || peek(q) == 'E') {
        n.has_exponent = true;
        tern_code code = exponent(q, &n.exponent);
        if (code != TERN_OK)
            return code;
    }
    if (is_too_big(&n, negative))
        return fail_at(q, too_big, start);
    return add_node(q, TN_NODE_NUMBER, start, q->at, n.n_fraction > 0 || n.has_exponent ? TN_NODE_REAL : 0);
}

static tern_code scalar(parser *q)
{
    switch (peek(q)) {
    case '"':
        return string(q);
    case 'n':
        return literal(q, "ull", TN_NODE_NULL);
    case 't':
        return literal(q, "rue", TN_NODE_TRUE);
    case 'f':
        return literal(q, "alse", TN_NODE_FALSE);
    default:
        return number(q);
    }
}

/* ---- containers ---- */

static void count_child(parser *q)
{
    if (q->depth > 0) {
        const open_container *top =
            (const open_container *)(void *)(q->tape->stack.ptr + q->tape->stack.len) - 1;
        node_at(q, top->node)->count++;
    }
}

/* The state after a value at this depth. */
static void value_done(parser *q)
{
    if (q->depth == 0) {
        q->state = STATE_DONE;
        return;
    }
    const open_container *top = (const open_container *)(void *)(q->tape->stack.ptr + q->tape->stack.len) - 1;
    q->state = top->kind == TN_NODE_OBJECT ? STATE_MEMBER_VALUE : STATE_ELEMENT;
}

static tern_code open_one(parser *q, tn_node_type kind)
{
    const open_container c = {.node = n_nodes(q), .kind = kind};
    if (q->depth >= q->max_depth)
        return tern_fail(q->st, TERN_INVALID_ARGUMENT,
                         "JSON Parse error: nested deeper than %lld levels at offset: %zu "
                         "(--max_json_depth)",
                         (long long)q->max_depth, q->at);
    tern_code code = add_node(q, kind, q->at, q->at, 0);
    if (code != TERN_OK)
        return code;
    tn_buf_append(&q->tape->stack, &c, sizeof c);
    if (q->tape->stack.failed)
        return tern_fail(q->st, TERN_RESOURCE_EXHAUSTED, "The JSON is nested too deeply to be read");
    q->depth++;
    q->at++;
    q->state = kind == TN_NODE_OBJECT ? STATE_OBJECT_INITIAL : STATE_ARRAY_INITIAL;
    return TERN_OK;
}

static void close_one(parser *q)
{
    const open_container *top = (const open_container *)(void *)(q->tape->stack.ptr + q->tape->stack.len) - 1;
    tn_node *n = node_at(q, top->node);
    n->end = ++q->at;
    n->next = n_nodes(q);
    q->tape->stack.len -= sizeof *top;
    q->depth--;
    value_done(q);
}

static tern_code value(parser *q)
{
    if (q->state == STATE_ARRAY_INITIAL || q->state == STATE_ELEMENT_DELIMITER)
        count_child(q);
    if (peek(q) == '{')
        return open_one(q, TN_NODE_OBJECT);
    if (peek(q) == '[')
        return open_one(q, TN_NODE_ARRAY);
    tern_code code = scalar(q);
    value_done(q);
    return code;
}

static tern_code member_name(parser *q)
{
    if (peek(q) != '"')
        return fail_at(q, miss_name, q->at);
    count_child(q);
    q->state = STATE_MEMBER_KEY;
    return string(q);
}

/* One token. */
static tern_code step(parser *q)
{
    char c = peek(q);
    bool delimiter = c == ']' || c == '}' || c == ',' || c == ':';
    switch (q->state) {
    case STATE_START:
        return delimiter ? fail_at(q, "The document is empty.", q->at) : value(q);
    case STATE_OBJECT_INITIAL:
        if (c != '}')
            return member_name(q);
        close_one(q);
        return TERN_OK;
    case STATE_MEMBER_DELIMITER:
        return member_name(q);
    case STATE_MEMBER_KEY:
        if (c != ':')
            return fail_at(q, "Missing a colon after a name of object member.", q->at);
        q->at++;
        q->state = STATE_KEY_VALUE_DELIMITER;
        return TERN_OK;
    case STATE_MEMBER_VALUE:
        if (c == '}') {
            close_one(q);
            return TERN_OK;
        }
        if (c != ',')
            return fail_at(q, "Missing a comma or '}' after an object member.", q->at);
        q->at++;
        q->state = STATE_MEMBER_DELIMITER;
        return TERN_OK;
    case STATE_ELEMENT:
        if (c == ']') {
            close_one(q);
            return TERN_OK;
        }
        if (c != ',')
            return fail_at(q, "Missing a comma or ']' after an array element.", q->at);
        q->at++;
        q->state = STATE_ELEMENT_DELIMITER;
        return TERN_OK;
    case STATE_ARRAY_INITIAL:
        if (c == ']') {
            close_one(q);
            return TERN_OK;
        }
        return delimiter ? fail_at(q, bad_value, q->at) : value(q);
    case STATE_KEY_VALUE_DELIMITER:
    case STATE_ELEMENT_DELIMITER:
        return delimiter ? fail_at(q, bad_value, q->at) : value(q);
    case STATE_DONE:
        break;
    }
    return TERN_OK;
}

tern_code tn_tape_parse(tn_tape *t, size_t from, int64_t max_depth, tern_status *st)
{
    parser q = {
        .tape = t, .p = t->text.ptr, .len = t->text.len, .at = from, .max_depth = max_depth, .st = st};
    tern_code code = TERN_OK;
    tn_buf_clear(&t->nodes);
    tn_buf_clear(&t->stack);
    if (from == 0 && tn_str_starts(t->text, TN_STR("\xEF\xBB\xBF")))
        q.at = 3;
    skip_blanks(&q);
    if (peek(&q) == '\0')
        return fail_at(&q, "The document is empty.", q.at);
    while (code == TERN_OK && q.state != STATE_DONE) {
        code = step(&q);
        if (q.state != STATE_DONE)
            skip_blanks(&q);
    }
    t->end = q.at;
    return code;
}

/* ---- reading the tape ---- */

void tn_tape_string(const tn_tape *t, const tn_node *n, tn_buf *out)
{
    const char *p = t->text.ptr + n->start, *end = t->text.ptr + n->end;
    if (!(n->flags & TN_NODE_ESCAPED)) {
        tn_buf_append(out, p, (size_t)(end - p));
        return;
    }
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        tn_buf_append(out, p, (size_t)((slash != NULL ? slash : end) - p));
        if (slash == NULL)
            return;
        char utf8[4];
        size_t length, taken = tn_json_unescape(slash + 1, end, utf8, &length);
        tn_buf_append(out, utf8, length);
        p = slash + 1 + taken;
    }
}

bool tn_tape_is(const tn_tape *t, const tn_node *n, tn_str want)
{
    if (!(n->flags & TN_NODE_ESCAPED))
        return tn_str_eq(tn_tape_text(t, n), want);
    tn_buf decoded;
    tn_buf_init(&decoded, n->end - n->start);
    tn_tape_string(t, n, &decoded);
    bool same = !decoded.failed && tn_str_eq(tn_buf_view(&decoded), want);
    tn_buf_free(&decoded);
    return same;
}

uint32_t tn_tape_member(const tn_tape *t, uint32_t i, tn_str key)
{
    const tn_node *object = tn_tape_at(t, i);
    uint32_t at = i + 1;
    for (uint32_t k = 0; k < object->count; k++) {
        uint32_t value_at = at + 1;
        if (tn_tape_is(t, tn_tape_at(t, at), key))
            return value_at;
        at = tn_tape_at(t, value_at)->next;
    }
    return 0;
}
