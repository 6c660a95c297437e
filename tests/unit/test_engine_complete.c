/*
 * test_engine_complete.c - a SavedModel that is being copied: whole or not, at every length of its files.
 */
#include "complete.h"
#include "model_help.h"

static char *folder;

static int setup(void **state)
{
    folder = help_folder();
    return 0;
}

static int teardown(void **state)
{
    help_remove(folder);
    free(folder);
    return 0;
}

static void write_bytes(const char *name, const void *bytes, size_t n)
{
    int fd = open(help_path("%s/%s", folder, name), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    close(fd);
}

/* SavedModel{schema 1, MetaGraphDef{meta_info, graph of 300 bytes, saver_def?}, then an unknown field}. */
static size_t saved_model(uint8_t *out, bool variables)
{
    uint8_t graph[512];
    size_t g = 0;
    const uint8_t meta_info[] = {0x0A, 2, 0x12, 0};
    memcpy(graph, meta_info, sizeof meta_info);
    g += sizeof meta_info;
    const uint8_t head[] = {0x12, 0xAC, 2}; /* graph_def: 300 bytes, whatever is in it */
    memcpy(graph + g, head, sizeof head);
    g += sizeof head;
    memset(graph + g, 0xFF, 300);
    g += 300;
    /* SaverDef{filename_tensor_name "f", restore_op_name "r" or nothing, sharded} */
    const uint8_t saver[] = {0x1A, 8, 0x0A, 1, 'f', 0x1A, 1, 'r', 0x28, 1};
    const uint8_t empty[] = {0x1A, 5, 0x0A, 1, 'f', 0x1A, 0};
    memcpy(graph + g, variables ? saver : empty, variables ? sizeof saver : sizeof empty);
    g += variables ? sizeof saver : sizeof empty;
    size_t n = 0;
    out[n++] = 0x08;
    out[n++] = 1;
    out[n++] = 0x12;
    out[n++] = (uint8_t)(0x80 | (g & 0x7F));
    out[n++] = (uint8_t)(g >> 7);
    memcpy(out + n, graph, g);
    n += g;
    out[n++] = 0x7D; /* field 15, 4 bytes */
    memset(out + n, 1, 4);
    return n + 4;
}

static void test_every_length(void **state)
{
    uint8_t bytes[1024];
    size_t n = saved_model(bytes, false);
    size_t whole = 0;
    assert_false(tn_saved_model_complete(folder));
    for (size_t i = 0; i <= n; i++) {
        write_bytes("saved_model.pb", bytes, i);
        if (!tn_saved_model_complete(folder))
            continue;
        /* Only at the ends of fields of the outermost message can nobody tell. */
        assert_true(i == n - 5 || i == n);
        whole++;
    }
    assert_int_equal(whole, 2);
}

static void test_variables(void **state)
{
    uint8_t bytes[1024];
    size_t n = saved_model(bytes, true);
    write_bytes("saved_model.pb", bytes, n);
    assert_false(tn_saved_model_complete(folder));
    help_mkdir(help_path("%s/variables", folder));
    assert_false(tn_saved_model_complete(folder));
    write_bytes("variables/variables.index", "", 0);
    write_bytes("variables/variables.data-00000-of-00002", "x", 1);
    assert_false(tn_saved_model_complete(folder));
    write_bytes("variables/variables.index", "x", 1);
    assert_false(tn_saved_model_complete(folder));
    write_bytes("variables/variables.data-00001-of-00002.part", "x", 1);
    write_bytes("variables/variables.data-00002-of-00002", "x", 1);
    assert_false(tn_saved_model_complete(folder));
    write_bytes("variables/variables.data-00001-of-00002", "", 0);
    assert_true(tn_saved_model_complete(folder));
    assert_int_equal(unlink(help_path("%s/variables/variables.index", folder)), 0);
    assert_false(tn_saved_model_complete(folder));
}

static void test_broken_and_text(void **state)
{
    static const char *const broken[] = {"this is no protobuf",
                                         "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "\x12\x03\x1A\x05zz",
                                         "\x0B\x0C", "\x12\x80\x80\x80\x80\x80\x80\x80\x80\x7F"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        write_bytes("saved_model.pb", broken[i], strlen(broken[i]));
        assert_false(tn_saved_model_complete(folder));
    }
    assert_int_equal(unlink(help_path("%s/saved_model.pb", folder)), 0);
    assert_int_equal(mkfifo(help_path("%s/saved_model.pb", folder), 0666), 0);
    assert_false(tn_saved_model_complete(folder));
    assert_int_equal(unlink(help_path("%s/saved_model.pb", folder)), 0);
    write_bytes("saved_model.pbtxt", "saved_model_schema_version: 1", 29);
    assert_true(tn_saved_model_complete(folder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_length, setup, teardown),
        cmocka_unit_test_setup_teardown(test_variables, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_and_text, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
