"""Ray Serve: serve_ray.py PORT. One replica; POST / takes JSON {"ids": [[...]]}, or the array's bytes."""
import sys

import numpy as np
import ray
from ray import serve


@serve.deployment(num_replicas=1, max_ongoing_requests=64)
class Rows:
    def __init__(self):
        import model
        self.score = model.score

    async def __call__(self, request):
        body = await request.body()
        if request.headers.get("content-type") == "application/octet-stream":
            from starlette.responses import Response
            return Response(self.score(np.frombuffer(body, np.int32).reshape(-1, 160)).tobytes(),
                            media_type="application/octet-stream")
        import json
        return {"score": self.score(json.loads(body)["ids"]).tolist()}


ray.init(include_dashboard=False, log_to_driver=True)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(Rows.bind(), blocking=True)
