/*
 * fuzz_model_config.c - ModelServerConfig files: whatever the bytes, a list whose every part can be read, or
 * an error with a message.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "model/config.h"
#include "model/life.h"

static volatile int64_t seen; /* what was read goes here, so that the sanitizers see it */

static void use(tn_str s)
{
    if (s.ptr == NULL || s.ptr[s.len] != '\0')
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tn_log_level(TERN_LOG_ERROR);
    tn_arena arena = {0};
    tn_arena_init(&arena, 1 << 20);
    const tn_model_config *configs;
    uint32_t n;
    tern_status st;
    tern_code code = tn_model_config_parse((tn_str){(const char *)data, size}, &arena, &configs, &n, &st);
    if (code != TERN_OK && (n != 0 || st.code != code || st.length == 0))
        abort();
    for (uint32_t i = 0; i < n; i++) {
        const tn_model_config *c = &configs[i];
        use(c->name);
        use(c->base_path);
        use(c->platform);
        if (c->policy == TN_POLICY_LATEST && c->latest == 0)
            abort();
        tn_str platform;
        if (tn_held_platform(c, &platform, &st) == TERN_OK && platform.len == 0)
            abort();
        for (uint32_t j = 0; j < c->n_specific; j++)
            seen ^= c->specific[j];
        for (uint32_t j = 0; j < c->n_labels; j++) {
            use(c->label_names[j]);
            seen ^= c->label_versions[j];
        }
    }
    /* Names are there once when the list is good: then a copy of each is the same. */
    if (tn_held_check_list(configs, n, &st) == TERN_OK)
        for (uint32_t i = 0; i < n; i++) {
            tn_held *held = tn_held_new(&configs[i]);
            if (held == NULL || !tn_held_equal(&held->config, &configs[i]))
                abort();
            tn_held_release(held);
        }
    tn_arena_free(&arena);
    return 0;
}
