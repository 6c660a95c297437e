/*
 * html_internal.h - what the files of the feature library share: the extractor's state and its records.
 *
 * The order of one extraction (html_features.c): charset decision and decoding (html_charset.c) -> tree under
 * the guard (html_guard.c, with the tokens of html_lexer.c) -> one iterative walk to block records
 * (html_walk.c, with the tokens of html_tokens.c) -> page-wide counts. Records are compact (ids as 8 and 16
 * bit); tern_html_tensor_fill() widens them straight into their final place. Everything belongs to one
 * tern_html and so to one thread at a time.
 */
#ifndef TERN_HTML_INTERNAL_H
#define TERN_HTML_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "html_features.h"
#include "html_limits.h"
#include "html_tags.h"

/*
 * Columns of `numeric` before the context bits. Levels 1, 3, 5 count what the block's 1st, 3rd and 5th
 * ancestor holds. Templates that a page repeats: SAME counts the page's blocks with the same tag path and own
 * names, ALIKE the children of the block's parent that look like the block's element (same tag and first
 * names), GROUP the same for that one of the next TN_HTML_GROUP_LEVELS ancestors which has most of them.
 */
/* clang-format off */
#define TN_HTML_NUMERIC_TABLE(X) \
    X(BYTES, "bytes") X(WORDS, "words") X(LINK_BYTES, "link_bytes") X(LINKS, "links") \
    X(UPPER, "upper") X(DIGITS, "digits") X(PUNCTUATION, "punctuation") X(COMMAS, "commas") \
    X(SYMBOLS, "symbols") X(NON_ASCII, "non_ascii") X(SENTENCES, "sentences") X(DEPTH, "depth") \
    X(SIBLING, "sibling") X(INDEX, "index") X(OFFSET, "offset") X(HEADING, "heading") \
    X(IMAGES, "images") X(INLINES, "inlines") X(BREAKS, "breaks") X(TITLE_WORDS, "title_words") \
    X(AUTHOR_WORDS, "author_words") X(YEARS, "years") X(MONTHS, "months") \
    X(DUPLICATES, "duplicates") X(L1_BYTES, "l1_bytes") X(L1_LINK, "l1_link_bytes") \
    X(L1_BLOCKS, "l1_blocks") X(L1_P, "l1_p_bytes") X(L3_BYTES, "l3_bytes") \
    X(L3_LINK, "l3_link_bytes") X(L3_BLOCKS, "l3_blocks") X(L3_P, "l3_p_bytes") \
    X(L5_BYTES, "l5_bytes") X(L5_LINK, "l5_link_bytes") X(L5_BLOCKS, "l5_blocks") \
    X(L5_P, "l5_p_bytes") X(PRICES, "prices") X(SAME, "same") X(ALIKE, "alike") \
    X(ALIKE_INDEX, "alike_index") X(GROUP, "group") X(GROUP_LEVEL, "group_level") \
    X(GROUP_INDEX, "group_index") X(GROUP_BYTES, "group_bytes") X(GROUP_LINK, "group_link_bytes") \
    X(GROUP_BLOCKS, "group_blocks")
/* clang-format on */

enum {
#define X(id, name) TN_HTML_N_##id,
    TN_HTML_NUMERIC_TABLE(X)
#undef X
        TN_HTML_COUNTS,
    TN_HTML_NUMERIC = TN_HTML_COUNTS + TERN_HTML_CONTEXT_BITS
};

/* Kinds of html_tags.h. I is 0 on purpose: unknown tags are inline. */
enum { TN_HTML_KIND_I = 0, TN_HTML_KIND_B, TN_HTML_KIND_S, TN_HTML_KIND_R, TN_HTML_KIND_C, TN_HTML_KIND_M };

typedef struct tn_html_record {
    uint32_t text, length; /* in tern_html.text */
    uint32_t context;
    uint32_t container;       /* of the block's element, in tern_html.containers */
    uint32_t datetime;        /* in tern_html.meta_text */
    uint32_t datetime_length; /* 0: none */
    uint8_t tags[TN_HTML_TAG_PATH];
    uint16_t attrs[TN_HTML_ATTR_TOKENS];
    uint16_t words[TN_HTML_TEXT_TOKENS];
    int32_t counts[TN_HTML_COUNTS];
} tn_html_record;

