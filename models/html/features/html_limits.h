/*
 * html_limits.h - every bound and every constant of the HTML features, in one place.
 *
 * A page is hostile until it is parsed: each bound below stops one way of asking for more than linear work or
 * memory (measured: 100,000 attributes on one tag cost lexbor 41 s, 2,000 misnested <b><i> 4.9 s). All of
 * them cut the page the same way wherever the library is used, so that training and serving see the same
 * tensors; a deadline is the only one that makes a call fail instead. Changing any number here changes the
 * fingerprint, and so asks for a new training.
 */
#ifndef TERN_HTML_LIMITS_H
#define TERN_HTML_LIMITS_H

/* Bytes of a page that are looked at; the rest is cut (flag `truncated`). */
#define TN_HTML_MAX_BYTES (16u * 1024u * 1024u)
/* Bytes searched for a charset in <meta>, as HTML's prescan has it (WHATWG HTML 13.2.3.2). */
#define TN_HTML_PRESCAN_BYTES 1024u
/* Bytes searched for a first tag before a document is refused as "not HTML". */
#define TN_HTML_SNIFF_BYTES (64u * 1024u)

/* lexbor's work. */
#define TN_HTML_MAX_ATTRIBUTES     64u          /* kept on one tag */
#define TN_HTML_MAX_TAG_ATTRIBUTES 50000u       /* met on one tag: the page ends there */
#define TN_HTML_MAX_OPEN_ELEMENTS  512u         /* deeper start tags are dropped, as Blink and WebKit do */
#define TN_HTML_MAX_FORMATTING     64u          /* active formatting elements */
#define TN_HTML_MAX_ELEMENTS       200000u      /* start tags accepted */
#define TN_HTML_MAX_OPTIONS        4096u        /* <option> and <optgroup> */
#define TN_HTML_MAX_ROOT_TAGS      8u           /* repeated <html>/<body> whose attributes are merged */
#define TN_HTML_MAX_NAMES          20000u       /* different tag names, and different attribute names */
#define TN_HTML_MAX_TREE_BYTES     (192u << 20) /* nodes: ends the storms of reconstructed formatting elements */
#define TN_HTML_MAX_TEXT_BYTES                                                                               \
    (96u << 20)                    /* text and attribute values, with what lexbor's growing leaves behind */
#define TN_HTML_CHUNK_BYTES 65536u /* fed at once; deadline and limits are looked at between two */

/* The walk over the tree. */
#define TN_HTML_MAX_DEPTH       640u       /* frames; deeper subtrees are skipped */
#define TN_HTML_MAX_BLOCKS      4096u      /* text blocks; the rest of the page is left out */
#define TN_HTML_MAX_TEXT        (8u << 20) /* bytes of all block texts together */
#define TN_HTML_MAX_ATTR_SCAN   256u       /* bytes of one class/id/... value */
#define TN_HTML_MAX_META_TEXT   4096u      /* bytes kept of one <title> or meta value */
#define TN_HTML_MAX_WORD        32u        /* bytes of a word that are hashed */
#define TN_HTML_MAX_TITLE_WORDS 64u        /* words of <title> that blocks are compared with */
#define TN_HTML_MAX_PROBES      32u        /* places tried in the table of tallies */
#define TN_HTML_GROUP_LEVELS    6u         /* ancestors looked at for a repeated template */
#define TN_HTML_MAX_SCHEMA      (1u << 20) /* bytes of JSON-LD scripts searched for types, each */

/* Widths of the tensors. */
#define TN_HTML_TAG_PATH          12
#define TN_HTML_ATTR_OWN          6
#define TN_HTML_ATTR_ANCESTOR     14
#define TN_HTML_ATTR_TOKENS       (TN_HTML_ATTR_OWN + TN_HTML_ATTR_ANCESTOR)
#define TN_HTML_ATTR_PER_ANCESTOR 3
#define TN_HTML_TEXT_TOKENS       24
#define TN_HTML_URL_TOKENS        32
#define TN_HTML_URL_SHAPE         4 /* of the url tokens: its form, not its words */
#define TN_HTML_SCHEMA_TOKENS     16
#define TN_HTML_PAGE_META         (48 + TN_HTML_SCHEMA_TOKENS)

/* Vocabularies: 0 is padding, tokens are 1 + hash % (size - 1). */
#define TN_HTML_TEXT_VOCAB 16384u
#define TN_HTML_ATTR_VOCAB 8192u
#define TN_HTML_URL_VOCAB  4096u
#define TN_HTML_META_VOCAB 8192u

/* FNV-1a, 32 bit (Fowler, Noll, Vo). */
#define TN_HTML_FNV_OFFSET 2166136261u
#define TN_HTML_FNV_PRIME  16777619u

/*
 * Salts keep the kinds of attributes and of page facts apart. class and id share one: names wander between
 * them.
 */
#define TN_HTML_SALT_TEXT      0x00u
#define TN_HTML_SALT_CLASS     0x11u
#define TN_HTML_SALT_ROLE      0x22u
#define TN_HTML_SALT_ITEMPROP  0x33u
#define TN_HTML_SALT_REL       0x44u
#define TN_HTML_SALT_HOST      0x55u
#define TN_HTML_SALT_PATH      0x66u
#define TN_HTML_SALT_TITLE     0x77u
#define TN_HTML_SALT_OGTYPE    0x88u
#define TN_HTML_SALT_LANG      0x99u
#define TN_HTML_SALT_GENERATOR 0xAAu
#define TN_HTML_SALT_BODYCLASS 0xBBu
#define TN_HTML_SALT_SCHEMA    0xCCu
#define TN_HTML_SALT_SHAPE     0xDDu

#endif
