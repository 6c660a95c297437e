/*
 * fuzz_saved_model_file.c - whether a saved_model.pb is whole: whatever the bytes, an answer that agrees with the
 * wire reader about the outermost message.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "codec/pb_wire.h"
#include "complete.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool variables;
    int fd = memfd_create("saved_model.pb", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    bool whole = tn_saved_model_whole(fd, size, &variables);
    close(fd);
    tn_pb r = tn_pb_from((tn_str){(const char *)data, size});
    tn_pb_field f = {0};
    bool good = true;
    bool graph = false;
    while (good && tn_pb_more(&r)) {
        good = tn_pb_next(&r, &f);
        graph |= good && f.number == 2 && f.type == TN_PB_BYTES && f.bytes.len > 0;
    }
    if (whole && (!good || !graph))
        abort();
    return 0;
}
