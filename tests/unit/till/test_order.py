"""Rule 2 of `till.holds`: what Redis is asked to change stands in the journal first."""

from pathlib import Path
from typing import Any

import pytest

from corvus_proxy.till.client import Till
from corvus_proxy.till.holds import Holds
from corvus_proxy.till.journal import Node, read_lines
from corvus_proxy.till.reply import Ask
from tests.conftest import add_wallet

pytestmark = pytest.mark.anyio
W = "w_order0000001"
PEPPER = b"p" * 32


async def test_the_journal_has_each_line_before_its_script_runs(
    valkey_till: Till, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OPEN before reserve, CKPT before extend, SETTLE before settle, with the same figures."""
    await add_wallet(valkey_till, W, 1000)
    node = Node(tmp_path, PEPPER)
    journal = node.journal("p1", sync_ms=5)
    holds = Holds(valkey_till, journal, lease_s=60, lag_limit=99, wait_s=0, waiters_max=1)
    before: dict[str, list[tuple[str, ...]]] = {}
    call = valkey_till.call

    async def seen(name: str, keys: list[str], args: Any, *patience_s: Any) -> Any:
        lines = read_lines(journal._segments[0].path, node.key)
        before[name] = [(line.kind, line.rid, *line.fields) for line in lines]
        return await call(name, keys, args)

    monkeypatch.setattr(valkey_till, "call", seen)
    hold = await holds.reserve(Ask("r", W, "digest", 100, 100, 0, "pv", "slug", 1))
    hold.progress = lambda: (60, b"{}")
    await hold.extend(200)
    await hold.settle(70, "completed", b"{}", wait_s=2)
    opened, kept = ("O", "r", W, "100", "slug", "pv"), ("K", "r", f"key_{W}", "60", "{}")
    settling = ("S", "r", W, f"key_{W}", "slug", "70", "completed", "{}")
    assert before == {
        "reserve": [opened],
        "extend": [opened, kept],
        "settle": [opened, kept, settling],
    }
    await holds.drain(1)
