/* api/envelope.c - see api/envelope.h. */
#include "api/envelope.h"

#include "api/access.h"
#include "api/http.h"
#include "codec/json.h"

#define BODY_MAX  (64u << 10)
#define LOG_GROUP "/aws/sagemaker/Endpoints/"
#define ACCOUNT   "000000000000"

typedef struct known_fault {
    int status;
    tern_code code;
    tn_str type;
} known_fault;

static const known_fault faults[] = {
    [TN_FAULT_VALIDATION] = {400, TERN_INVALID_ARGUMENT, TN_STR_INIT("ValidationError")},
    [TN_FAULT_MODEL] = {424, TERN_UNKNOWN, TN_STR_INIT("ModelError")},
    [TN_FAULT_NOT_READY] = {429, TERN_UNAVAILABLE, TN_STR_INIT("ModelNotReadyException")},
    [TN_FAULT_UNAVAILABLE] = {503, TERN_UNAVAILABLE, TN_STR_INIT("ServiceUnavailable")},
};

/* A region is letters, digits and '-': it becomes part of texts. */
static bool is_region(tn_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return s.len > 0 && s.len <= 32;
}

/* AWS4-HMAC-SHA256 Credential=KEY/20260101/us-east-1/sagemaker/aws4_request, SignedHeaders=... */
tn_str tn_envelope_region(const tn_exchange *ex)
{
    tn_str field = tn_exchange_header(ex, "authorization");
    ptrdiff_t at = tn_str_find(field, TN_STR("Credential="));
    tn_str rest = at < 0 ? TN_STR_NONE : tn_str_sub(field, (size_t)at, field.len);
    for (int part = 0; part < 2 && rest.len > 0; part++) {
        ptrdiff_t slash = tn_str_chr(rest, '/');
        rest = slash < 0 ? TN_STR_NONE : tn_str_sub(rest, (size_t)slash + 1, rest.len);
    }
    ptrdiff_t end = tn_str_chr(rest, '/');
    tn_str region = end < 0 ? TN_STR_NONE : tn_str_sub(rest, 0, (size_t)end);
    return is_region(region) ? region : TN_STR("us-east-1");
}

/* At most n bytes of s, not ending inside of a character of UTF-8. */
static tn_str cut(tn_str s, size_t n)
{
    if (s.len <= n)
        return s;
    while (n > 0 && ((unsigned char)s.ptr[n] & 0xc0) == 0x80)
        n--;
    return tn_str_sub(s, 0, n);
}

static void put_where(tn_buf *out, const tn_envelope *e)
{
    tn_buf_printf(
        out,
        ". See "
        "https://%.*s.console.aws.amazon.com/cloudwatch/home?region=%.*s#logEventViewer:group=" LOG_GROUP
        "%.*s in account " ACCOUNT " for more information.",
        TN_FMT(e->region), TN_FMT(e->region), TN_FMT(e->endpoint));
}

void tn_envelope_model_text(tn_buf *out, const tn_envelope *e, int status, tn_str body)
{
    const size_t around = 256 + 2 * e->region.len + e->endpoint.len;
    tn_buf_printf(out, "Received %s error (%d) from primary",
                  status >= 400 && status < 500 ? "client" : "server", status);
    if (body.len + around <= TN_ENVELOPE_MESSAGE) {
        tn_buf_z(out, " with message \"");
        tn_buf_str(out, body);
        tn_buf_char(out, '"');
    } else {
        tn_buf_z(out, " and could not load the entire response body");
    }
    put_where(out, e);
}

static void send_fault(tn_exchange *ex, const tn_envelope *e, const known_fault *fault, tn_str body)
{
    tn_header headers[4] = {{TN_STR("content-type"), TN_STR("application/json")},
                            {TN_STR("x-amzn-errortype"), fault->type},
                            {TN_STR("x-amzn-requestid"), e->request_id}};
    tn_response response = {.status = fault->status, .headers = headers, .n_headers = 3};
    if (fault->status == 429 || fault->status == 503)
        headers[response.n_headers++] = (tn_header){TN_STR("retry-after"), TN_STR("1")};
    tn_http_copy_body(&response, body);
    tn_exchange_send(ex, &response);
}

void tn_envelope_fault(tn_server *server, tn_exchange *ex, const tn_envelope *e, tn_fault fault,
                       tn_str error_code, tn_str message)
{
    tn_buf body;
    tn_buf_init(&body, BODY_MAX);
    tn_buf_char(&body, '{');
    if (error_code.len > 0) {
        tn_buf_z(&body, "\"ErrorCode\":");
        tn_json_quote(&body, error_code);
        tn_buf_char(&body, ',');
    }
    tn_buf_z(&body, "\"Message\":");
    tn_json_quote(&body, cut(message, TN_ENVELOPE_MESSAGE));
    tn_buf_char(&body, '}');
    if (server != NULL)
        tn_access_answered(server, ex, faults[fault].code);
    send_fault(ex, e, &faults[fault], tn_buf_view(&body));
    tn_buf_free(&body);
}

void tn_envelope_model_error(tn_exchange *ex, const tn_envelope *e, int status, tn_str body)
{
    tn_buf out, text;
    tn_buf_init(&out, BODY_MAX);
    tn_buf_init(&text, BODY_MAX);
    tn_envelope_model_text(&text, e, status, body);
    tn_buf_printf(&out, "{\"LogStreamArn\":\"arn:aws:logs:%.*s:" ACCOUNT ":log-group:" LOG_GROUP,
                  TN_FMT(e->region));
    /* The endpoint's name is quoted with what follows it, for it may hold anything. */
    tn_buf quoted;
    tn_buf_init(&quoted, BODY_MAX);
    tn_json_quote(&quoted, e->endpoint);
    tn_buf_append(&out, quoted.ptr + 1, quoted.len - 1);
    tn_buf_free(&quoted);
    tn_buf_z(&out, ",\"Message\":");
    tn_json_quote(&out, tn_buf_view(&text));
    tn_buf_z(&out, ",\"OriginalMessage\":");
    tn_json_quote(&out, cut(body, TN_ENVELOPE_MESSAGE));
    tn_buf_printf(&out, ",\"OriginalStatusCode\":%d}", status);
    send_fault(ex, e, &faults[TN_FAULT_MODEL], tn_buf_view(&out));
    tn_buf_free(&text);
    tn_buf_free(&out);
}
