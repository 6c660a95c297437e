/* test_extra.c - a version's tern.json: what is read of it, and what `tern tune` makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/extra.h"

static char folder[] = "/tmp/tern-test-extra-XXXXXX";
static char extra_folder[sizeof folder + 32], file[sizeof folder + 64];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(extra_folder, sizeof extra_folder, "%s/assets.extra", folder);
    snprintf(file, sizeof file, "%s/" TN_EXTRA_FILE, folder);
    return mkdir(extra_folder, 0700);
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(file);
    return rmdir(extra_folder) | rmdir(folder);
}

static tern_code settings_of(const char *text, tn_extra *extra, tn_arena *arena, tern_status *st)
{
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    return tn_extra_settings(folder, arena, extra, st);
}

static void test_settings(void **state)
{
    static const struct {
        const char *text, *engine;
        int threads;
    } good[] = {{"{}", "", 0},
                {"{\"engine\": null, \"threads\": null, \"other\": 1.5}", "", 0},
                {"{\"threads\": 1024, \"engine\": \"openvino\"}", "openvino", 1024}};
    static const struct {
        const char *text, *word;
    } bad[] = {{"[]", "not an object"},
               {"{\"engine\": 1}", "\"engine\""},
               {"{\"threads\": 0}", "\"threads\""},
               {"{\"threads\": 1.5}", "1024"},
               {"{\"threads\": \"1\"}", "1024"},
               {"{\"threads\": 1025}", "1024"},
               {"{", "tern.json"}};
    tn_extra extra;
    tern_status st;
    tn_arena arena;
    (void)state;
    tn_arena_init(&arena, 1u << 20);
    (void)unlink(file);
    assert_int_equal(tn_extra_settings(folder, &arena, &extra, &st), TERN_OK);
    assert_int_equal(extra.engine.len, 0);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(settings_of(good[i].text, &extra, &arena, &st), TERN_OK);
        assert_true(tn_str_eq(extra.engine, tn_str_from(good[i].engine)) || extra.engine.len == 0);
        assert_int_equal(extra.engine.len, strlen(good[i].engine));
        assert_int_equal(extra.threads, good[i].threads);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(settings_of(bad[i].text, &extra, &arena, &st), TERN_INVALID_ARGUMENT);
        assert_non_null(strstr(st.message, bad[i].word));
    }
    tn_arena_free(&arena);
}

static void merged(const char *text, const char *engine, int threads, const char *want)
{
    const tn_extra extra = {.engine = tn_str_from(engine), .threads = threads};
    tern_status st;
    tn_arena arena;
    tn_buf out;
    tn_arena_init(&arena, 1u << 20);
    tn_buf_init(&out, 1u << 20);
    assert_int_equal(
        tn_extra_merge(text != NULL ? tn_str_from(text) : TN_STR_NONE, &extra, &arena, &out, &st), TERN_OK);
    assert_int_equal(out.len, strlen(want));
    assert_memory_equal(out.ptr, want, out.len);
    tn_buf_free(&out);
    tn_arena_free(&arena);
}

/* Others keep their order, their numbers' digits and their nesting; what is no longer wanted goes. */
static void test_merge(void **state)
{
    tern_status st;
    tn_arena arena;
    tn_buf out;
    const tn_extra extra = {.engine = TN_STR("a")};
    (void)state;
    merged(NULL, "openvino", 1, "{\n  \"engine\": \"openvino\",\n  \"threads\": 1\n}\n");
    merged("{}", "", 0, "{\n}\n");
    merged(
        "{\"x\": [1.50, {\"y\": null}, true, \"\\u00e9\\n\"], \"threads\": 7, \"engine\": \"b\", \"z\": {}}",
        "a", 0, "{\n  \"engine\": \"a\",\n  \"x\": [1.50, {\"y\": null}, true, \"é\\n\"],\n  \"z\": {}\n}\n");
    tn_arena_init(&arena, 1u << 20);
    tn_buf_init(&out, 1u << 20);
    assert_int_equal(tn_extra_merge(TN_STR("[1]"), &extra, &arena, &out, &st), TERN_INVALID_ARGUMENT);
    assert_int_equal(tn_extra_merge(TN_STR("{\"a\""), &extra, &arena, &out, &st), TERN_INVALID_ARGUMENT);
    tn_buf_free(&out);
    tn_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_merge),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