/* What an element's subtree holds. */
typedef struct tn_html_container {
    uint32_t parent; /* index; 0 is its own parent */
    uint32_t look;   /* hash of its tag and first names */
    uint32_t tally;  /* its place in tern_html.tallies, once counted */
    uint32_t nth;    /* of the siblings that look the same */
    int32_t bytes, link_bytes, blocks, p_bytes;
} tn_html_container;

/* Growing array of bytes that is kept between pages. */
typedef struct tn_html_bytes {
    char *data;
    size_t length, capacity;
} tn_html_bytes;

typedef struct tn_html_slice {
    uint32_t at, length;
    bool set;
} tn_html_slice;

/* Seen texts of the page, for the duplicates column. Entries of older pages are told by their stamp. */
#define TN_HTML_SEEN 8192u
typedef struct tn_html_seen {
    uint32_t hash, stamp, count;
} tn_html_seen;

/* How often something occurs on the page; tallies are kept in a hash table of which slot 0 means "none". */
typedef struct tn_html_tally {
    uint32_t key, count;
} tn_html_tally;

typedef struct tn_html_guard tn_html_guard;

struct tern_html {
    tn_html_guard *guard; /* lexbor's document and parser */
    tn_html_record *records;
    uint32_t n_records, cap_records;
    tn_html_container *containers;
    uint32_t n_containers, cap_containers;
    tn_html_bytes text;      /* all block texts */
    tn_html_bytes decoded;   /* the page in UTF-8, where it was not valid UTF-8 already */
    tn_html_bytes meta_text; /* values of meta[] and datetimes */
    tn_html_slice meta[TERN_HTML_METAS];
    tn_html_seen *seen;
    tn_html_tally *tallies;
    uint32_t cap_tallies; /* a power of two */
    uint16_t schema[TN_HTML_SCHEMA_TOKENS];
    int n_schema;
    uint32_t stamp;
    int32_t url_tokens[TN_HTML_URL_TOKENS];
    int32_t page_meta[TN_HTML_PAGE_META];
    char charset[40];
    bool truncated;
    char message[256];
    uint32_t months[64];           /* hashes of month names, ended by 0 */
    uint8_t month_bits[32];        /* the low 8 bits of those hashes that occur */
    void *frames;                  /* the walk's stack */
    void *root;                    /* of the last page's tree, or NULL */
    struct tn_html_source *source; /* its JSON-LD and links (postprocess/html_source.h) */
    int64_t deadline_ns;
    /* Of a page that is arriving: NULL, or as in tern_html_extract_arriving(). */
    size_t (*arrived)(void *context, size_t n);
    void *arrived_context;
    size_t valid; /* bytes of it that are valid UTF-8 */
};

/* ---- html_features.c ---- */
/* Appends to a growing array, whose length stays below `limit`. false: no memory, or over the limit. */
bool tn_html_append(tn_html_bytes *b, const void *data, size_t length, size_t limit);
bool tn_html_reserve(tn_html_bytes *b, size_t room);
bool tn_html_late(const tern_html *x); /* deadline passed */

/* ---- html_tags.c ---- */
#define TN_HTML_LEXBOR_TAGS 256
extern const uint8_t tn_html_tag_of[TN_HTML_LEXBOR_TAGS]; /* by lexbor's number; 0: not in the table */
extern const uint8_t tn_html_kind_of[TN_HTML_TAG_COUNT];

/* Kind of an element by lexbor's number (a pointer for tags that it does not know). */
static inline int tn_html_kind(uintptr_t lexbor_tag)
{
    uint8_t tag = lexbor_tag < TN_HTML_LEXBOR_TAGS ? tn_html_tag_of[lexbor_tag] : 0;
    return tag == 0 ? TN_HTML_KIND_I : tn_html_kind_of[tag];
}

