"""Tries a handler script without a server.

    from tern.testing import Endpoint

    def test_my_script():
        with Endpoint("code/", predict=lambda inputs: {"y": inputs["x"] * 0.5 + 2}, input_name="x") as endpoint:
            answer = endpoint.invoke('{"instances": [1.0, 2.0]}', content_type="application/json")
            assert answer.status == 200
            assert answer.json() == {"predictions": [2.5, 3.0]}

The script runs in this process, by the code that the server's workers run: how handlers are found, the context, the body, what
may be returned, and what becomes of errors are the same. The model is one of

    predict=   a function from a dict of arrays to a dict of arrays (or one array); may raise ModelError
    server=    the REST address of a running server, "http://localhost:8501"; with grpc_port= for scripts that call gRPC
    model=     a model folder: a server is started for it and ended with the endpoint (the program `tern`, or $TERN_PROGRAM)

With pytest there is a fixture: `tern_endpoint("code/", predict=...)` makes an Endpoint that is closed after the test.
"""

from tern.testing._endpoint import Answer, Endpoint
from tern.testing._models import ModelError

__all__ = ["Answer", "Endpoint", "ModelError"]
