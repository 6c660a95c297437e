/*
 * test_html_features.c - what the feature library makes of small pages, and the golden hashes of the
 * project's own pages.
 *
 * tests/vectors/html/golden.txt holds one SHA-256 over all tensors for each page of models/html/pages;
 * tests/html checks the same file from Python, so that both sides are known to see the same numbers. With
 * --hash, the program prints that hash for each file named on its standard input: how tests/html compares C
 * with Python on real pages.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "features/html_features.h"

static int setup(void **state)
{
    *state = tern_html_create();
    return *state == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    tern_html_free(*state);
    return 0;
}

static int extract(tern_html *x, const char *page)
{
    return tern_html_extract(x, page, strlen(page), NULL, 0, NULL, 0, 0);
}

static int extract_as(tern_html *x, const char *page, const char *content_type)
{
    return tern_html_extract(x, page, strlen(page), content_type, strlen(content_type), NULL, 0, 0);
}

static void assert_block(tern_html *x, uint32_t i, const char *text)
{
    tern_html_block b;
    assert_int_equal(tern_html_block_at(x, i, &b), 0);
    assert_int_equal(b.length, strlen(text));
    assert_memory_equal(b.text, text, b.length);
}

/* The tensor, owned by the caller. */
static int32_t *tensor(tern_html *x, int which, int64_t shape[2])
{
    int rank = tern_html_tensor_shape(x, which, shape);
    if (rank == 1)
        shape[1] = 1;
    int32_t *t = calloc((size_t)(shape[0] * shape[1]), sizeof *t);
    assert_non_null(t);
    tern_html_tensor_fill(x, which, t);
    return t;
}

static int column(const char *name)
{
    for (int i = 0; tern_html_numeric_name(i) != NULL; i++)
        if (strcmp(tern_html_numeric_name(i), name) == 0)
            return i;
    fail_msg("no column %s", name);
    return -1;
}

static int32_t count_of(tern_html *x, uint32_t block, const char *name)
{
    int64_t shape[2];
    int32_t *t = tensor(x, TERN_HTML_NUMERIC, shape);
    int32_t v = t[(int64_t)block * shape[1] + column(name)];
    free(t);
    return v;
}

static void text_is_cut_into_blocks(void **state)
{
    tern_html *x = *state;
    assert_int_equal(
        extract(x, "<body><h1> A  title </h1><p>One <b>bold</b>&nbsp;line<br>goes on<br><br>new <i>part</i>"
                   "<div>x<ul><li>a<li><a href=y>b</a></ul></div><script>no()</script><style>p{}</style>"),
        TERN_HTML_OK);
    assert_int_equal(tern_html_block_count(x), 6);
    assert_block(x, 0, "A title");
    assert_block(x, 1, "One bold line goes on");
    assert_block(x, 2, "new part");
    assert_block(x, 3, "x");
    assert_block(x, 4, "a");
    assert_block(x, 5, "b");
    tern_html_block b;
    assert_int_equal(tern_html_block_at(x, 0, &b), 0);
    assert_int_equal(b.heading, 1);
    assert_string_equal(tern_html_tag_name(b.tag), "h1");
    assert_int_equal(b.offset, 11);
    assert_int_equal(tern_html_block_at(x, 6, &b), -1);
    assert_int_equal(count_of(x, 5, "link_bytes"), 1);
    assert_int_equal(count_of(x, 1, "link_bytes"), 0);
    assert_int_equal(count_of(x, 1, "words"), 5);
    assert_int_equal(count_of(x, 1, "breaks"), 3); /* those that ended it included */
}

static void noscript_is_kept_and_marked(void **state)
{
    tern_html *x = *state;
    assert_int_equal(
        extract(x, "<body><noscript><p>thread</p></noscript><template><p>no</p></template><svg><text>no"
                   "</text></svg><p>after"),
        TERN_HTML_OK);
    assert_int_equal(tern_html_block_count(x), 2);
    tern_html_block b;
    tern_html_block_at(x, 0, &b);
    assert_true(b.context & TERN_HTML_IN_NOSCRIPT);
    assert_block(x, 0, "thread");
    assert_block(x, 1, "after");
}

