/*
 * fields.h - field numbers of the protobuf messages of a graph that more than one file here reads
 * (tensorflow/core/framework: graph.proto, node_def.proto, attr_value.proto, function.proto).
 */
#ifndef TN_OPENVINO_FIELDS_H
#define TN_OPENVINO_FIELDS_H

enum {
    GRAPH_NODE = 1,
    GRAPH_LIBRARY = 2,
    LIBRARY_FUNCTION = 1,
    FUNCTION_NODE = 3,
    NODE_NAME = 1,
    NODE_OP = 2,
    NODE_INPUT = 3,
    NODE_ATTR = 5,
    ENTRY_KEY = 1,
    ENTRY_VALUE = 2,
    ATTR_LIST = 1,
    ATTR_TYPE = 6
};

#endif
