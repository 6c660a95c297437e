/*
 * test_html_lexer.c - the lexer (models/html/features/html_lexer.h) against lexbor's own tokenizer.
 *
 * Odd spellings one by one, each alone and with a page behind it; then the project's pages with one byte
 * replaced, at many places. The tensors must be the same with and without the lexer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "features/html_features.h"
#include "features/html_internal.h"

typedef struct pair {
    tern_html *fast, *plain;
} pair;

static int setup(void **state)
{
    static pair p;
    p.fast = tern_html_create();
    p.plain = tern_html_create();
    if (p.fast == NULL || p.plain == NULL)
        return -1;
    tn_html_guard_plain(p.plain);
    *state = &p;
    return 0;
}

static int teardown(void **state)
{
    pair *p = *state;
    tern_html_free(p->fast);
    tern_html_free(p->plain);
    return 0;
}

/* All tensors one after the other, owned by the caller. */
static int32_t *tensors(tern_html *x, size_t *count)
{
    size_t n = 0;
    int64_t shape[2];
    int32_t *all = NULL;
    for (int t = 0; t < TERN_HTML_TENSORS; t++) {
        const int rank = tern_html_tensor_shape(x, t, shape);
        const size_t k = (size_t)(shape[0] * (rank == 2 ? shape[1] : 1));
        all = realloc(all, (n + k) * sizeof *all);
        assert_non_null(all);
        tern_html_tensor_fill(x, t, all + n);
        n += k;
    }
    *count = n;
    return all;
}

/* The page lies in memory of its own size, so that a sanitizer sees what is read behind it. */
static void assert_same(pair *p, const char *page, size_t n)
{
    static const char type[] = "text/html; charset=utf-8";
    char *copy = malloc(n);
    assert_non_null(copy);
    memcpy(copy, page, n);
    const int rc = tern_html_extract(p->fast, copy, n, type, sizeof type - 1, NULL, 0, 0);
    assert_int_equal(tern_html_extract(p->plain, copy, n, type, sizeof type - 1, NULL, 0, 0), rc);
    if (rc == TERN_HTML_OK) {
        size_t a, b;
        int32_t *fast = tensors(p->fast, &a), *plain = tensors(p->plain, &b);
        if (a != b || memcmp(fast, plain, a * sizeof *fast) != 0)
            fail_msg("lexbor reads it otherwise: %.*s", (int)(n < 3000 ? n : 3000), page);
        free(fast);
        free(plain);
    }
    free(copy);
}

static void odd_spellings_are_read_alike(void **state)
{
    static const char *const odd[] = {
        "<p CLASS=a class=b>x",
        "<p class=a/>x",
        "<p / class=a>x",
        "<p/class=a/id=b>x",
        "<p class = 'a' id>x",
        "<p class=\"a\"id=\"b\">x",
        "<p class=>x",
        "<p class= >x",
        "<p class=''>x",
        "<p =class=a>x",
        "<p class=a&amp;b>x",
        "<p class='a\rb'>x",
        "<p cl<ass=a>x",
        "<p class\"=a>x",
        "<p class=a'b>x",
        "<p style='color:red' style='display:none'>x",
        "<p hidden>x",
        "<P\fid=q\n>x",
        "<p class=a",
        "<p class='a",
        "<p class",
        "<p ",
        "<p",
        "<",
        "x<",
        "a < b <p>c",
        "</>x",
        "</ p>x",
        "</p class=a>x",
        "<p>a</p/>b",
        "<br/>a<br />b",
        "<input type=hidden value=a><input value='b &lt; c'>",
        "<svg><path d='M0 0'/><g class=a><title>t</title></g></svg>x",
        "<my-tag class=a>x</my-tag>y",
        "<averyveryverylongname class=a>x</averyveryverylongname>",
        "<p averyveryverylongname=1 class=a>x",
        "<!-->a",
        "<!--->a",
        "<!---->a",
        "<!--a--!>b",
        "<!--a--!-->b",
        "<!--<!-->b",
        "<!--<!--!>b-->c",
        "<!--",
        "<!-- - -- >-->a",
        "<!doctype html>a",
        "<!a>b",
        "<?a>b",
        "<![CDATA[a]]>b",
        "<svg><![CDATA[a<b]]></svg>c",
        "<p>a\r\nb\rc\r",
        "<p>a\r",
        "\r\n<p>\r\n\r\n</p>",
        "<p>&amp;\r\n&lt;b",
        "<pre>\r\nx</pre>",
        "<pre>\nx</pre>",
        "<textarea>\r\n<p></textarea>a",
        "<title>a<b></title>c",
        "<style>a</styl></style >b",
        "<style></STYLE/>b",
        "<style><!--</style>-->b",
        "<style>a",
        "<script>a</script>b",
        "<script>a</SCRIPT\t>b",
        "<script>a</script",
        "<script>a</scripty></script>b",
        "<script><!--<script></script>a</script>b",
        "<script><!--a</script>b-->c",
        "<script type=application/ld+json>{\"@type\": \"Product\"}</script>a",
        "<script type='application/ld+json'>{\"@type\":\r\n \"Pro\rduct\"}</script>a",
        "<script/>a</script>b",
        "<svg><script>a<b></script></svg>c",
        "<svg><style>a<b></style></svg>c",
        "<plaintext>a</plaintext>",
        "<noscript><p class=a>b</noscript>c",
        "<iframe><p></iframe>a",
        "<table>a<tr>b<td>c</table>d",
        "<select><option class=a>b<option>c</select>",
        "<body class=a><body class=b id=c lang=en>x",
        "<a href='?a&b' class=c rel=nofollow>x</a>",
        "<link rel=canonical href='http://h/?a&amp;b'><p>x",
        "<time datetime=2020-01-02>a</time>",
        "<meta name=author content='A &amp; B'><p>x",
    };
    pair *p = *state;
    char page[512];
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        assert_same(p, odd[i], strlen(odd[i]));
        const int n = snprintf(page, sizeof page, "<html><body><div>%s<p>y</p><b class=z>z</div>", odd[i]);
        assert_same(p, page, (size_t)n);
        for (size_t k = 0; k < strlen(odd[i]); k++) { /* NUL is odd everywhere */
            char with_nul[512];
            memcpy(with_nul, page, (size_t)n);
            with_nul[17 + k] = '\0';
            assert_same(p, with_nul, (size_t)n);
        }
    }
}

