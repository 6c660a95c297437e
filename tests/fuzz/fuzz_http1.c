/*
 * tests/fuzz/fuzz_http1.c - any bytes on an HTTP/1.1 connection. The first byte says how reads and writes are
 * cut, and when what waits is answered; the rest is what the client sends.
 */
#include "net_memory.h"

static net_memory memory;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (memory.net == NULL) {
        tn_limits limits = tn_limits_default();
        limits.max_pipelined_requests = 8;
        limits.max_write_backlog_bytes = 100000;
        limits.max_body_bytes = 1 << 20;
        limits.max_drop_bytes = 5000;
        limits.max_header_bytes = 3000;
        limits.max_request_line_bytes = 500;
        limits.max_headers = 40;
        net_memory_open(&memory, &limits);
    }
    if (size < 2)
        return 0;
    uint8_t how = data[0];
    const char *bytes = (const char *)data + 1;
    size_t n = size - 1, half = n / 2;
    memory.loop->pool.fail_in = (how & 224) == 224 ? 1 + data[1] : 0;
    if (!net_memory_connect(&memory))
        return 0;
    memory.seed = how & 15;
    net_memory_feed(&memory, bytes, half);
    if (how & 16)
        net_memory_answer(&memory, (how & 32) != 0);
    memory.in_ends = (how & 64) != 0;
    memory.stuck = (how & 192) == 128;
    if ((how & 192) == 192 && memory.conn != NULL)
        tn_conn_drain(memory.conn);
    net_memory_feed(&memory, bytes + half, n - half);
    memory.stuck = false;
    net_memory_answer(&memory, (how & 32) != 0);
    net_memory_feed(&memory, "", 0);
    if (how & 32)
        net_memory_later(&memory, 40000);
    memory.loop->pool.fail_in = 0;
    net_memory_disconnect(&memory);
    return 0;
}
