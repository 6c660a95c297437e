/*
 * fuzz_json.c - the small JSON tree: what parses is walked, its strings are quoted and parse back to themselves; base64 too.
 */
#include <stdlib.h>

#include "codec/base64.h"
#include "codec/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_string(tn_str s)
{
    tn_arena arena;
    tn_buf quoted;
    const tn_json *back;
    tern_status st;
    tn_arena_init(&arena, 16u << 20);
    tn_buf_init(&quoted, 16u << 20);
    tn_json_quote(&quoted, s);
    require(tn_str_is_utf8(tn_buf_view(&quoted)));
    require(tn_json_parse(tn_buf_view(&quoted), 4, &arena, &back, &st) == TERN_OK &&
            back->type == TN_JSON_STRING);
    if (tn_str_is_utf8(s))
        require(tn_str_eq(back->string, s));
    tn_buf_free(&quoted);
    tn_arena_free(&arena);
}

static void walk(const tn_json *v)
{
    if (v->type == TN_JSON_STRING)
        check_string(v->string);
    for (const tn_json *child = v->first; child != NULL; child = child->next)
        walk(child);
}

static void check_base64(tn_str s)
{
    char *decoded = malloc(tn_base64_room(s.len));
    size_t n;
    require(decoded != NULL);
    if (tn_base64_decode(s, decoded, &n)) {
        tn_buf again;
        char *twice = malloc(tn_base64_room(n * 2 + 8));
        size_t m = 0;
        tn_buf_init(&again, 16u << 20);
        tn_base64_encode((tn_str){decoded, n}, &again);
        require(twice != NULL && tn_base64_decode(tn_buf_view(&again), twice, &m));
        require(m == n && memcmp(twice, decoded, n) == 0);
        free(twice);
        tn_buf_free(&again);
    }
    free(decoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tn_arena arena;
    const tn_json *tree;
    tern_status st;
    tn_str text = {(const char *)data, size};
    tn_arena_init(&arena, 64u << 20);
    if (tn_json_parse(text, 100, &arena, &tree, &st) == TERN_OK)
        walk(tree);
    check_base64(text);
    tn_arena_free(&arena);
    return 0;
}