/*
 * Whether the page's first `upto` bytes are there, and its characters among them valid: waits for them.
 * Always true for a page that does not arrive.
 */
bool tn_html_is_there(tern_html *x, const char *page, size_t length, size_t upto);

/* ---- html_charset.c ---- */
/*
 * Decides the page's charset and gives it as valid UTF-8: the input itself where it is that already, else
 * x->decoded. Returns a TERN_HTML_ code.
 */
int tn_html_decode(tern_html *x, const char *bytes, size_t length, const char *content_type,
                   size_t content_type_length, const char **utf8, size_t *utf8_length);
/*
 * Whether tn_html_decode() would take the page as it is, if it is valid UTF-8; sets the charset. Reads the
 * first TN_HTML_PRESCAN_BYTES.
 */
bool tn_html_promises_utf8(tern_html *x, const char *bytes, size_t length, const char *content_type,
                           size_t content_type_length);
/* First byte that is not valid UTF-8, or n. */
size_t tn_html_valid_prefix(const char *s, size_t n);
/* Whether [bytes, +length) is valid UTF-8 (Unicode 15, table 3-7). */
bool tn_html_is_utf8(const char *bytes, size_t length);

/* ---- html_guard.c ---- */
tn_html_guard *tn_html_guard_create(void);
void tn_html_guard_free(tn_html_guard *g);
/* Parses valid UTF-8 under the limits; root is borrowed until the next parse. Returns a TERN_HTML_ code. */
int tn_html_guard_parse(tern_html *x, const char *utf8, size_t length, void **root);
/* Without the lexer (html_lexer.h) from now on: lexbor's tokenizer does all, and the results are the same. */
void tn_html_guard_plain(tern_html *x);

/* ---- html_walk.c ---- */
int tn_html_walk(tern_html *x, void *root);
void *tn_html_walk_frames(void); /* a new stack, freed with free() */

/* ---- html_schema.c ---- */
/* The types that a JSON-LD script names, each once, in order of appearance. */
void tn_html_schema_script(tern_html *x, const char *s, size_t n);
/* A type by its name, or by an address that ends in it (microdata's itemtype). */
void tn_html_schema_type(tern_html *x, const char *s, size_t n);

/* ---- html_columns.c ---- */
bool tn_html_columns(tern_html *x); /* after the walk; false: no memory */

/* ---- html_tokens.c ---- */
uint32_t tn_html_hash(uint32_t salt, const char *s, size_t n); /* FNV-1a of the salt's byte and s */
/* 1 + h % (vocab - 1) */
uint16_t tn_html_token(uint32_t hash, uint32_t vocab);
/*
 * Words of UTF-8 text: letters, digits and bytes >= 0x80 but for general punctuation; ASCII lower case,
 * digits as '0'. Writes up to `max` tokens, counts years (19xx, 20xx) and month names among them. Returns the
 * number of tokens.
 */
int tn_html_words(const tern_html *x, const char *s, size_t n, uint32_t salt, uint32_t vocab, uint16_t *out,
                  int max, int *years, int *months);
/*
 * Name tokens of an attribute value: runs of letters, split where lower case meets upper, lower-cased, >= 2
 * letters. Appends what is not among out[0..have) yet, up to max; returns the new number. *comment (or NULL)
 * is set where a token begins with "comment".
 */
int tn_html_names(const char *s, size_t n, uint32_t salt, uint32_t vocab, uint16_t *out, int have, int max,
                  bool *comment);
void tn_html_months(tern_html *x);
void tn_html_url(tern_html *x, const char *url, size_t n);
void tn_html_page_meta(tern_html *x);
/* Amounts of money: a currency sign beside a digit. */
int32_t tn_html_prices(const char *s, size_t n);
/* True when the value holds `needle` (lower-case ASCII) in any case. */
bool tn_html_holds(const char *s, size_t n, const char *needle);
/* Counts of one block's text, 8 classes of bytes. */
typedef struct tn_html_census {
    int32_t upper, digits, punctuation, commas, symbols, non_ascii, sentences, words;
} tn_html_census;
void tn_html_count(const char *s, size_t n, tn_html_census *c);

#endif
