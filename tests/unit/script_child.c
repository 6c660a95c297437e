/*
 * A worker process for test_script.c, in C: argv[1] says how it behaves.
 *
 *   echo     answers what it got; "die", "hang", "garbage", "close", "need N", "ask", "keep" and "slow" as
 *   bodies
 *            do what they say
 *   refuse   says why it cannot start, and ends
 *   linger   says why it cannot start, and stays
 *   exit     ends at once
 *   mute     never gets ready
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handler/script_wire.h"

#define BODY (TN_TAG_KIND + 1)

static char in[TN_FRAME_MAX], out[TN_FRAME_MAX];
static uint64_t *page;
static struct {
    uint64_t id;
    char *at;
    size_t size;
} maps[64];
static int n_maps;

static void put(tn_frame_writer *w)
{
    size_t n = tn_frame_end(w);
    if (n == 0 || send(3, out, n, 0) < 0)
        exit(9);
}

static ssize_t get(tn_frame *frame)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(16 * sizeof(int))];
    } control;
    struct iovec one = {.iov_base = in, .iov_len = sizeof in};
    struct msghdr message = {
        .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    tern_status st;
    ssize_t n = recvmsg(3, &message, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return n;
    if (tn_frame_read((tn_str){in, (size_t)n}, frame, &st) != TERN_OK)
        exit(8);
    if (frame->type == TN_FRAME_MAP) {
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        size_t at = 0;
        int k = 0;
        tn_frame_field field;
        tn_frame_ref ref;
        while (head != NULL && tn_frame_next(frame, &at, &field) && tn_frame_as_ref(field.bytes, &ref)) {
            int fd;
            memcpy(&fd, CMSG_DATA(head) + sizeof fd * (size_t)k++, sizeof fd);
            maps[n_maps].id = ref.segment;
            maps[n_maps].size = (size_t)ref.size;
            maps[n_maps++].at = mmap(NULL, (size_t)ref.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            close(fd);
        }
        return get(frame);
    }
    return n;
}

static char *map_of(uint64_t id)
{
    for (int i = 0; i < n_maps; i++)
        if (maps[i].id == id)
            return maps[i].at;
    exit(7);
}

static void answer(uint64_t call, tn_str body)
{
    tn_frame_writer w;
    tn_frame_begin(&w, out, sizeof out, TN_FRAME_ANSWER, call);
    tn_frame_put(&w, BODY, body);
    put(&w);
}

static void need(uint64_t call, uint64_t size)
{
    tn_frame_writer w;
    tn_frame frame;
    tn_frame_ref ref;
    tn_frame_begin(&w, out, sizeof out, TN_FRAME_NEED, call);
    tn_frame_put_u64(&w, TN_TAG_SIZE, size);
    put(&w);
    if (get(&frame) <= 0 || frame.type != TN_FRAME_ROOM)
        exit(6);
    tn_str error = tn_frame_get(&frame, TN_TAG_ERROR);
    if (error.ptr != NULL) {
        char text[1024];
        snprintf(text, sizeof text, "refused: %.*s", TN_FMT(error));
        answer(call, tn_str_from(text));
        return;
    }
    if (!tn_frame_get_ref(&frame, TN_TAG_SEGMENT, &ref))
        exit(5);
    memset(map_of(ref.segment), 'x', (size_t)size);
    ref.size = size;
    tn_frame_begin(&w, out, sizeof out, TN_FRAME_ANSWER, call);
    tn_frame_put_ref(&w, TN_TAG_SEGMENT, &ref);
    put(&w);
}

static void ask(uint64_t call)
{
    tn_frame_writer w;
    tn_frame frame;
    tn_frame_begin(&w, out, sizeof out, TN_FRAME_ASK, call);
    put(&w);
    if (get(&frame) <= 0 || frame.type != TN_FRAME_RESULT || frame.call != call)
        exit(4);
    char copy[256];
    tn_str said = tn_frame_get(&frame, BODY);
    snprintf(copy, sizeof copy, "%.*s", TN_FMT(said));
    answer(call, tn_str_from(copy));
}

static void work(const tn_frame *frame)
{
    tn_frame_writer w;
    const uint64_t call = frame->call;
    tn_str body = tn_frame_get(frame, BODY);
    tn_frame_ref ref;
    __atomic_store_n(page, call, __ATOMIC_RELAXED);
    if (tn_str_eq(body, TN_STR("die")))
        abort();
    if (tn_str_eq(body, TN_STR("hang")))
        for (;;)
            pause();
    if (tn_str_eq(body, TN_STR("slow")))
        usleep(50000);
    if (tn_str_eq(body, TN_STR("garbage"))) {
        (void)!write(3, "not a frame at all", 18);
        for (;;)
            pause();
    }
    if (tn_str_eq(body, TN_STR("close"))) {
        close(3);
        for (;;)
            pause();
    }
    if (tn_str_eq(body, TN_STR("ask"))) {
        ask(call);
    } else if (tn_str_starts(body, TN_STR("need "))) {
        need(call, strtoull(body.ptr + 5, NULL, 10));
    } else if (tn_frame_get_ref(frame, TN_TAG_SEGMENT, &ref)) {
        char text[64];
        snprintf(text, sizeof text, "first %c last %c", map_of(ref.segment)[0],
                 map_of(ref.segment)[ref.size - 1]);
        if (tn_str_eq(body, TN_STR("keep"))) {
            tn_frame_begin(&w, out, sizeof out, TN_FRAME_ANSWER, call);
            tn_frame_put(&w, BODY, tn_str_from(text));
            tn_frame_put_ref(&w, TN_TAG_KEPT, &ref);
            put(&w);
        } else {
            answer(call, tn_str_from(text));
        }
    } else {
        answer(call, body);
    }
}

int main(int argc, char **argv)
{
    tn_frame_writer w;
    tn_frame frame;
    const char *manner = argc > 1 ? argv[1] : "echo";
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 4, 0);
    if (page == MAP_FAILED || strcmp(manner, "exit") == 0)
        return 3;
    if (strcmp(manner, "mute") == 0)
        for (;;)
            pause();
    if (strcmp(manner, "refuse") == 0 || strcmp(manner, "linger") == 0) {
        tn_frame_begin(&w, out, sizeof out, TN_FRAME_FAILED, 0);
        tn_frame_put(&w, TN_TAG_ERROR, TN_STR("there is no such thing"));
        put(&w);
        while (strcmp(manner, "linger") == 0)
            pause();
        return 1;
    }
    tn_frame_begin(&w, out, sizeof out, TN_FRAME_READY, 0);
    tn_frame_put_u64(&w, TN_TAG_CAPACITY, argc > 2 ? strtoull(argv[2], NULL, 10) : 1);
    tn_frame_put(&w, TN_TAG_NOTE, TN_STR("a child"));
    put(&w);
    while (get(&frame) > 0)
        if (frame.type == TN_FRAME_CALL)
            work(&frame);
    return 0;
}
