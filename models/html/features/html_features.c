/*
 * html_features.c - the library's front: an extractor's life, one extraction, tensors out, and the
 * fingerprint.
 *
 * The fingerprint is a hash over every table and constant that can change a tensor, behind a version that is
 * raised by hand when the code changes what it extracts. It is computed once, from constants only: every
 * process gives the same.
 */
#include "html_internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "postprocess/html_source.h"

#define VERSION "html-features/2"

/* Capacity of kept arrays that clear() goes back to. */
#define KEEP_BYTES ((size_t)1 << 20)

bool tn_html_reserve(tn_html_bytes *b, size_t room)
{
    if (b->capacity - b->length >= room && b->data != NULL)
        return true;
    size_t want = b->length + room;
    size_t cap = b->capacity < 4096 ? 4096 : b->capacity;
    while (cap < want)
        cap += cap / 2;
    char *d = realloc(b->data, cap);
    if (d == NULL)
        return false;
    b->data = d;
    b->capacity = cap;
    return true;
}

bool tn_html_append(tn_html_bytes *b, const void *data, size_t length, size_t limit)
{
    if (length > limit || b->length > limit - length || !tn_html_reserve(b, length))
        return false;
    if (length > 0)
        memcpy(b->data + b->length, data, length);
    b->length += length;
    return true;
}

bool tn_html_late(const tern_html *x)
{
    if (x->deadline_ns == 0)
        return false;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec >= x->deadline_ns;
}

void tern_html_free(tern_html *x)
{
    if (x == NULL)
        return;
    tn_html_guard_free(x->guard);
    free(x->records);
    free(x->containers);
    free(x->text.data);
    free(x->decoded.data);
    free(x->meta_text.data);
    free(x->seen);
    free(x->tallies);
    free(x->frames);
    if (x->source != NULL)
        tn_html_source_clear(x->source);
    free(x->source);
    free(x);
}

tern_html *tern_html_create(void)
{
    tern_html *x = calloc(1, sizeof *x);
    if (x == NULL)
        return NULL;
    x->guard = tn_html_guard_create();
    x->seen = calloc(TN_HTML_SEEN, sizeof *x->seen);
    x->frames = tn_html_walk_frames();
    x->source = calloc(1, sizeof *x->source);
    tn_html_months(x);
    if (x->guard == NULL || x->seen == NULL || x->frames == NULL || x->source == NULL ||
        !tn_html_reserve(&x->text, 1) || !tn_html_reserve(&x->meta_text, 1)) {
        tern_html_free(x);
        return NULL;
    }
    return x;
}

static void shrink(tn_html_bytes *b)
{
    if (b->capacity <= KEEP_BYTES)
        return;
    char *d = realloc(b->data, KEEP_BYTES);
    if (d != NULL) {
        b->data = d;
        b->capacity = KEEP_BYTES;
    }
}

void tern_html_clear(tern_html *x)
{
    x->n_records = x->n_containers = 0;
    x->text.length = x->decoded.length = x->meta_text.length = 0;
    memset(x->meta, 0, sizeof x->meta);
    shrink(&x->text);
    shrink(&x->decoded);
    shrink(&x->meta_text);
    tn_html_source_clear(x->source);
    x->deadline_ns = 0;
    (void)tn_html_guard_parse(x, "", 0, &x->root); /* lets go of the last tree */
}

/* ---- extraction ---- */

static int fail(tern_html *x, int code, const char *message)
{
    x->n_records = 0;
    if (x->message[0] == '\0')
        snprintf(x->message, sizeof x->message, "%s", message);
    return code;
}

/* Names the binary format that the bytes begin with (mimesniff), or NULL. */
static const char *binary_format(const char *s, size_t n)
{
    static const struct {
        const char *magic;
        uint8_t length;
        const char *name;
    } known[] = {
        {"%PDF-", 5, "a PDF document"},
        {"\x89PNG\r\n\x1A\n", 8, "a PNG image"},
        {"GIF8", 4, "a GIF image"},
        {"\xFF\xD8\xFF", 3, "a JPEG image"},
        {"PK\x03\x04", 4, "a ZIP archive"},
        {"\x1F\x8B\x08", 3, "gzip data"},
        {"\x28\xB5\x2F\xFD", 4, "zstd data"},
        {"BZh", 3, "bzip2 data"},
        {"\x7F"
         "ELF",
         4, "a program"},
        {"\xFD"
         "7zXZ",
         5, "xz data"},
        {"OggS", 4, "an Ogg file"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (n >= known[i].length && memcmp(s, known[i].magic, known[i].length) == 0)
            return known[i].name;
    if (n >= 12 && memcmp(s, "RIFF", 4) == 0 && memcmp(s + 8, "WEBP", 4) == 0)
        return "a WebP image";
    return NULL;
}

/* A tag, a comment or a doctype within the first bytes. */
static bool has_tag(const char *s, size_t n)
{
    if (n > TN_HTML_SNIFF_BYTES)
        n = TN_HTML_SNIFF_BYTES;
    const char *end = s + n;
    for (const char *p = s; end - p > 1 && (p = memchr(p, '<', (size_t)(end - p - 1))) != NULL; p++) {
        char c = p[1];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '!' || c == '/')
            return true;
    }
    return false;
}

static bool is_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((unsigned char)s[i] == ' ' || (s[i] >= 9 && s[i] <= 13)))
            return false;
    return true;
}