static void controls_are_blocks(void **state)
{
    tern_html *x = *state;
    assert_int_equal(extract(x, "<form>Find <input placeholder='Search here'><input type=hidden value=no>"
                                "<select><option>a<option>b</select></form>"),
                     TERN_HTML_OK);
    assert_int_equal(tern_html_block_count(x), 3);
    assert_block(x, 0, "Find");
    assert_block(x, 1, "Search here");
    assert_block(x, 2, "");
    assert_int_equal(count_of(x, 1, "is_control"), 1);
    assert_int_equal(count_of(x, 1, "in_form"), 1);
    assert_int_equal(count_of(x, 0, "is_control"), 0);
}

static void landmarks_are_context(void **state)
{
    tern_html *x = *state;
    assert_int_equal(
        extract(x, "<header>h</header><div role=navigation>n</div><main><article><header>own</header>t"
                   "</article></main><footer>f</footer><div class='wp-comments'>c</div>"
                   "<div style='color:red; display:none'>d</div>"),
        TERN_HTML_OK);
    static const struct {
        const char *bit;
        uint32_t block;
        int32_t value;
    } expected[] = {{"in_header", 0, 1},  {"in_nav", 1, 1},    {"in_header", 2, 0},
                    {"in_article", 2, 1}, {"in_main", 3, 1},   {"in_footer", 4, 1},
                    {"in_comment", 5, 1}, {"in_hidden", 6, 1}, {"in_comment", 6, 0}};
    assert_int_equal(tern_html_block_count(x), 7);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(count_of(x, expected[i].block, expected[i].bit), expected[i].value);
}

static void names_are_split_alike(void **state)
{
    tern_html *x = *state;
    int64_t shape[2];
    assert_int_equal(extract(x, "<div class=postBody><p class='post-body'>a</div><div id=POST_body12><p>b"),
                     TERN_HTML_OK);
    int32_t *t = tensor(x, TERN_HTML_ATTR_TOKENS, shape);
    assert_int_equal(shape[1], 20);
    assert_int_not_equal(t[0], 0);
    assert_int_equal(t[0], t[6]); /* own post, the ancestor's post */
    assert_int_equal(t[1], t[7]);
    assert_int_equal(t[20], 0); /* the second <p> has no names of its own */
    assert_int_equal(t[26], t[0]);
    assert_int_equal(t[27], t[1]);
    free(t);
}

static void facts_are_found(void **state)
{
    tern_html *x = *state;
    uint32_t n;
    assert_int_equal(extract(x,
                             "<html lang=de-AT><title> T &amp; S </title><meta property=og:title content=OT>"
                             "<meta name=Author content='A B'><meta name=author content=second>"
                             "<meta property=article:published_time content=2020-02-03T10:00:00Z>"
                             "<link rel=canonical href=https://a.example/x/1><body class='single post'>x"),
                     TERN_HTML_OK);
    static const struct {
        int which;
        const char *value;
    } expected[] = {{TERN_HTML_META_TITLE, "T & S"},
                    {TERN_HTML_META_OG_TITLE, "OT"},
                    {TERN_HTML_META_AUTHOR, "A B"},
                    {TERN_HTML_META_DATE, "2020-02-03T10:00:00Z"},
                    {TERN_HTML_META_LANG, "de-AT"},
                    {TERN_HTML_META_URL, "https://a.example/x/1"},
                    {TERN_HTML_META_BODY_CLASS, "single post"}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const char *v = tern_html_meta(x, expected[i].which, &n);
        assert_non_null(v);
        assert_int_equal(n, strlen(expected[i].value));
        assert_memory_equal(v, expected[i].value, n);
    }
    assert_null(tern_html_meta(x, TERN_HTML_META_GENERATOR, &n));
    assert_null(tern_html_meta(x, 99, &n));
}

