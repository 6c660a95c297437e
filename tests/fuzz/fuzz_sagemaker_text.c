/*
 * fuzz_sagemaker_text.c - bodies, attributes and paths as the SageMaker container's proxy takes them. The
 * first byte chooses; the rest is the text. What comes out is UTF-8, bounded, and safe for a request line
 * where it goes into one.
 */
#include <stdint.h>
#include <stdlib.h>

#include "codec/js_text.h"
#include "codec/proxy_uri.h"
#include "codec/sagemaker_attributes.h"
#include "codec/sagemaker_csv.h"
#include "codec/sagemaker_json.h"

#define GROWTH 6 /* as api/sagemaker_proxy.c counts on */

static void check(bool good)
{
    if (!good)
        abort();
}

static void bodies(tn_str text, int form)
{
    tn_region repaired, out;
    tern_status st;
    tn_region_init(&repaired, NULL, 0, 3 * text.len + 1);
    check((tn_js_valid(text) == text.len) == tn_str_is_utf8(text));
    check(tn_js_repair(text, &repaired, &st) == TERN_OK);
    text = tn_region_view(&repaired);
    check(tn_js_valid(text) == text.len && tn_str_is_utf8(text));
    tn_region_init(&out, NULL, 0, GROWTH * text.len + 64);
    const tern_code code = form < 2
                               ? tn_sagemaker_csv_convert(text, form == 1, &out, &st)
                               : tn_sagemaker_json_convert(text, tn_sagemaker_json_look(text), &out, &st);
    check(code == TERN_OK && tn_str_is_utf8(tn_region_view(&out)));
    if (form < 2)
        check(tn_str_starts(tn_region_view(&out), TN_STR("{\"instances\":[")) &&
              tn_str_ends(tn_region_view(&out), TN_STR("]}")));
    tn_region_free(&out);
    tn_region_free(&repaired);
}

static void inside(tn_str part, tn_str whole)
{
    check(part.ptr == NULL ||
          (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len && part.len > 0));
}

static void attributes(tn_str header)
{
    const tn_sagemaker_attributes a = tn_sagemaker_attributes_read(header);
    inside(a.model_name, header);
    inside(a.model_version, header);
    inside(a.method, header);
    check(tn_str_chr(a.model_name, ',') < 0 && tn_str_chr(a.model_name, '=') < 0);
    (void)tn_sagemaker_is_name(a.model_name);
    (void)tn_sagemaker_is_version(a.model_version);
    (void)tn_sagemaker_is_method(a.method);
}

static void escaped(tn_str path)
{
    char *out = malloc(3 * path.len + 1);
    check(out != NULL);
    const size_t n = tn_proxy_uri_escape(path, out);
    check(n <= 3 * path.len);
    for (size_t i = 0; i < n; i++)
        check(out[i] > ' ' && out[i] < 0x7F);
    free(out);
}

static void paths(tn_str path)
{
    char *out = malloc(path.len + 1);
    size_t n;
    check(out != NULL);
    if (tn_proxy_uri_normal(path, out, &n)) {
        check(n <= path.len && tn_str_find((tn_str){out, n}, TN_STR("//")) < 0);
        check(tn_str_find((tn_str){out, n}, TN_STR("/../")) < 0 &&
              tn_str_find((tn_str){out, n}, TN_STR("/./")) < 0);
        escaped((tn_str){out, n});
        (void)tn_proxy_uri_type((tn_str){out, n});
    }
    if (tn_proxy_uri_inner(path, out, &n)) {
        check(n <= path.len && tn_str_find((tn_str){out, n}, TN_STR("/../")) < 0);
        escaped((tn_str){out, n});
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const tn_str text = {(const char *)data + 1, size - 1};
    if (data[0] % 5 < 3)
        bodies(text, data[0] % 5);
    else if (data[0] % 5 == 3)
        attributes(text);
    else
        paths(text);
    return 0;
}
