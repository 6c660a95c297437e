/*
 * test_html_handler.c - the plugin behind tern/handler.h, with a host that is a few lines long: attach and its refusals, a
 * page through pre and post with outputs made by hand, and documents that cannot be used.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "features/html_features.h"
#include "postprocess/html_answer.h"
#include "tern/handler.h"

const tern_handler_api *tern_handler_entry(uint32_t host_abi_version);

enum { INPUTS = TERN_HTML_TENSORS + 1, ANSWER = 1 << 16 };

typedef struct input {
    char name[32];
    tern_dtype dtype;
    int32_t rank;
    int64_t dims[4];
    void *data;
} input;

struct tern_handler_call {
    input inputs[INPUTS];
    int n_inputs;
    tern_tensor outputs[4];
    float values[4][640];
    char answer[ANSWER];
    size_t length;
};

static tern_str str(const char *s)
{
    return (tern_str){s, strlen(s)};
}

static tern_code host_new_input(tern_handler_call *c, tern_str alias, tern_dtype dtype, int32_t rank,
                                const int64_t *dims, void **data, tern_status *st)
{
    (void)st;
    assert_true(c->n_inputs < INPUTS && rank <= 4 && alias.len < 32);
    input *in = &c->inputs[c->n_inputs++];
    memcpy(in->name, alias.ptr, alias.len);
    in->dtype = dtype;
    in->rank = rank;
    size_t n = 4;
    for (int32_t i = 0; i < rank; i++)
        n *= (size_t)(in->dims[i] = dims[i]);
    *data = in->data = malloc(n);
    assert_non_null(in->data);
    return TERN_OK;
}

static const tern_tensor *host_output(tern_handler_call *c, tern_str alias)
{
    static const char *const names[] = {"main", "role", "page_type", "language"};
    for (int i = 0; i < 4; i++)
        if (alias.len == strlen(names[i]) && memcmp(alias.ptr, names[i], alias.len) == 0 &&
            c->outputs[i].data != NULL)
            return &c->outputs[i];
    return NULL;
}

static tern_code host_write(tern_handler_call *c, const void *bytes, size_t length, tern_status *st)
{
    (void)st;
    assert_true(c->length + length < ANSWER);
    memcpy(c->answer + c->length, bytes, length);
    c->length += length;
    return TERN_OK;
}

/* All of the body, which is short. */
static size_t host_arrived(tern_handler_call *c, size_t want)
{
    (void)c;
    (void)want;
    return ANSWER;
}

static const tern_handler_host host = {
    .struct_size = sizeof(tern_handler_host),
    .abi_version = TERN_HANDLER_ABI,
    .new_input = host_new_input,
    .output = host_output,
    .write = host_write,
    .arrived = host_arrived,
};

/* A signature with the page model's inputs, but for the one named. */
static tern_signature_set *signatures(const char *without)
{
    static tern_io inputs[INPUTS];
    static tern_signature signature;
    static tern_signature_set set;
    uint32_t n = 0;
    for (int i = 0; i < INPUTS; i++) {
        const char *name = i < TERN_HTML_TENSORS ? tern_html_tensor_name(i) : "node_mask";
        if (without == NULL || strcmp(name, without) != 0)
            inputs[n++] = (tern_io){.name = str(name)};
    }
    signature = (tern_signature){.name = str("serving_default"), .inputs = inputs, .n_inputs = n};
    set = (tern_signature_set){.signatures = &signature, .n_signatures = 1};
    return &set;
}

static tern_code attach(const char *config, const char *without, tern_handler **h, tern_status *st)
{
    const tern_handler_api *api = tern_handler_entry(TERN_HANDLER_ABI);
    tern_handler_options options = {.struct_size = sizeof options,
                                    .directory = "/model/1",
                                    .config = config == NULL ? (tern_str){NULL, 0} : str(config),
                                    .signatures = signatures(without)};
    tern_status_init(st);
    return api->attach(&host, &options, h, st);
}

static const char *good_config(void)
{
    static char text[256];
    snprintf(
        text, sizeof text,
        "{\"handler\": \"html\", \"fingerprint\": \"%s\", \"thresholds\": {\"main\": 0.25, \"title\": 0.5}}",
        tern_html_fingerprint());
    return text;
}

static void free_inputs(tern_handler_call *c)
{
    for (int i = 0; i < c->n_inputs; i++)
        free(c->inputs[i].data);
    c->n_inputs = 0;
}

static void other_fingerprints_are_refused(void **state)
{
    (void)state;
    tern_handler *h;
    tern_status st;
    assert_int_equal(attach("{\"fingerprint\": \"html-features/1 0\"}", NULL, &h, &st),
                     TERN_FAILED_PRECONDITION);
    assert_null(h);
    assert_non_null(strstr(st.message, "trained on other features"));
    assert_int_equal(attach("{\"handler\": \"html\"}", NULL, &h, &st), TERN_FAILED_PRECONDITION);
    assert_int_equal(attach("{\"fingerprint\":", NULL, &h, &st), TERN_FAILED_PRECONDITION);
    assert_int_equal(attach("{\"fingerprint\": \"", NULL, &h, &st), TERN_FAILED_PRECONDITION);
    assert_int_equal(attach(NULL, NULL, &h, &st), TERN_FAILED_PRECONDITION);
    assert_int_equal(attach(good_config(), "numeric", &h, &st), TERN_FAILED_PRECONDITION);
    assert_non_null(strstr(st.message, "\"numeric\""));
    assert_null(tern_handler_entry(0));
    tern_handler_entry(TERN_HANDLER_ABI)->detach(NULL);
}