static void charsets_are_decided(void **state)
{
    tern_html *x = *state;
    assert_int_equal(extract(x, "<p>gr\xC3\xBC\xC3\x9F"), TERN_HTML_OK);
    assert_string_equal(tern_html_charset(x), "utf-8");
    assert_int_equal(extract(x, "<p>gr\xFC\xDF \x80"), TERN_HTML_OK);
    assert_string_equal(tern_html_charset(x), "windows-1252");
    assert_block(x, 0, "gr\xC3\xBC\xC3\x9F \xE2\x82\xAC");
    assert_int_equal(extract_as(x, "<p>\xA4", "text/html; charset=ISO-8859-15"), TERN_HTML_OK);
    assert_block(x, 0, "\xE2\x82\xAC");
    assert_int_equal(extract(x, "<meta charset='koi8-r'><p>\xC4\xC1"), TERN_HTML_OK);
    assert_string_equal(tern_html_charset(x), "koi8-r");
    assert_block(x, 0, "\xD0\xB4\xD0\xB0");
    assert_int_equal(extract(x, "\xEF\xBB\xBF<meta charset=koi8-r><p>\xC3\xBC"), TERN_HTML_OK);
    assert_block(x, 0, "\xC3\xBC");
    assert_int_equal(tern_html_extract(x, "\xFF\xFE<\0p\0>\0x\0", 10, NULL, 0, NULL, 0, 0), TERN_HTML_OK);
    assert_block(x, 0, "x");
    assert_int_equal(extract(x, "<meta charset=utf-8><p>a\xE2\x82z\xFFy"), TERN_HTML_OK);
    assert_block(x, 0, "a\xEF\xBF\xBDz\xEF\xBF\xBDy");
    assert_int_equal(extract_as(x, "<p>x", "text/html; charset=no-such"), TERN_HTML_CHARSET);
    assert_non_null(strstr(tern_html_message(x), "no-such"));
    assert_int_equal(extract(x, "<meta charset=no-such><p>x"),
                     TERN_HTML_OK); /* a page's own mistake costs nothing */
    assert_string_equal(tern_html_charset(x), "utf-8");
}

static void what_is_no_page_is_refused(void **state)
{
    tern_html *x = *state;
    assert_int_equal(extract(x, ""), TERN_HTML_EMPTY);
    assert_int_equal(extract(x, " \r\n\t"), TERN_HTML_EMPTY);
    assert_int_equal(extract(x, "just some text"), TERN_HTML_NOT_HTML);
    assert_int_equal(extract(x, "{\"a\": [1 < 2]}"), TERN_HTML_NOT_HTML);
    assert_int_equal(extract(x, "%PDF-1.7 <p>"), TERN_HTML_NOT_HTML);
    assert_non_null(strstr(tern_html_message(x), "PDF"));
    assert_int_equal(tern_html_block_count(x), 0);
    assert_int_equal(tern_html_extract(x, "<p>x", 4, NULL, 0, NULL, 0, 1), TERN_HTML_DEADLINE);
    assert_int_equal(extract(x, "<p>fine"), TERN_HTML_OK); /* and the next page is read */
    assert_string_equal(tern_html_message(x), "");
    assert_int_equal(extract(x, "<br>"), TERN_HTML_OK);
    assert_int_equal(tern_html_block_count(x), 1); /* without text: one empty block */
}

static void url_is_given_or_canonical(void **state)
{
    tern_html *x = *state;
    int64_t shape[2];
    assert_int_equal(extract(x, "<link rel=canonical href='https://blog.example/2020/03/my-post'><p>x"),
                     TERN_HTML_OK);
    int32_t *own = tensor(x, TERN_HTML_URL_TOKENS, shape);
    static const char url[] = "https://blog.example/2020/03/my-post";
    assert_int_equal(tern_html_extract(x, "<p>x", 4, NULL, 0, url, sizeof url - 1, 0), TERN_HTML_OK);
    int32_t *given = tensor(x, TERN_HTML_URL_TOKENS, shape);
    assert_int_equal(shape[0], 32);
    assert_memory_equal(own, given, sizeof(int32_t) * 32);
    assert_int_not_equal(own[0], 0);
    free(own);
    free(given);
}

static void the_url_has_a_form(void **state)
{
    tern_html *x = *state;
    int64_t shape[2];
    static const char *const urls[] = {"https://a.example/shop/red-shoes?size=4",
                                       "https://b.example/news/big-town", "https://c.example/"};
    int32_t *t[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tern_html_extract(x, "<p>x", 4, NULL, 0, urls[i], strlen(urls[i]), 0), TERN_HTML_OK);
        t[i] = tensor(x, TERN_HTML_URL_TOKENS, shape);
    }
    assert_memory_equal(t[0] + 28, t[1] + 28, sizeof(int32_t) * 3); /* segments, hyphens, length */
    assert_int_not_equal(t[0][31], t[1][31]);                       /* a query */
    assert_int_not_equal(t[0][28], t[2][28]);
    for (int i = 0; i < 3; i++)
        free(t[i]);
}

