/*
 * codec/proxy_uri.c - see codec/proxy_uri.h. Sources of the rules: nginx's http_parse.c (complex and unsafe
 * URIs), ngx_string.c (escapes) and mime.types.
 */
#include "codec/proxy_uri.h"

#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ---- of a client ---- */

/* What has been written ends in "/..": takes the last folder off. false: above the root. */
static bool up(const char *out, size_t *n)
{
    size_t slashes = 0;
    while (*n > 0) {
        if (out[*n - 1] == '/' && ++slashes == 2)
            return true;
        (*n)--;
    }
    return false;
}

/* A slash, or the end, behind what has been written: resolves "/." and "/..". */
static bool settle(const char *out, size_t *n)
{
    if (*n >= 2 && out[*n - 1] == '.' && out[*n - 2] == '/')
        (*n)--;
    else if (*n >= 3 && out[*n - 1] == '.' && out[*n - 2] == '.' && out[*n - 3] == '/')
        return up(out, n);
    return true;
}

/*
 * The byte at path[*i], decoded (an encoded '%', '#' or '?' stands for itself); *i moves to its last one.
 * false: none that may be here.
 */
static bool decode(tn_str path, size_t *i, char *c)
{
    *c = path.ptr[*i];
    if (*c != '%')
        return (unsigned char)*c >= ' ' && *c != 0x7F;
    const int high = path.len - *i > 2 ? hex(path.ptr[*i + 1]) : -1;
    const int low = path.len - *i > 2 ? hex(path.ptr[*i + 2]) : -1;
    if (high < 0 || low < 0 || high + low == 0)
        return false;
    *c = (char)(high * 16 + low);
    *i += 2;
    return true;
}

bool tn_proxy_uri_normal(tn_str path, char *out, size_t *length)
{
    size_t n = 0;
    for (size_t i = 0; i < path.len && path.ptr[i] != '#'; i++) {
        char c;
        if (!decode(path, &i, &c))
            return false;
        if (c == '/') {
            if (!settle(out, &n))
                return false;
            if (n > 0 && out[n - 1] == '/')
                continue;
        }
        out[n++] = c;
    }
    *length = n;
    return settle(out, length);
}

/* ---- of the proxy's own code ---- */

/* "/../", "/.." at the end, ".." at the start, a NUL. */
static bool unsafe(tn_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\0')
            return true;
        if (s.ptr[i] != '/' && i != 0)
            continue;
        tn_str tail = tn_str_sub(s, s.ptr[i] == '/' ? i + 1 : i, s.len);
        if (tn_str_starts(tail, TN_STR("..")) && (tail.len == 2 || tail.ptr[2] == '/'))
            return true;
    }
    return false;
}

bool tn_proxy_uri_inner(tn_str path, char *out, size_t *length)
{
    size_t n = 0;
    if (path.len == 0 || unsafe(path))
        return false;
    for (size_t i = 0; i < path.len; i++) {
        if (path.ptr[i] != '%') {
            out[n++] = path.ptr[i];
            continue;
        }
        if (++i == path.len)
            break;
        const int high = hex(path.ptr[i]);
        if (high < 0) { /* "%z": 'z' stays */
            out[n++] = path.ptr[i];
            continue;
        }
        if (++i == path.len)
            break;
        const int low = hex(path.ptr[i]);
        if (low >= 0) /* "%1z": nothing stays */
            out[n++] = (char)(high * 16 + low);
    }
    *length = n;
    return !unsafe((tn_str){out, n});
}

size_t tn_proxy_uri_escape(tn_str path, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < path.len; i++) {
        const unsigned char c = (unsigned char)path.ptr[i];
        if (c > ' ' && c < 0x7F && strchr("#%?\"<>\\^`{|}", c) == NULL) {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '%';
        out[n++] = digits[c >> 4];
        out[n++] = digits[c & 15];
    }
    return n;
}

/* ---- types ---- */

