"""Tern's Python side: handler scripts around a model, and a small client.

`tern.worker` runs scripts for the server; `tern.testing` runs them without one; `tern.Client` asks a server.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tern.client import Client, ServerError

__all__ = ["Client", "ServerError"]


def __getattr__(name: str) -> Any:  # workers need no client
    if name in __all__:
        from tern import client
        return getattr(client, name)
    raise AttributeError(f"module 'tern' has no attribute {name!r}")
