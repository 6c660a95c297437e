/*
 * codec/close.c - see codec/close.h.
 */
#include "codec/close.h"

#include <math.h>

#include "codec/number.h"

#define HALF_TOLERANCE     0x1p-9
#define BFLOAT16_TOLERANCE 0x1p-6

static double element(const tern_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case TERN_FLOAT:
        return (double)((const float *)t->data)[i];
    case TERN_DOUBLE:
        return ((const double *)t->data)[i];
    case TERN_HALF:
        return (double)tn_number_of_half(((const uint16_t *)t->data)[i]);
    default:
        return (double)tn_number_of_bfloat16(((const uint16_t *)t->data)[i]);
    }
}

static bool floats_close(const tern_tensor *got, const tern_tensor *want, double *worst)
{
    int64_t n = tn_tensor_count(want);
    double relative = want->dtype == TERN_HALF       ? HALF_TOLERANCE
                      : want->dtype == TERN_BFLOAT16 ? BFLOAT16_TOLERANCE
                                                     : TN_CLOSE_RELATIVE;
    double largest = 0;
    double difference = 0;
    bool close = true;
    for (int64_t i = 0; i < n; i++) {
        double w = fabs(element(want, i));
        if (isfinite(w) && w > largest)
            largest = w;
    }
    double besides = largest * (relative > TN_CLOSE_RELATIVE ? relative : TN_CLOSE_LARGEST);
    for (int64_t i = 0; i < n; i++) {
        double g = element(got, i);
        double w = element(want, i);
        if (!isfinite(g) || !isfinite(w)) {
            close &= (isnan(g) && isnan(w)) || g == w;
            continue;
        }
        double d = fabs(g - w);
        difference = d > difference ? d : difference;
        close &= d <= relative * fabs(w) + besides;
    }
    if (worst != NULL && largest > 0 && difference / largest > *worst)
        *worst = difference / largest;
    return close;
}

bool tn_close(const tern_tensor *got, const tern_tensor *want, double *worst)
{
    if (got->dtype != want->dtype || got->rank != want->rank || got->size != want->size)
        return false;
    for (int32_t i = 0; i < want->rank; i++)
        if (got->dims[i] != want->dims[i])
            return false;
    switch (want->dtype) {
    case TERN_FLOAT:
    case TERN_DOUBLE:
    case TERN_HALF:
    case TERN_BFLOAT16:
        return floats_close(got, want, worst);
    default:
        return want->size == 0 || memcmp(got->data, want->data, want->size) == 0;
    }
}