/* Extensions stand between blanks. */
static const char *const types[][2] = {
    {"text/html", " html htm shtml "},
    {"text/css", " css "},
    {"text/xml", " xml "},
    {"image/gif", " gif "},
    {"image/jpeg", " jpeg jpg "},
    {"application/javascript", " js "},
    {"application/atom+xml", " atom "},
    {"application/rss+xml", " rss "},
    {"text/mathml", " mml "},
    {"text/plain", " txt "},
    {"text/vnd.sun.j2me.app-descriptor", " jad "},
    {"text/vnd.wap.wml", " wml "},
    {"text/x-component", " htc "},
    {"image/avif", " avif "},
    {"image/png", " png "},
    {"image/svg+xml", " svg svgz "},
    {"image/tiff", " tif tiff "},
    {"image/vnd.wap.wbmp", " wbmp "},
    {"image/webp", " webp "},
    {"image/x-icon", " ico "},
    {"image/x-jng", " jng "},
    {"image/x-ms-bmp", " bmp "},
    {"font/woff", " woff "},
    {"font/woff2", " woff2 "},
    {"application/java-archive", " jar war ear "},
    {"application/json", " json "},
    {"application/mac-binhex40", " hqx "},
    {"application/msword", " doc "},
    {"application/pdf", " pdf "},
    {"application/postscript", " ps eps ai "},
    {"application/rtf", " rtf "},
    {"application/vnd.apple.mpegurl", " m3u8 "},
    {"application/vnd.google-earth.kml+xml", " kml "},
    {"application/vnd.google-earth.kmz", " kmz "},
    {"application/vnd.ms-excel", " xls "},
    {"application/vnd.ms-fontobject", " eot "},
    {"application/vnd.ms-powerpoint", " ppt "},
    {"application/vnd.oasis.opendocument.graphics", " odg "},
    {"application/vnd.oasis.opendocument.presentation", " odp "},
    {"application/vnd.oasis.opendocument.spreadsheet", " ods "},
    {"application/vnd.oasis.opendocument.text", " odt "},
    {"application/vnd.openxmlformats-officedocument.presentationml.presentation", " pptx "},
    {"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", " xlsx "},
    {"application/vnd.openxmlformats-officedocument.wordprocessingml.document", " docx "},
    {"application/vnd.wap.wmlc", " wmlc "},
    {"application/wasm", " wasm "},
    {"application/x-7z-compressed", " 7z "},
    {"application/x-cocoa", " cco "},
    {"application/x-java-archive-diff", " jardiff "},
    {"application/x-java-jnlp-file", " jnlp "},
    {"application/x-makeself", " run "},
    {"application/x-perl", " pl pm "},
    {"application/x-pilot", " prc pdb "},
    {"application/x-rar-compressed", " rar "},
    {"application/x-redhat-package-manager", " rpm "},
    {"application/x-sea", " sea "},
    {"application/x-shockwave-flash", " swf "},
    {"application/x-stuffit", " sit "},
    {"application/x-tcl", " tcl tk "},
    {"application/x-x509-ca-cert", " der pem crt "},
    {"application/x-xpinstall", " xpi "},
    {"application/xhtml+xml", " xhtml "},
    {"application/xspf+xml", " xspf "},
    {"application/zip", " zip "},
    {"application/octet-stream", " bin exe dll deb dmg iso img msi msp msm "},
    {"audio/midi", " mid midi kar "},
    {"audio/mpeg", " mp3 "},
    {"audio/ogg", " ogg "},
    {"audio/x-m4a", " m4a "},
    {"audio/x-realaudio", " ra "},
    {"video/3gpp", " 3gpp 3gp "},
    {"video/mp2t", " ts "},
    {"video/mp4", " mp4 "},
    {"video/mpeg", " mpeg mpg "},
    {"video/quicktime", " mov "},
    {"video/webm", " webm "},
    {"video/x-flv", " flv "},
    {"video/x-m4v", " m4v "},
    {"video/x-mng", " mng "},
    {"video/x-ms-asf", " asx asf "},
    {"video/x-ms-wmv", " wmv "},
    {"video/x-msvideo", " avi "},
};

/* What follows the last '.' of the last part, unless the part begins with it; in lower case. */
static size_t extension(tn_str path, char *out, size_t size)
{
    size_t at = path.len;
    while (at > 2 && path.ptr[at - 1] != '.' && path.ptr[at - 1] != '/')
        at--;
    if (at <= 2 || path.ptr[at - 1] != '.' || path.ptr[at - 2] == '/' || path.len - at > size)
        return 0;
    for (size_t i = at; i < path.len; i++) {
        const char c = path.ptr[i];
        out[i - at] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    return path.len - at;
}

tn_str tn_proxy_uri_type(tn_str path)
{
    char word[16] = " ";
    const size_t n = extension(path, word + 1, sizeof word - 3);
    if (n == 0 || memchr(word + 1, ' ', n) != NULL || memchr(word + 1, '\0', n) != NULL)
        return TN_STR_NONE;
    word[n + 1] = ' ';
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strstr(types[i][1], word) != NULL)
            return tn_str_from(types[i][0]);
    return TN_STR_NONE;
}