static int finish(tern_html *x, const char *url, size_t url_length)
{
    if (url == NULL || url_length == 0) {
        const tn_html_slice *m = &x->meta[TERN_HTML_META_URL];
        url = m->set ? x->meta_text.data + m->at : NULL;
        url_length = m->length;
    }
    tn_html_url(x, url, url_length);
    tn_html_page_meta(x);
    return TERN_HTML_OK;
}

bool tn_html_is_there(tern_html *x, const char *page, size_t length, size_t upto)
{
    if (x->arrived == NULL || x->valid >= upto)
        return true;
    /* With those of a character that goes on behind it. */
    const size_t want = length - upto < 3 ? length : upto + 3;
    if (x->arrived(x->arrived_context, want) < want)
        return false;
    x->valid += tn_html_valid_prefix(page + x->valid, want - x->valid);
    return x->valid >= upto;
}

/* A page in UTF-8. */
static int read_page(tern_html *x, const char *utf8, size_t n, const char *url, size_t url_length)
{
    int rc = tn_html_guard_parse(x, utf8, n, &x->root);
    if (rc == TERN_HTML_OK && !tn_html_is_there(x, utf8, n, n))
        rc = TERN_HTML_ARRIVING;
    if (rc == TERN_HTML_OK)
        rc = tn_html_walk(x, x->root);
    if (rc == TERN_HTML_OK)
        tn_html_source_scan(x->source, utf8, n);
    if (rc == TERN_HTML_DEADLINE)
        return fail(x, rc, "The deadline passed while the document was read.");
    if (rc == TERN_HTML_ARRIVING)
        return fail(x, rc, "The document is not there yet.");
    if (rc != TERN_HTML_OK)
        return fail(x, rc, "Out of memory while the document was read.");
    return finish(x, url, url_length);
}

static void begin(tern_html *x, int64_t deadline_ns)
{
    x->message[0] = '\0';
    x->truncated = false;
    x->n_records = 0;
    x->deadline_ns = deadline_ns;
}

int tern_html_extract_arriving(tern_html *x, const void *bytes, size_t length, const char *content_type,
                               size_t content_type_length, const char *url, size_t url_length,
                               int64_t deadline_ns, size_t (*arrived)(void *context, size_t n), void *context)
{
    const char *s = bytes;
    begin(x, deadline_ns);
    const size_t n = length < TN_HTML_MAX_BYTES ? length : TN_HTML_MAX_BYTES;
    const size_t head = n < TN_HTML_SNIFF_BYTES ? n : TN_HTML_SNIFF_BYTES;
    x->truncated = n < length;
    if (arrived(context, head) < head || is_blank(s, head) || binary_format(s, head) != NULL ||
        !tn_html_promises_utf8(x, s, n, content_type, content_type_length) || !has_tag(s, head))
        return fail(x, TERN_HTML_ARRIVING, "The document is not there yet.");
    x->decoded.length = x->valid = 0;
    x->arrived = arrived;
    x->arrived_context = context;
    int rc = read_page(x, s, n, url, url_length);
    x->arrived = NULL;
    return rc;
}

int tern_html_extract(tern_html *x, const void *bytes, size_t length, const char *content_type,
                      size_t content_type_length, const char *url, size_t url_length, int64_t deadline_ns)
{
    const char *s = bytes, *utf8;
    size_t n;
    begin(x, deadline_ns);
    if (length == 0 || is_blank(s, length < TN_HTML_MAX_BYTES ? length : TN_HTML_MAX_BYTES))
        return fail(x, TERN_HTML_EMPTY, "The document is empty.");
    if (length > TN_HTML_MAX_BYTES) {
        length = TN_HTML_MAX_BYTES;
        x->truncated = true;
    }
    const char *format = binary_format(s, length);
    if (format != NULL) {
        snprintf(x->message, sizeof x->message, "The document is not HTML: it is %s.", format);
        return fail(x, TERN_HTML_NOT_HTML, "");
    }
    int rc = tn_html_decode(x, s, length, content_type, content_type_length, &utf8, &n);
    if (rc != TERN_HTML_OK)
        return fail(x, rc, "The document's charset cannot be decoded.");
    if (!has_tag(utf8, n))
        return fail(x, TERN_HTML_NOT_HTML, "The document is not HTML: no tag within its first 64 kB.");
    return read_page(x, utf8, n, url, url_length);
}

