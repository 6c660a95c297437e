/*
 * fuzz_model_config.c - ModelServerConfig files: whatever the bytes, a list whose every part can be read, or
 * an error with a message.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "model/config.h"

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
        if (c->base_path.ptr[0] != '/' || (c->policy == TN_POLICY_LATEST && c->latest == 0))
            abort();
        for (uint32_t j = 0; j < c->n_specific; j++)
            seen ^= c->specific[j];
        for (uint32_t j = 0; j < c->n_labels; j++) {
            use(c->label_names[j]);
            seen ^= c->label_versions[j];
        }
    }
    tn_arena_free(&arena);
    return 0;
}
