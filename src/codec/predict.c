/* codec/predict.c - see codec/predict.h. */
#include "codec/predict.h"

void tn_predict_release(tn_predict *p)
{
    for (uint32_t i = 0; i < p->n_inputs; i++)
        tn_tensor_release(&p->inputs[i]);
    p->n_inputs = 0;
}
