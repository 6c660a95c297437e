"""Tern's Python side: handler scripts around a model, and a small client.

`tern.worker` runs scripts for the server; `tern.testing` runs them without one; `tern.Client` asks a server; `tern.read` says
what a web page is about (`tern.html`).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tern.client import Client, ServerError
    from tern.html import read

__all__ = ["Client", "ServerError", "read"]


def __getattr__(name: str) -> Any:  # workers need no client
    if name == "read":
        from tern import html
        return html.read
    if name in __all__:
        from tern import client
        return getattr(client, name)
    raise AttributeError(f"module 'tern' has no attribute {name!r}")