static void repeated_templates_are_counted(void **state)
{
    tern_html *x = *state;
    assert_int_equal(extract(x, "<h1>Shoes</h1><ul class=grid>"
                                "<li class=card><h3>Red</h3><p>$ 9.50</p></li>"
                                "<li class=card><h3>Blue</h3><p>now 12 \xE2\x82\xAC, was \xC2\xA3 20</p></li>"
                                "<li class=card><h3>Green</h3><p>$off</p><p>new</p></li>"
                                "<li class=more>More</li></ul><p>End</p>"),
                     TERN_HTML_OK);
    assert_block(x, 4, "now 12 \xE2\x82\xAC, was \xC2\xA3 20");
    assert_int_equal(count_of(x, 2, "prices"), 1);
    assert_int_equal(count_of(x, 4, "prices"), 2);
    assert_int_equal(count_of(x, 6, "prices"), 0);
    assert_int_equal(count_of(x, 4, "group"), 3); /* three cards; the fourth item looks different */
    assert_int_equal(count_of(x, 4, "group_level"), 1);
    assert_int_equal(count_of(x, 4, "group_index"), 1);
    assert_int_equal(count_of(x, 4, "group_blocks"), 2);
    assert_int_equal(count_of(x, 4, "alike"), 1);
    assert_int_equal(count_of(x, 7, "alike"), 2);
    assert_int_equal(count_of(x, 7, "alike_index"), 1);
    assert_int_equal(count_of(x, 1, "same"), 3);
    assert_int_equal(count_of(x, 6, "same"), 4);
    assert_int_equal(count_of(x, 0, "same"), 1);
    assert_int_equal(count_of(x, 0, "group"), 0);
}

/* The part of page_meta that holds types of schema.org, for a page. */
static int32_t *schema_of(tern_html *x, const char *page, int *n)
{
    int64_t shape[2];
    assert_int_equal(extract(x, page), TERN_HTML_OK);
    int32_t *t = tensor(x, TERN_HTML_PAGE_META, shape);
    assert_int_equal(shape[0], 64);
    for (*n = 0; *n < 16 && t[48 + *n] != 0; (*n)++)
        ;
    return t;
}

static void types_of_schema_org_are_tokens(void **state)
{
    tern_html *x = *state;
    int n;
    int32_t *script =
        schema_of(x,
                  "<script type='application/ld+json'>{\"@graph\": [{\"@type\" : \"Product\", "
                  "\"offers\": {\"@type\": [ \"Offer\", \"Thing\" ]}}, {\"@type\": \"Product\"}, "
                  "{\"@type\": 3}, {\"@type\": \"Cut</script><p>x",
                  &n);
    assert_int_equal(n, 3);
    int32_t *microdata = schema_of(x,
                                   "<div itemscope itemtype='https://schema.org/Product'><p itemtype=Offer>x"
                                   "</div>",
                                   &n);
    assert_int_equal(n, 2);
    assert_memory_equal(script + 48, microdata + 48, sizeof(int32_t) * 2);
    free(script);
    free(microdata);
    free(schema_of(x, "<script>var a = '{\"@type\": \"Product\"}'</script><p>x", &n));
    assert_int_equal(n, 0); /* not JSON-LD */
}

/* ---- golden ---- */

static char *read_file(const char *path, size_t *length)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *bytes = malloc(1 << 20);
    assert_non_null(bytes);
    *length = fread(bytes, 1, 1 << 20, f);
    fclose(f);
    return bytes;
}

/* Names, shapes (int64) and values (int32) of all tensors, little-endian, in order. */
static void hash_tensors(tern_html *x, char hex[65])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned char digest[32];
    assert_int_equal(EVP_DigestInit_ex(md, EVP_sha256(), NULL), 1);
    for (int i = 0; i < TERN_HTML_TENSORS; i++) {
        int64_t shape[2];
        int rank = tern_html_tensor_shape(x, i, shape);
        EVP_DigestUpdate(md, tern_html_tensor_name(i), strlen(tern_html_tensor_name(i)));
        EVP_DigestUpdate(md, shape, sizeof *shape * (size_t)rank);
        int32_t *t = tensor(x, i, shape);
        EVP_DigestUpdate(md, t, sizeof *t * (size_t)(shape[0] * shape[1]));
        free(t);
    }
    EVP_DigestFinal_ex(md, digest, NULL);
    EVP_MD_CTX_free(md);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

