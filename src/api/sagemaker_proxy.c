/*
 * api/sagemaker_proxy.c - the proxy form: what nginx and its JavaScript answer where there is no code.
 */
#include "api/http.h"
#include "api/sagemaker.h"
#include "api/surfaces.h"

bool tn_sagemaker_proxy(tn_server *server, tn_exchange *ex, const tn_target_parts *parts)
{
    return tn_sagemaker_on_request(server, ex, parts);
}
