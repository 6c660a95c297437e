"""Tern's own form: arrays (or bytes) to the model and arrays back, nothing written out in between."""
import work


def input_handler(data, context):
    model = work.model_of(context)
    if model == "text":
        work.start()
        return {"document": [data.read()]}
    return work.inputs(model, data.read())


def output_handler(outputs, context):
    model = work.model_of(context)
    return work.answer(model, outputs), "application/json"