static void own_pages_have_golden_tensors(void **state)
{
    tern_html *x = *state;
    FILE *golden = fopen("tests/vectors/html/golden.txt", "r");
    assert_non_null(golden);
    char line[256], name[64], want[65], hex[65], path[128];
    int pages = 0;
    assert_non_null(fgets(line, sizeof line, golden));
    line[strcspn(line, "\n")] = '\0';
    assert_string_equal(line, tern_html_fingerprint());
    while (fgets(line, sizeof line, golden) != NULL) {
        assert_int_equal(sscanf(line, "%64s %63s", want, name), 2);
        snprintf(path, sizeof path, "models/html/pages/%s", name);
        size_t length;
        char *page = read_file(path, &length);
        assert_int_equal(tern_html_extract(x, page, length, NULL, 0, NULL, 0, 0), TERN_HTML_OK);
        hash_tensors(x, hex);
        if (strcmp(hex, want) != 0)
            fail_msg("%s: %s, not %s", name, hex, want);
        free(page);
        pages++;
    }
    fclose(golden);
    assert_true(pages >= 4);
}

/* A page as it arrives: 0xFF, which is in no text, lies where nothing is yet. */
typedef struct sender {
    const char *page;
    char *there;
    size_t length, have, stop;
} sender;

static size_t arrived(void *context, size_t n)
{
    sender *s = context;
    assert_true(n <= s->length);
    if (n > s->stop)
        n = s->stop;
    if (n > s->have) {
        memcpy(s->there + s->have, s->page + s->have, n - s->have);
        s->have = n;
    }
    return s->have;
}

static int extract_arriving(tern_html *x, const char *page, size_t length, const char *type, size_t stop)
{
    sender s = {.page = page, .there = malloc(length + 1), .length = length, .stop = stop};
    assert_non_null(s.there);
    memset(s.there, 0xFF, length);
    int rc = tern_html_extract_arriving(x, s.there, length, type, type != NULL ? strlen(type) : 0, NULL, 0, 0,
                                        arrived, &s);
    if (rc != TERN_HTML_OK)
        assert_int_equal(tern_html_block_count(x), 0);
    free(s.there);
    return rc;
}

/* Long enough for several chunks, with characters of two to four bytes across their borders. */
static char *long_page(size_t *length)
{
    static const char *const words[] = {"Bär",     "Straße",      "日本語",
                                        "😀 smile", "plain words", "&uuml;ber &amp; out"};
    char *page = malloc(600000), *at = page;
    assert_non_null(page);
    at += snprintf(at, 100, "<!DOCTYPE html><title>Long</title>");
    for (int i = 0; at - page < 500000; i++)
        at += snprintf(at, 1000, "<div class=\"c%d\"><p>%s %d %s</p></div>%s", i % 13, words[i % 6], i,
                       words[i * 7 % 6], i % 100 == 99 ? "<script>var x = '<p>';</script>" : "");
    *length = (size_t)(at - page);
    return page;
}

static void arriving_pages_have_the_same_tensors(void **state)
{
    tern_html *x = *state, *y = tern_html_create();
    static const char *const names[] = {"article", "artikel", "documentation", "forum", "listing",
                                        "product", NULL};
    char want[65], hex[65], path[128];
    for (int i = 0; i < 7; i++) {
        size_t length;
        snprintf(path, sizeof path, "models/html/pages/%s.html", names[i] != NULL ? names[i] : "");
        char *page = names[i] != NULL ? read_file(path, &length) : long_page(&length);
        for (int typed = 0; typed < 2; typed++) {
            const char *type = typed ? "text/html; charset=UTF-8" : NULL;
            assert_int_equal(tern_html_extract(y, page, length, type, typed ? strlen(type) : 0, NULL, 0, 0),
                             0);
            hash_tensors(y, want);
            assert_int_equal(extract_arriving(x, page, length, type, length), TERN_HTML_OK);
            hash_tensors(x, hex);
            assert_string_equal(hex, want);
            assert_string_equal(tern_html_charset(x), "utf-8");
        }
        for (size_t stop = 0; stop < length; stop += length / 9)
            assert_int_equal(extract_arriving(x, page, length, NULL, stop), TERN_HTML_ARRIVING);
        free(page);
    }
    tern_html_free(y);
}

