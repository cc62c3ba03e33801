"""Fixtures and rules of the whole suite."""

import os

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the product does."""
    return "asyncio"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also what takes long")


def pytest_configure(config: pytest.Config) -> None:
    for name, variable in (("recordings", "CORVUS_RECORDINGS"), ("clients", "CORVUS_CLIENTS")):
        config.addinivalue_line("markers", f"{name}: needs the folder in {variable}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects what was not asked for or what has no data here."""
    out = set()
    if not config.getoption("--all"):
        out.add("slow")
    out |= {name for name, variable in (
        ("recordings", "CORVUS_RECORDINGS"), ("clients", "CORVUS_CLIENTS"))
        if variable not in os.environ}
    dropped = [item for item in items if out & {mark.name for mark in item.iter_markers()}]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in set(dropped)]
