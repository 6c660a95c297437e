/* cli/input.c - see cli/input.h. */
#include "cli/input.h"

#include <errno.h>
#include <stdio.h>

#define PIECE ((size_t)64 << 10)

tern_code tn_cli_read_file(const char *path, tn_buf *out, tern_status *st)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (file == NULL)
        return tern_fail(st, TERN_NOT_FOUND, "%s", strerror(errno));
    for (;;) {
        char *room = tn_buf_reserve(out, PIECE);
        size_t n = room != NULL ? fread(room, 1, PIECE, file) : 0;
        if (n == 0)
            break;
        tn_buf_commit(out, n);
    }
    const int error = ferror(file) != 0 ? errno : 0;
    if (file != stdin)
        fclose(file);
    if (error != 0)
        return tern_fail(st, TERN_UNKNOWN, "%s", strerror(error));
    return out->failed ? tern_fail(st, TERN_RESOURCE_EXHAUSTED, "it is larger than %zu bytes", out->max)
                       : TERN_OK;
}
