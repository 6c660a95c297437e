/*
 * bench/codec/peer.h - what the reading of numbers is measured against: simdjson (On Demand), through C.
 *
 * text: `length` bytes, with 64 readable ones behind them, as simdjson wants it. The numbers of the member
 * "instances", in lists of `rank` levels (1 to 3), go to `to`, which has room for `room` of them. Returns how
 * many, or -1.
 */
#ifndef TN_BENCH_CODEC_PEER_H
#define TN_BENCH_CODEC_PEER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "simdjson 3.0.1, icelake": the version, and what it chose for this processor. */
const char *tn_peer_name(void);
int64_t tn_peer_floats(const char *text, size_t length, int rank, float *to, size_t room);
int64_t tn_peer_doubles(const char *text, size_t length, int rank, double *to, size_t room);
int64_t tn_peer_int32s(const char *text, size_t length, int rank, int32_t *to, size_t room);
int64_t tn_peer_int64s(const char *text, size_t length, int rank, int64_t *to, size_t room);

#ifdef __cplusplus
}
#endif

#endif
