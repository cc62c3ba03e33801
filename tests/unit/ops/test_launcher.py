"""The launcher's rules: which ports, when a child starts again, and when all is stopped."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from corvus_proxy.errors import ConfigurationError, CorvusError
from corvus_proxy.ops import launcher
from corvus_proxy.ops.launcher import Child, Options, Stack


def ended(log: Path) -> subprocess.Popen[bytes]:
    """A process that said something and ended."""
    with log.open("ab") as out:
        child = subprocess.Popen(["sh", "-c", "echo last words; exit 7"], stdout=out)
    child.wait()
    return child


def test_a_child_starts_again_at_once_then_later_and_later_and_then_everything_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0, 0.5, 1 and 2 s; the fifth end within a minute raises with the child's last lines."""
    stack = Stack(Options(state=tmp_path))
    stack.state.prepare()
    monkeypatch.setattr(Stack, "summary", lambda self: {})
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    log = stack.state.log("site")
    child = Child("site", lambda: ended(log), process=ended(log))
    delays = []
    for _ in range(4):
        stack._look(child)
        assert child.start_again_at is not None
        delays.append(child.start_again_at - now)
        now = child.start_again_at - 0.01
        stack._look(child)
        assert child.start_again_at is not None, "not before its time"
        now = child.start_again_at
        stack._look(child)
        assert child.start_again_at is None
    assert delays == [0, 0.5, 1, 2]
    with pytest.raises(CorvusError, match=r"(?s)site ended 5 times within 60 s:.*last words"):
        stack._look(child)


def test_ends_of_long_ago_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that ends once in two minutes is started at once, for ever."""
    stack = Stack(Options(state=tmp_path))
    stack.state.prepare()
    monkeypatch.setattr(Stack, "summary", lambda self: {})
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    log = stack.state.log("site")
    child = Child("site", lambda: ended(log), process=ended(log))
    for _ in range(10):
        stack._look(child)
        assert child.start_again_at == now
        stack._look(child)
        now += 120


def test_a_start_that_ends_is_told_with_its_last_lines(tmp_path: Path) -> None:
    """A first start that fails stops everything, whoever of the children it was."""
    stack = Stack(Options(state=tmp_path))
    stack.state.prepare()
    log = stack.state.log("gateway")
    stack.children = [Child("gateway", lambda: ended(log), process=ended(log))]
    with pytest.raises(CorvusError, match=r"(?s)gateway did not start:.*last words"):
        stack._check_first_start()


def test_stop_ends_what_takes_requests_first_and_the_data_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gateway first, Postgres by SIGINT and Redis at the very end."""
    stack = Stack(Options(state=tmp_path, config=None))
    names = ["redis", "postgres", "providers", "worker", "gateway", "site", "console"]
    log = tmp_path / "log"
    for name in names:
        number = signal.SIGINT if name == "postgres" else signal.SIGTERM
        stack.children.append(Child(name, lambda: ended(log), number, process=ended(log)))
    pids = {child.process.pid: child.name for child in stack.children if child.process}
    order = []
    monkeypatch.setattr(
        launcher.children, "end", lambda child, number, timeout_s: order.append(pids[child.pid])
    )
    stack.stop()
    assert order[0] == "gateway"
    assert order[-2:] == ["postgres", "redis"]
    assert sorted(order) == sorted(names)


def test_two_options_cannot_have_one_port() -> None:
    """The sentence names both; a number that is no port is refused too."""
    free = launcher.embedded.free_port()
    taken: dict[int, str] = {}
    launcher._check_port("api_port", free, taken)
    with pytest.raises(ConfigurationError, match=f"--site-port and --api-port are both {free}"):
        launcher._check_port("site_port", free, taken)
    with pytest.raises(ConfigurationError, match="port 70000 cannot be used"):
        launcher._check_port("console_port", 70000, taken)


def test_a_signal_whose_exception_is_lost_ends_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python throws away what is raised while it collects an object."""
    stack = Stack(Options(state=tmp_path))
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}

    class Collected:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    try:
        signal.signal(signal.SIGTERM, stack.interrupt)
        Collected()
        monkeypatch.setattr(time, "sleep", lambda s: pytest.fail("it goes on watching"))
        stack.watch()
        signal.signal(signal.SIGTERM, stack.interrupt)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
