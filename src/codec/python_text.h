/*
 * codec/python_text.h - text as Python 3 writes it: json.dumps(), repr(), str(), and what its UTF-8 decoder
 * says.
 *
 * For answers of the SageMaker container's Python service, which clients know byte by byte. Pure, any thread.
 */
#ifndef TN_CODEC_PYTHON_TEXT_H
#define TN_CODEC_PYTHON_TEXT_H

#include "base/buf.h"
#include "codec/json.h"

/*
 * Appends s, which is UTF-8, as json.dumps() writes a string: in quotes, all but ASCII as \uXXXX. A surrogate
 * of its own (three bytes, as codec/json.h reads "\ud800") is one; what is not UTF-8 otherwise becomes
 * \ufffd.
 */
void tn_python_json(tn_buf *out, tn_str s);
/* The same with ensure_ascii=False: characters beyond ASCII stay. */
void tn_python_json_utf8(tn_buf *out, tn_str s);
/* Appends repr() of a string. Characters that Unicode has not assigned count as printable. */
void tn_python_repr(tn_buf *out, tn_str s);
/*
 * Appends str() of a value that json.loads() made: a string as it is, True, None, 5, 0.1, [1, 'a'], {'a': 1}.
 */
void tn_python_str(tn_buf *out, const tn_json *value);
/* bool() of such a value. */
bool tn_python_truth(const tn_json *value);
/*
 * Whether bytes.decode("utf-8") takes s. When not, appends str() of its exception:
 * "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte".
 */
bool tn_python_decodes(tn_str s, tn_buf *error);

#endif
