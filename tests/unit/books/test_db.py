"""A connection to the books: its rights, and how long a vanished client may hold a lock."""

import pytest

from corvus_proxy.books.db import Books

pytestmark = pytest.mark.anyio


async def test_a_connection_has_the_applications_rights_and_notices_a_dead_client(
    books: Books,
) -> None:
    """`corvus_app`, an end to idle transactions, keep-alives within 30 s."""
    async with books.connection() as connection:
        found = {
            name: await connection.fetchval(f"show {name}")
            for name in (
                "role",
                "idle_in_transaction_session_timeout",
                "tcp_keepalives_idle",
                "tcp_keepalives_interval",
                "tcp_keepalives_count",
            )
        }
    assert found == {
        "role": "corvus_app",
        "idle_in_transaction_session_timeout": "30s",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }
