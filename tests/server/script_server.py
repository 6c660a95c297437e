"""A server with a handler script: writes inference.py into a base folder, starts the server, finds its workers."""
import contextlib
import os
import pathlib
import socket
import sys
import textwrap

from sagemaker_server import SageMaker, write_model
from tern_server import PATIENCE


class Scripts(SageMaker):
    """script: text of inference.py. files: more of the code folder, by path."""

    def __init__(self, folder, script, generation="2.20", env=None, args=(), files=None, wait="listen"):
        base = pathlib.Path(folder) / "base"
        code = base / "model" / "code"
        code.mkdir(parents=True)
        write_model(base / "model" / "half", 1)
        for name, text in {"inference.py": script, **(files or {})}.items():
            (code / name).parent.mkdir(parents=True, exist_ok=True)
            (code / name).write_text(textwrap.dedent(text), encoding="utf-8")
        self.code = code
        super().__init__(pathlib.Path(folder) / "server", base, generation, args=args,
                         env={"TERN_PYTHON": sys.executable, **(env or {})}, wait=wait)

    def invoke(self, data=b"", **more):
        return self.ask("POST", "/invocations", data=data, **more)

    def connect(self, body):
        """A connection on which an invocation was sent, whose answer nobody has read."""
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        data = body.encode() if isinstance(body, str) else body
        sock.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        return sock

    def workers(self):
        """Process ids of the workers."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as children:
            found = set(map(int, children.read().split()))
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                with open(f"/proc/{self.process.pid}/task/{task}/children", encoding="ascii") as children:
                    found |= set(map(int, children.read().split()))
            except OSError:
                pass
        return sorted(found)


def stop_all(servers):
    """Ends those that still run, all of them, whatever one of them says at its end."""
    with contextlib.ExitStack() as stack:
        for server in servers:
            if server.process.poll() is None:
                stack.callback(server.stop)
