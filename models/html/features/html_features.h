/*
 * html_features.h - HTML bytes to the integer tensors of Tern's page model, and to the text blocks behind
 * them.
 *
 * One implementation for training (Python, through ctypes) and serving (C): what is extracted here is the
 * model's input, bit for bit on both sides. Only integers cross this border; logarithms and ratios are
 * computed inside the network, because logf differs between machines and integers do not.
 *
 * The unit is the block: a maximal run of inline content between block-level boundaries (two <br> split it
 * too), in document order, with the path of elements above it; a form control is a block of its own. N blocks
 * give
 *
 *   tag_path    int32 [N, 12]  tag ids, the block's own element first, then its ancestors (html and body left
 *   out); 0 pads attr_tokens int32 [N, 20]  class/id/role/itemprop/rel tokens: 6 of the block itself, 14 of
 *   its ancestors; 0 pads text_tokens int32 [N, 24]  the first 24 words, hashed; 0 pads
 *   numeric     int32 [N, K]   raw counts; K and the columns' names by tern_html_numeric_name()
 *   url_tokens  int32 [32]     host, path and form of the page's address (given, else canonical link or
 *   og:url)
 *   page_meta   int32 [64]     <title>, og:type, lang, generator, the body's classes, types of schema.org
 *
 * N >= 1: a page without text has one empty block. The caller adds the batch dimension and node_mask (float32
 * [B, N], 1 for a block and 0 for padding).
 *
 * Threads: one tern_html object serves one thread at a time; different objects are independent. Reuse it: its
 * memory is kept from page to page. Nothing here reads the locale, the environment or the clock (but for the
 * deadline).
 * Sources: WHATWG HTML (parsing, charset prescan, mimesniff), Encoding Standard; lexbor does the tree.
 */
#ifndef TERN_HTML_FEATURES_H
#define TERN_HTML_FEATURES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_HTML_API __attribute__((visibility("default")))

typedef struct tern_html tern_html;

/* Results. Messages: tern_html_message(). */
enum {
    TERN_HTML_OK = 0,
    TERN_HTML_EMPTY = 1,    /* nothing but white space */
    TERN_HTML_NOT_HTML = 2, /* a known binary format, or no tag within the first 64 kB */
    TERN_HTML_CHARSET = 3,  /* the charset named by the caller is unknown, or its bytes cannot be decoded */
    TERN_HTML_DEADLINE = 4, /* the deadline passed while working */
    TERN_HTML_MEMORY = 5,   /* out of memory */
    TERN_HTML_ARRIVING = 6  /* not before the whole page is there: tern_html_extract_arriving() */
};

/* Tensors, in this order. */
enum {
    TERN_HTML_TAG_PATH = 0,
    TERN_HTML_ATTR_TOKENS = 1,
    TERN_HTML_TEXT_TOKENS = 2,
    TERN_HTML_NUMERIC = 3,
    TERN_HTML_URL_TOKENS = 4,
    TERN_HTML_PAGE_META = 5,
    TERN_HTML_TENSORS = 6
};

/* What the block stands in: bits of tern_html_block.context. The first 24 are also columns of `numeric`. */
enum {
    TERN_HTML_IN_P = 1u << 0,
    TERN_HTML_IN_LIST = 1u << 1,
    TERN_HTML_IN_TABLE = 1u << 2,
    TERN_HTML_IN_FORM = 1u << 3,
    TERN_HTML_IN_NAV = 1u << 4,
    TERN_HTML_IN_HEADER = 1u << 5, /* of the page: not inside main or article */
    TERN_HTML_IN_FOOTER = 1u << 6, /* likewise */
    TERN_HTML_IN_ASIDE = 1u << 7,
    TERN_HTML_IN_MAIN = 1u << 8,
    TERN_HTML_IN_ARTICLE = 1u << 9,
    TERN_HTML_IN_SECTION = 1u << 10,
    TERN_HTML_IN_NOSCRIPT = 1u << 11,
    TERN_HTML_IN_HIDDEN = 1u << 12,
    TERN_HTML_IN_FIGURE = 1u << 13,
    TERN_HTML_IN_QUOTE = 1u << 14,
    TERN_HTML_IN_PRE = 1u << 15,
    TERN_HTML_IN_BUTTON = 1u << 16, /* button or label */
    TERN_HTML_IN_DL = 1u << 17,
    TERN_HTML_IN_DETAILS = 1u << 18,
    TERN_HTML_IN_DIALOG = 1u << 19,
    TERN_HTML_IS_CONTROL = 1u << 20, /* the block is a form control */
    TERN_HTML_HAS_TIME = 1u << 21,   /* holds or stands in <time> */
    TERN_HTML_HAS_STRONG = 1u << 22,
    TERN_HTML_IN_COMMENT = 1u << 23, /* a class or id above it says comment */
    TERN_HTML_CONTEXT_BITS = 24
};

/*
 * One text block. Slices are borrowed until the next extract, clear or free; text is valid UTF-8, white space
 * collapsed.
 */
