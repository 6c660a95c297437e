"""MLServer's runtime of the model; bench/peers/peers.py writes its settings and starts `mlserver start`."""
import model
import mlserver
import numpy as np
from mlserver.codecs import NumpyCodec


class Rows(mlserver.MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        ids = NumpyCodec.decode_input(payload.inputs[0])
        return mlserver.types.InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("score", np.ascontiguousarray(model.score(ids)))])