/* ---- results ---- */

const char *tern_html_message(const tern_html *x)
{
    return x->message;
}

uint32_t tern_html_block_count(const tern_html *x)
{
    return x->n_records;
}

int tern_html_block_at(const tern_html *x, uint32_t i, tern_html_block *b)
{
    if (i >= x->n_records)
        return -1;
    const tn_html_record *r = &x->records[i];
    b->text = x->text.data + r->text;
    b->length = r->length;
    b->offset = (uint32_t)r->counts[TN_HTML_N_OFFSET];
    b->context = r->context;
    b->tag = r->tags[0];
    b->heading = (uint32_t)r->counts[TN_HTML_N_HEADING];
    b->datetime_length = r->datetime_length;
    b->datetime = r->datetime_length > 0 ? x->meta_text.data + r->datetime : NULL;
    return 0;
}

const char *tern_html_meta(const tern_html *x, int which, uint32_t *length)
{
    *length = 0;
    if (which < 0 || which >= TERN_HTML_METAS || !x->meta[which].set)
        return NULL;
    *length = x->meta[which].length;
    return x->meta_text.data + x->meta[which].at;
}

const char *tern_html_charset(const tern_html *x)
{
    return x->charset;
}

int tern_html_truncated(const tern_html *x)
{
    return x->truncated;
}

int tern_html_tensor_shape(const tern_html *x, int tensor, int64_t shape[2])
{
    static const int16_t width[TERN_HTML_TENSORS] = {TN_HTML_TAG_PATH,    TN_HTML_ATTR_TOKENS,
                                                     TN_HTML_TEXT_TOKENS, TN_HTML_NUMERIC,
                                                     TN_HTML_URL_TOKENS,  TN_HTML_PAGE_META};
    if (tensor >= TERN_HTML_URL_TOKENS) {
        shape[0] = width[tensor];
        shape[1] = 0;
        return 1;
    }
    shape[0] = x->n_records;
    shape[1] = width[tensor];
    return 2;
}

void tern_html_tensor_fill(const tern_html *x, int tensor, int32_t *out)
{
    const tn_html_record *r = x->records, *end = r + x->n_records;
    switch (tensor) {
    case TERN_HTML_TAG_PATH:
        for (; r < end; r++)
            for (int k = 0; k < TN_HTML_TAG_PATH; k++)
                *out++ = r->tags[k];
        break;
    case TERN_HTML_ATTR_TOKENS:
        for (; r < end; r++)
            for (int k = 0; k < TN_HTML_ATTR_TOKENS; k++)
                *out++ = r->attrs[k];
        break;
    case TERN_HTML_TEXT_TOKENS:
        for (; r < end; r++)
            for (int k = 0; k < TN_HTML_TEXT_TOKENS; k++)
                *out++ = r->words[k];
        break;
    case TERN_HTML_NUMERIC:
        for (; r < end; r++) {
            memcpy(out, r->counts, sizeof r->counts);
            out += TN_HTML_COUNTS;
            for (int k = 0; k < TERN_HTML_CONTEXT_BITS; k++)
                *out++ = (int32_t)(r->context >> k & 1);
        }
        break;
    case TERN_HTML_URL_TOKENS:
        memcpy(out, x->url_tokens, sizeof x->url_tokens);
        break;
    case TERN_HTML_PAGE_META:
        memcpy(out, x->page_meta, sizeof x->page_meta);
        break;
    default:
        break;
    }
}

/* ---- names and the fingerprint ---- */

const char *tern_html_tensor_name(int tensor)
{
    static const char *const names[TERN_HTML_TENSORS] = {"tag_path", "attr_tokens", "text_tokens",
                                                         "numeric",  "url_tokens",  "page_meta"};
    return tensor >= 0 && tensor < TERN_HTML_TENSORS ? names[tensor] : NULL;
}

const char *tern_html_numeric_name(int column)
{
    static const char *const names[TN_HTML_NUMERIC] = {
#define X(id, name) name,
        TN_HTML_NUMERIC_TABLE(X)
#undef X
            "in_p",
        "in_list",
        "in_table",
        "in_form",
        "in_nav",
        "in_header",
        "in_footer",
        "in_aside",
        "in_main",
        "in_article",
        "in_section",
        "in_noscript",
        "in_hidden",
        "in_figure",
        "in_quote",
        "in_pre",
        "in_button",
        "in_dl",
        "in_details",
        "in_dialog",
        "is_control",
        "has_time",
        "has_strong",
        "in_comment",
    };
    return column >= 0 && column < TN_HTML_NUMERIC ? names[column] : NULL;
}

