/* codec/capture_line.c - see codec/capture_line.h. */
#include "codec/capture_line.h"

#include <time.h>

#include "codec/base64.h"
#include "codec/json.h"

/* The media type without parameters. */
static tn_str bare(tn_str type)
{
    ptrdiff_t end = tn_str_chr(type, ';');
    return tn_str_trim(end >= 0 ? tn_str_sub(type, 0, (size_t)end) : type);
}

static bool is_one_of(tn_str type, tn_str list)
{
    while (list.len > 0) {
        ptrdiff_t comma = tn_str_chr(list, ',');
        tn_str one = comma < 0 ? list : tn_str_sub(list, 0, (size_t)comma);
        list = comma < 0 ? TN_STR_NONE : tn_str_sub(list, (size_t)comma + 1, list.len);
        if (type.len > 0 && tn_str_ieq(tn_str_trim(one), type))
            return true;
    }
    return false;
}

tn_capture_encoding tn_capture_encoding_of(tn_str content_type, tn_str csv_types, tn_str json_types,
                                           tn_str data)
{
    tn_str type = bare(content_type);
    tn_capture_encoding encoding = is_one_of(type, csv_types)    ? TN_CAPTURE_CSV
                                   : is_one_of(type, json_types) ? TN_CAPTURE_JSON
                                                                 : TN_CAPTURE_BASE64;
    return encoding != TN_CAPTURE_BASE64 && tn_str_is_utf8(data) ? encoding : TN_CAPTURE_BASE64;
}

static void put_data(tn_buf *out, const tn_capture_data *d, const char *member, const char *mode)
{
    static const char *const names[] = {"CSV", "JSON", "BASE64"};
    tn_buf_printf(out, "\"%s\":{\"observedContentType\":", member);
    tn_json_quote(out, d->content_type);
    tn_buf_printf(out, ",\"mode\":\"%s\",\"data\":", mode);
    if (d->encoding == TN_CAPTURE_BASE64) {
        tn_buf_char(out, '"');
        tn_base64_encode(d->data, out);
        tn_buf_char(out, '"');
    } else {
        tn_json_quote(out, d->data);
    }
    tn_buf_printf(out, ",\"encoding\":\"%s\"}", names[d->encoding]);
}

void tn_capture_line_write(const tn_capture_line *line, tn_buf *out)
{
    struct tm tm;
    time_t seconds = (time_t)(line->wall_ns / 1000000000);
    gmtime_r(&seconds, &tm);
    tn_buf_z(out, "{\"captureData\":{");
    put_data(out, &line->input, "endpointInput", "INPUT");
    tn_buf_char(out, ',');
    put_data(out, &line->output, "endpointOutput", "OUTPUT");
    tn_buf_z(out, "},\"eventMetadata\":{\"eventId\":");
    tn_json_quote(out, line->event_id);
    if (line->custom_attributes.len > 0) {
        tn_buf_z(out, ",\"customAttributes\":[");
        tn_json_quote(out, line->custom_attributes);
        tn_buf_char(out, ']');
    }
    if (line->inference_id.len > 0) {
        tn_buf_z(out, ",\"inferenceId\":");
        tn_json_quote(out, line->inference_id);
    }
    tn_buf_printf(out, ",\"inferenceTime\":\"%04d-%02d-%02dT%02d:%02d:%02dZ\"},\"eventVersion\":\"0\"}\n",
                  tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}
