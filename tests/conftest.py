"""Fixtures and rules of the whole suite: real servers on loopback, stopped when it ends."""

import faulthandler
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from corvus_proxy.books.db import Books
from corvus_proxy.ops import embedded, migrate
from corvus_proxy.till import reply
from corvus_proxy.till.client import Till
from tests import parsing, release, spread
from tests.databases import Databases
from tests.stack import RunningStack

# How long an example takes is the machine's affair.
settings.register_profile("gate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gate")
# The servers of the tests speak no TLS. A connection that is given up while asyncpg asks for it
# leaves an error that nobody hears, and the next test's loop tells of it.
os.environ["PGSSLMODE"] = "disable"
parsing.shield()
LEFT_OUT = pytest.StashKey[list[str]]()
ROOT = Path(__file__).parents[1]
FOLDERS = (("recordings", "CORVUS_RECORDINGS"), ("clients", "CORVUS_CLIENTS"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also what takes long")
    parser.addoption("--operations", type=int, default=2_000_000, help="of the slow model test")


def pytest_configure(config: pytest.Config) -> None:
    for name, variable in FOLDERS:
        config.addinivalue_line("markers", f"{name}: needs the folder in {variable}")
    config.addinivalue_line("markers", "previous: needs the commit of the release before")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The whole gate runs in several processes; a part of it, or one that is watched, in this."""
    if hasattr(config, "workerinput"):
        return  # one of those processes
    option = config.option
    part = option.keyword or option.markexpr or option.lf or option.all or option.collectonly
    watched = option.usepdb or option.trace or option.capture == "no"
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if whole and not part and not watched and option.numprocesses is None:
        option.numprocesses = spread.PROCESSES


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> spread.Spread:
    """Whole files, then what must be alone."""
    return spread.Spread(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process tells how much it has left out, as one that runs alone does."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["deselected"] = session.config.stash.get(LEFT_OUT, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The controller shows what its processes have left out, once: all leave out the same."""
    told = getattr(node, "workeroutput", {}).get("deselected", [])
    reporter = node.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and "deselected" not in reporter.stats:
        # Objects, as its own are: other plugins look into everything that was counted.
        reporter.stats["deselected"] = [SimpleNamespace(nodeid=name) for name in told]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects what was not asked for or what has no data here."""
    out = {name for name, variable in FOLDERS if variable not in os.environ}
    if not config.getoption("--all"):
        out.add("slow")
    if release.previous(ROOT) is None:
        out.add("previous")
    dropped = {item for item in items if out & {mark.name for mark in item.iter_markers()}}
    if dropped:
        config.hook.pytest_deselected(items=list(dropped))
        config.stash[LEFT_OUT] = [item.nodeid for item in dropped]
        items[:] = [item for item in items if item not in dropped]


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """What takes long by its nature is not stuck after `faulthandler_timeout`."""
    if item.get_closest_marker("slow"):
        faulthandler.cancel_dump_traceback_later()
    return (yield)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """On the gate a skipped test is a failed one: what is missing has to be installed."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped with CI=true: {report.longrepr}"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the product does."""
    return "asyncio"


def _start_redis(folder: Path) -> embedded.Redis:
    server = embedded.Redis(folder, folder.with_suffix(".log"), port=embedded.free_port())
    server.start()
    server.wait()
    return server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Redis]:
    """The embedded server with money-safe settings."""
    server = _start_redis(tmp_path_factory.mktemp("redis") / "data")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def debian_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Redis]:
    """Debian's Redis 7.0: the oldest that is supported."""
    binary = Path("/usr/bin/redis-server")
    if not binary.exists():
        pytest.skip("apt-get install -y redis-server")
    os.environ["CORVUS_REDIS_BIN"] = str(binary)
    try:
        server = _start_redis(tmp_path_factory.mktemp("redis7") / "data")
    finally:
        del os.environ["CORVUS_REDIS_BIN"]
    yield server
    server.stop()


async def open_all(till: Till) -> None:
    """Makes and opens every partition, as the coordinator does on a new installation."""
    for part in range(64):
        await till.init(part)
    for part, state in enumerate(await till.partitions()):
        assert (await till.open_partition(part, state, replid=await till.replid()))[0] == "OK"


async def add_wallet(till: Till, wallet: str, nanos: int, *, digest: str = "digest") -> None:
    """A wallet with one active key and so much money."""
    row = reply.KeyRow(wallet, 1, "1", [reply.KeyEntry(f"key_{wallet}", "1", [(digest, 0)])])
    await till.push(row)
    if nanos:
        assert isinstance(
            await till.credit(f"start:{wallet}", wallet, nanos, counter="grants"), reply.Credited
        )


async def _fresh(url: str) -> AsyncIterator[Till]:
    till = Till.open(url, timeout_ms=5000)
    await till._redis.flushall()
    await open_all(till)
    yield till
    await till.close()


@pytest.fixture(params=["valkey", "redis7"])
async def till(request: pytest.FixtureRequest) -> AsyncIterator[Till]:
    """An empty till with all partitions open, on the newest and on the oldest server."""
    name = "redis_server" if request.param == "valkey" else "debian_redis"
    async for one in _fresh(request.getfixturevalue(name).url):
        yield one


@pytest.fixture
async def valkey_till(redis_server: embedded.Redis) -> AsyncIterator[Till]:
    """The same on the embedded server alone."""
    async for one in _fresh(redis_server.url):
        yield one


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Postgres]:
    """The embedded Postgres with a migrated database as a template."""
    folder = tmp_path_factory.mktemp("postgres")
    server = embedded.Postgres(folder, folder / "postgres.log", port=embedded.free_port())
    server.start()
    server.wait()
    migrate.migrate(server.url)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def databases(postgres_server: embedded.Postgres) -> Databases:
    """Migrated databases, one test's at a time."""
    return Databases(postgres_server)


@pytest.fixture
async def books(databases: Databases) -> AsyncIterator[Books]:
    """Fresh books."""
    async with databases.fresh() as url:
        opened = Books(url)
        yield opened
        await opened.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A whole `corvus up` for tests that ask as a client does; leases of 2 s."""
    running = RunningStack(tmp_path_factory.mktemp("stack"))
    running.up()
    yield running
    running.down()