static const struct {
    const char *name;
    uint8_t kind;
} tag_table[TN_HTML_TAG_COUNT] = {
#define X(id, lexbor, tag, k) [id] = {tag, TN_HTML_KIND_##k},
    TN_HTML_TAG_TABLE(X)
#undef X
};

const char *tern_html_tag_name(uint32_t tag)
{
    return tag < TN_HTML_TAG_COUNT && tag_table[tag].name != NULL ? tag_table[tag].name : "";
}

uint32_t tern_html_tag_count(void)
{
    return TN_HTML_TAG_COUNT;
}

static char fingerprint[64];

static uint64_t mix(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001B3ull; /* FNV-1a, 64 bit */
    return h;
}

static uint64_t mix_string(uint64_t h, const char *s)
{
    return mix(h, s, strlen(s) + 1);
}

static void make_fingerprint(void)
{
    static const uint32_t constants[] = {
        TN_HTML_MAX_BYTES,          TN_HTML_PRESCAN_BYTES,     TN_HTML_SNIFF_BYTES,    TN_HTML_MAX_ATTRIBUTES,
        TN_HTML_MAX_TAG_ATTRIBUTES, TN_HTML_MAX_OPEN_ELEMENTS, TN_HTML_MAX_FORMATTING, TN_HTML_MAX_ELEMENTS,
        TN_HTML_MAX_OPTIONS,        TN_HTML_MAX_ROOT_TAGS,     TN_HTML_MAX_NAMES,      TN_HTML_MAX_TREE_BYTES,
        TN_HTML_MAX_TEXT_BYTES,     TN_HTML_CHUNK_BYTES,       TN_HTML_MAX_DEPTH,      TN_HTML_MAX_BLOCKS,
        TN_HTML_MAX_TEXT,           TN_HTML_MAX_ATTR_SCAN,     TN_HTML_MAX_META_TEXT,  TN_HTML_MAX_WORD,
        TN_HTML_MAX_TITLE_WORDS,    TN_HTML_TAG_PATH,          TN_HTML_ATTR_OWN,       TN_HTML_ATTR_ANCESTOR,
        TN_HTML_ATTR_PER_ANCESTOR,  TN_HTML_TEXT_TOKENS,       TN_HTML_URL_TOKENS,     TN_HTML_PAGE_META,
        TN_HTML_TEXT_VOCAB,         TN_HTML_ATTR_VOCAB,        TN_HTML_URL_VOCAB,      TN_HTML_META_VOCAB,
        TN_HTML_FNV_OFFSET,         TN_HTML_FNV_PRIME,         TN_HTML_SALT_TEXT,      TN_HTML_SALT_CLASS,
        TN_HTML_SALT_ROLE,          TN_HTML_SALT_ITEMPROP,     TN_HTML_SALT_REL,       TN_HTML_SALT_HOST,
        TN_HTML_SALT_PATH,          TN_HTML_SALT_TITLE,        TN_HTML_SALT_OGTYPE,    TN_HTML_SALT_LANG,
        TN_HTML_SALT_GENERATOR,     TN_HTML_SALT_BODYCLASS,    TN_HTML_SEEN,           TN_HTML_NUMERIC,
        TERN_HTML_CONTEXT_BITS,     TN_HTML_URL_SHAPE,         TN_HTML_SCHEMA_TOKENS,  TN_HTML_MAX_PROBES,
        TN_HTML_GROUP_LEVELS,       TN_HTML_MAX_SCHEMA,        TN_HTML_SALT_SCHEMA,    TN_HTML_SALT_SHAPE,
    };
    uint64_t h = mix_string(0xCBF29CE484222325ull, VERSION);
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        unsigned char b[4] = {(unsigned char)constants[i], (unsigned char)(constants[i] >> 8),
                              (unsigned char)(constants[i] >> 16), (unsigned char)(constants[i] >> 24)};
        h = mix(h, b, 4);
    }
    for (uint32_t t = 0; t < TN_HTML_TAG_COUNT; t++) {
        h = mix_string(h, tern_html_tag_name(t));
        h = mix(h, &tag_table[t].kind, 1);
    }
    for (int c = 0; c < TN_HTML_NUMERIC; c++)
        h = mix_string(h, tern_html_numeric_name(c));
    for (int t = 0; t < TERN_HTML_TENSORS; t++)
        h = mix_string(h, tern_html_tensor_name(t));
    snprintf(fingerprint, sizeof fingerprint, "%s %016llx", VERSION, (unsigned long long)h);
}

const char *tern_html_fingerprint(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_fingerprint);
    return fingerprint;
}
