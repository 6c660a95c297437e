/*
 * api/sagemaker_service.c - the service form: what the container's Python service answers.
 */
#include "api/sagemaker.h"
#include "api/surfaces.h"

bool tn_sagemaker_service(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    return tn_sagemaker_on_request(server, ex, parts);
}
