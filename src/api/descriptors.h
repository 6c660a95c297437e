/*
 * api/descriptors.h - serialized FileDescriptorProtos of what is served, for server reflection. The tables
 * are made in the build from the files of proto/, under the names of the originals (tools/reflection.py).
 * Static.
 */
#ifndef TN_API_DESCRIPTORS_H
#define TN_API_DESCRIPTORS_H

#include <stddef.h>

typedef struct tn_descriptor_file {
    const char *name; /* "tensorflow_serving/apis/predict.proto" */
    const unsigned char *bytes;
    size_t len;
    const short *imports; /* places in tn_descriptor_files, then -1 */
} tn_descriptor_file;

typedef struct tn_descriptor_symbol {
    const char *name; /* full name of a message, field, enum, value, service or method */
    short file;
} tn_descriptor_symbol;

extern const tn_descriptor_file tn_descriptor_files[]; /* by name */
extern const size_t tn_descriptor_n_files;
extern const tn_descriptor_symbol tn_descriptor_symbols[]; /* by name, bytewise */
extern const size_t tn_descriptor_n_symbols;

#endif
