"""BentoML: `bentoml serve serve_bentoml:Rows`. One worker; POST /predict takes JSON {"ids": [[...]]}."""
import bentoml
import numpy as np


@bentoml.service(workers=1, traffic={"timeout": 600})
class Rows:
    def __init__(self):
        import model
        self.score = model.score

    @bentoml.api
    def predict(self, ids: np.ndarray) -> np.ndarray:
        return self.score(ids)