static void page_goes_through(void **state)
{
    (void)state;
    const tern_handler_api *api = tern_handler_entry(TERN_HANDLER_ABI);
    tern_handler_call *c = calloc(1, sizeof *c);
    tern_handler *h;
    tern_status st;
    void *held = NULL;
    assert_non_null(c);
    assert_int_equal(attach(good_config(), NULL, &h, &st), TERN_OK);
    tern_handler_request r = {.struct_size = sizeof r,
                              .body = str("<h1>Title</h1><p>Some text.</p>"),
                              .content_type = str("text/html; charset=utf-8")};
    assert_int_equal(api->pre(h, &r, c, &held, &st), TERN_OK);
    assert_non_null(held);
    assert_int_equal(c->n_inputs, INPUTS);
    for (int i = 0; i < TERN_HTML_TENSORS; i++) {
        assert_string_equal(c->inputs[i].name, tern_html_tensor_name(i));
        assert_int_equal(c->inputs[i].dtype, TERN_INT32);
        assert_int_equal(c->inputs[i].dims[0], 1);
        assert_int_equal(c->inputs[i].rank, i < TERN_HTML_URL_TOKENS ? 3 : 2);
    }
    const input *mask = &c->inputs[TERN_HTML_TENSORS];
    assert_string_equal(mask->name, "node_mask");
    assert_int_equal(mask->dims[1], 2);
    assert_true(((float *)mask->data)[0] == 1.0f && ((float *)mask->data)[1] == 1.0f);
    assert_int_equal(((int32_t *)c->inputs[0].data)[0], 13); /* h1 */
    static const size_t counts[4] = {2, 2 * TERN_HTML_ROLES, TERN_HTML_PAGE_TYPES, TERN_HTML_LANGUAGES};
    for (int i = 0; i < 4; i++)
        c->outputs[i] = (tern_tensor){.dtype = TERN_FLOAT, .data = c->values[i], .size = 4 * counts[i]};
    c->values[0][1] = 0.25f; /* at the threshold of the config */
    c->values[1][TERN_HTML_ROLE_TITLE] = 0.9f;
    assert_int_equal(api->post(h, &r, c, held, &st), TERN_OK);
    assert_non_null(strstr(c->answer, "\"title\": \"Title\""));
    assert_non_null(strstr(c->answer, "\"main_content\": \"Some text.\""));
    c->outputs[0].size = 4; /* outputs of another length */
    assert_int_equal(api->post(h, &r, c, held, &st), TERN_INTERNAL);
    c->outputs[0].data = NULL; /* and none at all */
    assert_int_equal(api->post(h, &r, c, held, &st), TERN_INTERNAL);
    api->release(h, held);
    api->detach(h);
    free_inputs(c);
    free(c);
}

static void unusable_documents_say_why(void **state)
{
    (void)state;
    const tern_handler_api *api = tern_handler_entry(TERN_HANDLER_ABI);
    tern_handler_call *c = calloc(1, sizeof *c);
    tern_handler *h;
    tern_status st;
    assert_non_null(c);
    assert_int_equal(attach(good_config(), NULL, &h, &st), TERN_OK);
    static const struct {
        const char *body, *type, *says;
        tern_code code;
    } cases[] = {
        {"", "text/html", "empty", TERN_INVALID_ARGUMENT},
        {"no tags here", "text/html", "not HTML", TERN_INVALID_ARGUMENT},
        {"%PDF-1.4", "text/html", "PDF", TERN_INVALID_ARGUMENT},
        {"<p>x", "text/html; charset=klingon", "klingon", TERN_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tern_handler_request r = {
            .struct_size = sizeof r, .body = str(cases[i].body), .content_type = str(cases[i].type)};
        void *held = NULL;
        assert_int_equal(api->pre(h, &r, c, &held, &st), cases[i].code);
        assert_non_null(strstr(st.message, cases[i].says));
        if (held != NULL)
            api->release(h, held);
    }
    tern_handler_request late = {.struct_size = sizeof late, .body = str("<p>x"), .deadline_ns = 1};
    void *held = NULL;
    assert_int_equal(api->pre(h, &late, c, &held, &st), TERN_DEADLINE_EXCEEDED);
    api->release(h, held);
    assert_int_equal(c->n_inputs, 0);
    api->detach(h);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_fingerprints_are_refused),
        cmocka_unit_test(page_goes_through),
        cmocka_unit_test(unusable_documents_say_why),
    };
    return cmocka_run_group_tests_name("html_handler", tests, NULL, NULL);
}