/* What only the whole page tells is left for later: broken characters, other charsets, marks, no HTML. */
static void arriving_pages_wait_for_what_the_whole_tells(void **state)
{
    tern_html *x = *state;
    size_t length;
    char *page = long_page(&length);
    page[length - 5] = (char)0xC3; /* in UTF-8 nothing of "</p>" follows it */
    assert_int_equal(extract_arriving(x, page, length, NULL, length), TERN_HTML_ARRIVING);
    free(page);
    static const struct {
        const char *page, *type;
    } others[] = {{"<p>caf\xE9</p>", NULL},
                  {"<p>text</p>", "text/html; charset=iso-8859-1"},
                  {"<meta charset=shift_jis><p>text</p>", NULL},
                  {"\xEF\xBB\xBF<p>text</p>", NULL},
                  {"\xFE\xFF<p>text</p>", NULL},
                  {"   \n ", NULL},
                  {"%PDF-1.4 <p>", NULL},
                  {"no tag", NULL}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(extract_arriving(x, others[i].page, strlen(others[i].page), others[i].type,
                                          strlen(others[i].page)),
                         TERN_HTML_ARRIVING);
    assert_int_equal(extract_arriving(x, "<p>text</p>", 11, NULL, 11), TERN_HTML_OK);
    assert_block(x, 0, "text");
}

/* Extractors share nothing: several threads at once give what one gives. */
typedef struct worker {
    pthread_t thread;
    char hex[65];
} worker;

static void *extract_often(void *argument)
{
    worker *w = argument;
    tern_html *x = tern_html_create();
    static const char page[] =
        "<html lang=en><title>T</title><body class=a><h1 class='b c'>March 2020</h1><p>x<p>y<svg>";
    for (int i = 0; i < 50; i++)
        if (x == NULL || tern_html_extract(x, page, sizeof page - 1, NULL, 0, NULL, 0, 0) != TERN_HTML_OK)
            return NULL;
    hash_tensors(x, w->hex);
    tern_html_free(x);
    return w;
}

static void threads_do_not_meet(void **state)
{
    worker w[4];
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&w[i].thread, NULL, extract_often, &w[i]), 0);
    for (int i = 0; i < 4; i++) {
        void *result;
        assert_int_equal(pthread_join(w[i].thread, &result), 0);
        assert_non_null(result);
        assert_string_equal(w[i].hex, w[0].hex);
    }
}

static int print_hashes(void)
{
    tern_html *x = tern_html_create();
    char path[4096], hex[65];
    while (x != NULL && fgets(path, sizeof path, stdin) != NULL) {
        path[strcspn(path, "\n")] = '\0';
        FILE *f = fopen(path, "rb");
        if (f == NULL)
            return 1;
        static char page[20 << 20];
        size_t length = fread(page, 1, sizeof page, f);
        fclose(f);
        if (tern_html_extract(x, page, length, NULL, 0, NULL, 0, 0) != TERN_HTML_OK)
            return 1;
        hash_tensors(x, hex);
        puts(hex);
    }
    tern_html_free(x);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--hash") == 0)
        return print_hashes();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(text_is_cut_into_blocks, setup, teardown),
        cmocka_unit_test_setup_teardown(noscript_is_kept_and_marked, setup, teardown),
        cmocka_unit_test_setup_teardown(controls_are_blocks, setup, teardown),
        cmocka_unit_test_setup_teardown(landmarks_are_context, setup, teardown),
        cmocka_unit_test_setup_teardown(names_are_split_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(facts_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(charsets_are_decided, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_page_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(url_is_given_or_canonical, setup, teardown),
        cmocka_unit_test_setup_teardown(the_url_has_a_form, setup, teardown),
        cmocka_unit_test_setup_teardown(repeated_templates_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(types_of_schema_org_are_tokens, setup, teardown),
        cmocka_unit_test(threads_do_not_meet),
        cmocka_unit_test_setup_teardown(own_pages_have_golden_tensors, setup, teardown),
        cmocka_unit_test_setup_teardown(arriving_pages_have_the_same_tensors, setup, teardown),
        cmocka_unit_test_setup_teardown(arriving_pages_wait_for_what_the_whole_tells, setup, teardown),
    };
    return cmocka_run_group_tests_name("html_features", tests, NULL, NULL);
}
