/*
 * handler/script_wire.h - frames between the server and its worker processes: pure reading and writing.
 *
 * A frame is one message of a SOCK_SEQPACKET socket, little-endian:
 *     u16 type, u16 number of fields, u32 length of the whole frame, u64 call
 * and then the fields, each
 *     u16 tag, u16 flags, u32 length of its bytes, the bytes, zeros up to the next multiple of 8.
 * Unknown tags are passed over. Bodies that are larger than a frame takes, and tensors, lie in shared memory
 * (handler/script_segment.h) and are named by a reference. python/tern/worker/wire.py is the other side.
 *
 * Pure: no I/O, no globals, any thread. Whatever is read from a frame has been checked against its length;
 * whether it makes sense is for the caller to see.
 */
#ifndef TN_HANDLER_SCRIPT_WIRE_H
#define TN_HANDLER_SCRIPT_WIRE_H

#include "base/str.h"
#include "tern/tensor.h"

/* Longest frame, and how much of a body or of tensors goes into one rather than into shared memory. */
#define TN_FRAME_MAX        ((size_t)64 << 10)
#define TN_FRAME_INLINE_MAX ((size_t)24 << 10)
#define TN_FRAME_HEAD       ((size_t)16)
#define TN_FRAME_FIELD_HEAD ((size_t)8)

typedef enum tn_frame_type {
    /* From the server. */
    TN_FRAME_CALL = 1,   /* work: its fields are the worker kind's own */
    TN_FRAME_ROOM = 2,   /* answer to NEED: SEGMENT, or ERROR */
    TN_FRAME_RESULT = 3, /* answer to ASK */
    TN_FRAME_FORGET = 4, /* SEGMENT: will not be used again */
    TN_FRAME_CANCEL = 5, /* nobody waits for this call any more */
    TN_FRAME_MORE = 6,   /* answer to PART: the next one may come */
    TN_FRAME_MAP = 7,    /* MAP fields: segments that come along as descriptors, in this order */
    /* From a worker. */
    TN_FRAME_READY = 16, /* CAPACITY, NOTE; ready for calls */
    /* ERROR: cannot start; the process ends. SIZE: seconds after which it may be different */
    TN_FRAME_FAILED = 17,
    TN_FRAME_NEED = 18,   /* SIZE: bytes of shared memory for this call */
    TN_FRAME_ANSWER = 19, /* the call is over for the worker */
    TN_FRAME_ASK = 20,    /* the call asks the server for something, and waits for RESULT */
    TN_FRAME_PART = 21    /* a part of the answer; the call goes on when MORE comes */
} tn_frame_type;

/* Tags. What a kind of worker adds begins at 64. */
typedef enum tn_frame_tag {
    TN_TAG_MAP = 1,      /* tn_frame_ref: a segment, all of it */
    TN_TAG_SEGMENT = 2,  /* tn_frame_ref */
    TN_TAG_SIZE = 3,     /* u64 */
    TN_TAG_ERROR = 4,    /* text */
    TN_TAG_CAPACITY = 5, /* u64: calls at a time */
    TN_TAG_NOTE = 6,     /* text for the log, or of the kind */
    TN_TAG_KEPT = 7,     /* tn_frame_ref: this segment is still in use by the worker, not to be used again */
    TN_TAG_TENSOR = 8,   /* see tn_frame_tensor */
    TN_TAG_INLINE = 9,   /* bytes that references to segment 0 point into */
    TN_TAG_KIND = 64
} tn_frame_tag;

/* A place in shared memory: in a segment of the call, or (segment 0) in the frame's field INLINE. */
typedef struct tn_frame_ref {
    uint64_t segment, offset, size;
} tn_frame_ref;

/* A frame that was read. All slices point into its bytes. */
typedef struct tn_frame {
    uint16_t type, n_fields;
    uint64_t call;
    tn_str bytes;
} tn_frame;

typedef struct tn_frame_field {
    uint16_t tag, flags;
    tn_str bytes;
} tn_frame_field;

/* INVALID_ARGUMENT when the bytes are not exactly one frame; all its fields have been walked then. */
TERN_MUST_USE tern_code tn_frame_read(tn_str bytes, tn_frame *out, tern_status *st);
/* Walks the fields: *at is 0 at first. false: no more. */
bool tn_frame_next(const tn_frame *frame, size_t *at, tn_frame_field *field);
/* Bytes of the first field with this tag, or absent. */
tn_str tn_frame_get(const tn_frame *frame, uint16_t tag);
/* false: there is none, or it is not of this form. */
bool tn_frame_get_u64(const tn_frame *frame, uint16_t tag, uint64_t *value);
bool tn_frame_get_ref(const tn_frame *frame, uint16_t tag, tn_frame_ref *ref);
bool tn_frame_as_u64(tn_str bytes, uint64_t *value);
bool tn_frame_as_ref(tn_str bytes, tn_frame_ref *ref);

/*
 * One tensor: u16 dtype, u16 rank, u32 length of its name, three u64 of its reference, i64 dims[rank], the
 * name. Strings are laid out as tern/tensor.h has it. flags: TN_TENSOR_WEAK.
 */
typedef struct tn_frame_tensor {
    tn_str name;
    tern_dtype dtype;
    int32_t rank;
    int64_t dims[TERN_MAX_RANK];
    tn_frame_ref at;
    bool weak; /* made from plain Python numbers: the signature's dtype is meant */
} tn_frame_tensor;
#define TN_TENSOR_WEAK 1

/*
 * false: the field is no tensor, or shape, dtype and size do not fit each other (of strings only that the
 * offsets have room).
 */
bool tn_frame_as_tensor(const tn_frame_field *field, tn_frame_tensor *out);
/* Bytes that a tensor field takes in a frame. */
size_t tn_frame_tensor_bytes(const tn_frame_tensor *tensor);

/* Writes a frame into memory of the caller's; what does not fit makes it fail. */
typedef struct tn_frame_writer {
    char *buf;
    size_t cap, len;
    uint16_t n_fields;
    bool failed;
} tn_frame_writer;

/* cap is at most TN_FRAME_MAX. */
void tn_frame_begin(tn_frame_writer *w, char *buf, size_t cap, tn_frame_type type, uint64_t call);
void tn_frame_put(tn_frame_writer *w, uint16_t tag, tn_str bytes);
void tn_frame_put_u64(tn_frame_writer *w, uint16_t tag, uint64_t value);
void tn_frame_put_ref(tn_frame_writer *w, uint16_t tag, const tn_frame_ref *ref);
void tn_frame_put_tensor(tn_frame_writer *w, const tn_frame_tensor *tensor);
/* A field of n bytes for the caller to fill; NULL when they do not fit. */
char *tn_frame_room(tn_frame_writer *w, uint16_t tag, size_t n);
/* Ends the frame: its length, or 0 when something did not fit. */
size_t tn_frame_end(tn_frame_writer *w);
/* Sets the call of a frame that was written, and tells it. */
void tn_frame_set_call(char *frame, uint64_t call);

#endif
