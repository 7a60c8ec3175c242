"""The servers that inputs come from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.valohai.servers import Site, http_site


@pytest.fixture
def site() -> Iterator[Site]:
    """An HTTP server of the test's own."""
    with http_site() as running:
        yield running