static void changed_pages_are_read_alike(void **state)
{
    static const char *const names[] = {"article", "artikel", "documentation", "forum", "listing", "product"};
    static const char bytes[] = "<>/='\"& \r!-sap";
    static char page[1 << 16];
    pair *p = *state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64];
        snprintf(path, sizeof path, "models/html/pages/%s.html", names[i]);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        const size_t n = fread(page, 1, sizeof page, f);
        fclose(f);
        assert_same(p, page, n);
        for (size_t k = i, turn = 0; k < n; k += 7, turn++) {
            const char kept = page[k];
            page[k] = bytes[turn % (sizeof bytes - 1)];
            assert_same(p, page, n);
            page[k] = kept;
        }
    }
}

/* More attributes than are kept of one tag (TN_HTML_MAX_ATTRIBUTES). */
static void many_attributes_are_read_alike(void **state)
{
    pair *p = *state;
    char page[2048];
    for (uint32_t many = TN_HTML_MAX_ATTRIBUTES - 2; many < TN_HTML_MAX_ATTRIBUTES + 3; many++) {
        for (int wanted = 0; wanted < 2; wanted++) {
            size_t n = (size_t)snprintf(page, sizeof page, "<div><p ");
            for (uint32_t i = 0; i < many; i++)
                n += (size_t)snprintf(page + n, sizeof page - n, wanted ? "role=r%u " : "a%u='' ", i);
            n += (size_t)snprintf(page + n, sizeof page - n, "class=b>c<i class=d>e");
            assert_same(p, page, n);
        }
    }
}

/* Chunks of 64 kB (TN_HTML_CHUNK_BYTES) end within tokens of every kind. */
static void chunks_end_anywhere(void **state)
{
    static const char part[] =
        "<div class='a b'><!-- c --><my-tag id=d>e &amp; f</my-tag>\r\n<script>if (a < b) c();</script>"
        "<p data-x=\"some longer value\">g <b>h</b> i</p><path class=j>k</div>";
    enum { ROOM = 3 * TN_HTML_CHUNK_BYTES };
    pair *p = *state;
    char *page = malloc(ROOM);
    assert_non_null(page);
    for (size_t lead = 0; lead < sizeof part; lead += 3) {
        memset(page, ' ', lead);
        size_t n = lead;
        for (; n + sizeof part < ROOM; n += sizeof part - 1)
            memcpy(page + n, part, sizeof part - 1);
        assert_same(p, page, n);
    }
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(odd_spellings_are_read_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(changed_pages_are_read_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(many_attributes_are_read_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(chunks_end_anywhere, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
