/*
 * bench/codec/peer.cpp - see peer.h. As simdjson's manual does it: one parser for all documents, its memory kept; values
 * are taken one after the other, numbers go from the text into the array.
 */
#include "peer.h"

#include <simdjson.h>

#include <string>

namespace
{

namespace od = simdjson::ondemand;

od::parser parser;

inline simdjson::error_code get(od::value value, float &to)
{
    double wide = 0;
    auto error = value.get_double().get(wide);
    to = static_cast<float>(wide); /* rounded twice: simdjson has no float */
    return error;
}

inline simdjson::error_code get(od::value value, double &to)
{
    return value.get_double().get(to);
}

inline simdjson::error_code get(od::value value, int64_t &to)
{
    return value.get_int64().get(to);
}

inline simdjson::error_code get(od::value value, int32_t &to)
{
    int64_t wide = 0;
    auto error = value.get_int64().get(wide);
    if (!error && wide != static_cast<int32_t>(wide))
        return simdjson::NUMBER_OUT_OF_RANGE;
    to = static_cast<int32_t>(wide);
    return error;
}

/* `rank` lists around each number: known, so that nothing has to be asked. */
template <int rank, typename T> bool take(od::array list, T *&to, const T *end)
{
    for (auto element : list) {
        od::value value;
        if (element.get(value))
            return false;
        if constexpr (rank > 1) {
            od::array inner;
            if (value.get_array().get(inner) || !take<rank - 1>(inner, to, end))
                return false;
        } else if (to == end || get(value, *to++)) {
            return false;
        }
    }
    return true;
}

template <typename T> int64_t read(const char *text, size_t length, int rank, T *to, size_t room)
{
    od::document document;
    od::array list;
    T *at = to;
    if (parser.iterate(text, length, length + simdjson::SIMDJSON_PADDING).get(document) ||
        document["instances"].get_array().get(list))
        return -1;
    const bool good = rank == 1   ? take<1>(list, at, to + room)
                      : rank == 2 ? take<2>(list, at, to + room)
                                  : take<3>(list, at, to + room);
    return good ? at - to : -1;
}

} // namespace

const char *tn_peer_name(void)
{
    static const std::string name = "simdjson " + std::to_string(simdjson::SIMDJSON_VERSION_MAJOR) + "." +
                                    std::to_string(simdjson::SIMDJSON_VERSION_MINOR) + "." +
                                    std::to_string(simdjson::SIMDJSON_VERSION_REVISION) + ", " +
                                    simdjson::get_active_implementation()->name();
    return name.c_str();
}

int64_t tn_peer_floats(const char *text, size_t length, int rank, float *to, size_t room)
{
    return read(text, length, rank, to, room);
}

int64_t tn_peer_doubles(const char *text, size_t length, int rank, double *to, size_t room)
{
    return read(text, length, rank, to, room);
}

int64_t tn_peer_int32s(const char *text, size_t length, int rank, int32_t *to, size_t room)
{
    return read(text, length, rank, to, room);
}

int64_t tn_peer_int64s(const char *text, size_t length, int rank, int64_t *to, size_t room)
{
    return read(text, length, rank, to, room);
}
