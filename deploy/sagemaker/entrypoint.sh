#!/bin/sh
# The image's entry point, always ending in exec: signals reach what runs, which is process 1.
#
#   serve                the SageMaker endpoint: ports, model folder and code by its environment variables
#   nothing, or flags    tensorflow_model_server on 8500 (gRPC) and 8501 (REST) with the model MODEL_NAME of the folder
#                        MODEL_BASE_PATH; flags come last, so that they count
#   anything else        that command
case ${1-} in
'' | -*)
    exec tensorflow_model_server --port=8500 --rest_api_port=8501 --model_name="${MODEL_NAME:-model}" \
        --model_base_path="${MODEL_BASE_PATH:-/models}/${MODEL_NAME:-model}" "$@"
    ;;
esac
exec "$@"