typedef struct tern_html_block {
    const char *text;
    uint32_t length;
    uint32_t offset;  /* byte offset of its first text in the page (in its UTF-8 form) */
    uint32_t context; /* bits above */
    uint32_t tag;     /* own tag id of the block's element */
    uint32_t heading; /* 1..6 within h1..h6, else 0 */
    uint32_t datetime_length;
    const char *datetime; /* the datetime attribute of a <time> in it, or NULL */
} tern_html_block;

/*
 * Facts of the page's head that postprocessing uses as evidence. Borrowed like blocks; {NULL, 0} where
 * absent.
 */
enum {
    TERN_HTML_META_TITLE = 0, /* <title> */
    TERN_HTML_META_OG_TITLE = 1,
    TERN_HTML_META_AUTHOR = 2,
    TERN_HTML_META_DATE = 3, /* article:published_time and the like */
    TERN_HTML_META_OG_TYPE = 4,
    TERN_HTML_META_LANG = 5, /* <html lang> or og:locale */
    TERN_HTML_META_SITE_NAME = 6,
    TERN_HTML_META_URL = 7, /* canonical link, else og:url */
    TERN_HTML_META_GENERATOR = 8,
    TERN_HTML_META_BODY_CLASS = 9,
    TERN_HTML_METAS = 10
};

/* A new extractor, or NULL without memory. The caller frees it. */
TERN_HTML_API tern_html *tern_html_create(void);
/* Accepts NULL. */
TERN_HTML_API void tern_html_free(tern_html *x);

/* Extracts one page: forgets the page before. Borrows everything for the call only.
 *   bytes, length        the document as it came
 *   content_type         the HTTP header's value (its charset counts, after a byte order mark), or NULL
 *   url                  the page's address, or NULL
 *   deadline_ns          CLOCK_MONOTONIC time after which the call gives up, 0: none
 * Returns TERN_HTML_OK or another code above; after a failure there are no blocks and no tensors. */
TERN_HTML_API int tern_html_extract(tern_html *x, const void *bytes, size_t length, const char *content_type,
                                    size_t content_type_length, const char *url, size_t url_length,
                                    int64_t deadline_ns);

/*
 * The same for a page whose bytes are still arriving: arrived(context, n) waits until the first n are there
 * and says how many are, at least n, or fewer when it gives up; no other byte is read. Then, and whenever the
 * whole page would have to be looked at first, TERN_HTML_ARRIVING: to be extracted again when it is there.
 * Else the result is the same, to the bit.
 */
TERN_HTML_API int tern_html_extract_arriving(tern_html *x, const void *bytes, size_t length,
                                             const char *content_type, size_t content_type_length,
                                             const char *url, size_t url_length, int64_t deadline_ns,
                                             size_t (*arrived)(void *context, size_t n), void *context);

/* One clear sentence about the last failure; "" after success. Borrowed. */
TERN_HTML_API const char *tern_html_message(const tern_html *x);

/*
 * Forgets the last page and gives back most of its memory. Not needed between pages; good before a long rest.
 */
TERN_HTML_API void tern_html_clear(tern_html *x);

/* Of the last page. */
TERN_HTML_API uint32_t tern_html_block_count(const tern_html *x); /* N */
TERN_HTML_API int tern_html_block_at(const tern_html *x, uint32_t i,
                                     tern_html_block *block); /* 0, or -1: no such */
TERN_HTML_API const char *tern_html_meta(const tern_html *x, int which,
                                         uint32_t *length); /* NULL when absent */
TERN_HTML_API const char *
tern_html_charset(const tern_html *x); /* "utf-8", "windows-1252", ...; static or borrowed */
TERN_HTML_API int tern_html_truncated(const tern_html *x); /* 1 when a limit cut the page */

/* Shape of a tensor without the batch dimension; returns its rank (1 or 2). dtype is always int32. */
TERN_HTML_API int tern_html_tensor_shape(const tern_html *x, int tensor, int64_t shape[2]);
/* Writes a tensor, product(shape) int32 in C order, to out (the server: the input tensor's own memory). */
TERN_HTML_API void tern_html_tensor_fill(const tern_html *x, int tensor, int32_t *out);
TERN_HTML_API const char *tern_html_tensor_name(int tensor);  /* "tag_path", ... */
TERN_HTML_API const char *tern_html_numeric_name(int column); /* NULL past the last */
TERN_HTML_API const char *tern_html_tag_name(uint32_t tag);   /* "div"; "" for 0 and unknown */
TERN_HTML_API uint32_t tern_html_tag_count(void); /* tag ids are below this, but 255: any other tag */

/*
 * "html-features/2 <16 hex digits>": version, and a hash over every constant and table above. Static,
 * NUL-terminated. A model trained on one fingerprint must not be fed by another.
 */
TERN_HTML_API const char *tern_html_fingerprint(void);

#ifdef __cplusplus
}
#endif
#endif
