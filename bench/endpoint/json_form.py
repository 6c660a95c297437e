"""The classic pair: JSON text to the predict port, its JSON back."""
import json

import numpy as np

import work


def input_handler(data, context):
    model, body = work.model_of(context), data.read()
    if model == "text":
        work.start()
        return json.dumps({"instances": [body.decode("utf-8")]})
    return json.dumps({"inputs": {name: array.tolist() for name, array in work.inputs(model, body).items()}})


def output_handler(response, context):
    if response.status_code != 200:
        raise ValueError(response.content.decode("utf-8"))
    model, said = work.model_of(context), response.json()
    found = said.get("outputs", said.get("predictions"))
    if not isinstance(found, dict):  # one output comes without its name
        found = {"text": {"length": found}, "rows": {"score": found}}[model]
    return work.answer(model, {name: np.asarray(value) for name, value in found.items()}), "application/json"
