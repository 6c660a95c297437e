"""The pytest fixture `tern_endpoint`. Found by pytest when the package is installed, else `pytest -p tern.testing.plugin`."""

from typing import Any, Callable, Iterator, List

import pytest


@pytest.fixture
def tern_endpoint() -> Iterator[Callable[..., Any]]:
    """tern_endpoint(code, **options) -> tern.testing.Endpoint, closed after the test."""
    from tern.testing import Endpoint
    made: List[Endpoint] = []

    def make(*arguments: Any, **options: Any) -> Endpoint:
        endpoint = Endpoint(*arguments, **options)
        made.append(endpoint)
        return endpoint

    try:
        yield make
    finally:
        for endpoint in reversed(made):
            endpoint.close()
