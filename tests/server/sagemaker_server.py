"""A server as the SageMaker container starts it: a base folder, variables of the environment, SageMaker's port.

With the example engine a model's folder holds example.txt for the engine and an empty saved_model.pb, by which the
container's layout finds models.
"""
import json

import requests

import example_models
from tern_server import PATIENCE, Server


def write_model(folder, version=1, **more):
    """FOLDER/VERSION for the example engine. -> FOLDER."""
    example_models.write(folder, version, **more)
    (folder / str(version) / "saved_model.pb").touch()
    return folder


class SageMaker(Server):
    """args: flags besides those of the example engine. env: variables besides the base folder, ports and generation.
    command: "serve", or "tern serve --sagemaker"."""

    def __init__(self, folder, base, generation="2.20", args=(), env=None, wait="listen", command="serve"):
        variables = {"SAGEMAKER_BASE_DIR": str(base), "SAGEMAKER_BIND_TO_PORT": "0", "SAGEMAKER_SAFE_PORT_RANGE": "0-30",
                     "SAGEMAKER_TFS_VERSION": generation, **(env or {})}
        self.port, self.base = None, base
        self.session = requests.Session()
        super().__init__(folder, ["--engine=example", *args], program=command, env=variables, wait=wait)

    def _listening(self):
        try:
            ports = json.loads(self.ports_file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return False
        self.grpc, self.rest, self.port = ports["grpc"], ports["rest"], ports.get("sagemaker")
        return self.port is not None

    def ask(self, method, path, **more):
        """-> requests.Response from SageMaker's port."""
        more.setdefault("timeout", PATIENCE)
        return self.session.request(method, f"http://127.0.0.1:{self.port}{path}", **more)
