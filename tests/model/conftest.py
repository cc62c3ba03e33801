"""A server of each kind that the model's tests may kill."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model.world import Server

DEBIAN = Path("/usr/bin/redis-server")


@pytest.fixture(params=["valkey", "redis7"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """The embedded server, and Debian's Redis 7.0: the newest and the oldest that are supported."""
    if request.param == "redis7" and not DEBIAN.exists():
        pytest.skip("apt-get install -y redis-server")
    found = Server(tmp_path, str(DEBIAN) if request.param == "redis7" else None)
    yield found
    found.kill()
