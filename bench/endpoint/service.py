"""The old shape's middle: a falcon service under gunicorn that stands around the user's script, one for each script.

Built after the reference's section 2, for its costs, not for its edges: a context, the body as a stream, and for a pair a
requests.post() to the predict port, each with a session and a connection of its own, as there.

TERN_BENCH_ENDPOINT is JSON: form (the script's module), rest and grpc (ports of the predict server), and what work.py wants.
"""
import collections
import importlib
import json
import os
import re

import falcon
import grpc
import requests

CONFIG = json.loads(os.environ["TERN_BENCH_ENDPOINT"])
ATTRIBUTES = re.compile(r"tfs-[a-z\-]+=[^,]+")
Context = collections.namedtuple(
    "Context", "model_name, model_version, method, rest_uri, grpc_port, channel, custom_attributes, request_content_type, "
               "accept_header, content_length, timeout")

script = importlib.import_module(CONFIG["form"])
channel = grpc.insecure_channel(f"localhost:{CONFIG['grpc']}")


def context_of(request):
    text = request.get_header("X-Amzn-SageMaker-Custom-Attributes") or ""
    said = dict(item.split("=", 1) for item in ATTRIBUTES.findall(text))
    name = said.get("tfs-model-name")
    uri = f"http://localhost:{CONFIG['rest']}/v1/models/{name}:{said.get('tfs-method', 'predict')}"
    return Context(name, said.get("tfs-model-version"), said.get("tfs-method"), uri, str(CONFIG["grpc"]), channel, text,
                   request.get_header("Content-Type") or "application/json", request.get_header("Accept") or "application/json",
                   request.content_length, 60)


class Invocations:
    def on_post(self, request, response):
        context = context_of(request)
        if hasattr(script, "handler"):
            response.data, response.content_type = script.handler(request.stream, context)
        else:
            sent = script.input_handler(request.stream, context)
            found = requests.post(context.rest_uri, data=sent, timeout=600)
            response.data, response.content_type = script.output_handler(found, context)


class Ping:
    def on_get(self, request, response):
        response.status = falcon.HTTP_200


app = falcon.App()
app.add_route("/ping", Ping())
app.add_route("/invocations", Invocations())
