"""The document of the clients says what the tests run."""

from pathlib import Path

from tests.clients import table
from tests.clients.table import Client


def test_every_client_has_its_row() -> None:
    """Name, exact packages, whether the gate runs it."""
    text = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
    rows = [row.split(" | ") for row in text.splitlines() if row.startswith("| `")]
    found = [(row[0].strip("| `"), row[1], row[-1].strip(" |")) for row in rows]
    clients = [one for one in vars(table).values() if isinstance(one, Client)]
    assert found == [
        (one.name, ", ".join(one.packages), "yes" if one.gate else "no") for one in clients
    ]


def test_every_version_is_exact() -> None:
    """A package without a version would change what is tested from one day to the next."""
    for client in (one for one in vars(table).values() if isinstance(one, Client)):
        mark = "@" if client.kind == "npm" else "=="
        for package in client.packages:
            assert package.rpartition(mark)[2][0].isdigit(), package
