"""Price changes through a real gateway, and the commands of the price book."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from corvus_proxy.ops import embedded
from tests.stack import RunningStack, corvus

DAY_S = 86_400
SHIFTED = """
import time
from pathlib import Path
_real, _shift = time.time_ns, Path(__file__).with_name("shift")
time.time_ns = lambda: _real() + int(_shift.read_text()) * 10**9
"""
"""A wall clock that a file moves, in the gateway's process and nowhere else."""
BOOK = """
[[model]]
slug = "gpt-4o-mini"
family = "openai"
name = "X"
context_tokens = 128000
output_tokens_max = 16384
created = 1
source = "s"
checked = 2026-11-01
official = {{ input = "8", output = "8" }}
price = {{ input = "1", output = "2" }}

[[model.change]]
from = {tomorrow}
announced = {announced}
price = {{ input = "3", output = "4" }}
"""


class Shifted:
    """A gateway by itself with a price book that changes tomorrow, and a clock to move."""

    def __init__(self, stack: RunningStack, folder: Path) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{embedded.free_port()}"
        (folder / "sitecustomize.py").write_text(SHIFTED)
        self.shift(0)
        today = datetime.now(UTC).date()
        tomorrow, announced = today + timedelta(days=1), today - timedelta(days=20)
        (folder / "models.toml").write_text(BOOK.format(tomorrow=tomorrow, announced=announced))
        config = (stack.state / "up.toml").read_text()
        (folder / "config.toml").write_text(config)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "corvus_proxy.ops.cli", "gateway"],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(folder),
                "CORVUS_CONFIG": str(folder / "config.toml"),
                "CORVUS_PRICING_BOOK": str(folder / "models.toml"),
                "CORVUS_LEDGER_JOURNAL_DIR": str(folder / "journal"),
                "CORVUS_GATEWAY_PORT": self.url.rpartition(":")[2],
                "CORVUS_GATEWAY_PROCESSES": "1",
            },
            cwd=folder,
            stderr=(folder / "log").open("wb"),
            start_new_session=True,
        )
        self.wait()

    def shift(self, days: int) -> None:
        """Sets the gateway's wall clock so many days ahead."""
        beside = self.folder / "shift.new"
        beside.write_text(str(days * DAY_S))
        beside.replace(self.folder / "shift")

    def wait(self) -> None:
        """Until it is ready."""
        deadline = time.monotonic() + 30
        while True:
            log = (self.folder / "log").read_text()
            assert time.monotonic() < deadline, log
            assert self.process.poll() is None, log
            try:
                if httpx.get(self.url + "/readyz", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)

    def ask(self, key: str) -> tuple[str, str, dict[str, int]]:
        """One request: price version, cost in USD, usage."""
        answer = httpx.post(self.url + "/v1/chat/completions", json=body(), **using(key))
        assert answer.status_code == 200, answer.text
        headers = answer.headers
        return (
            headers["x-corvus-price-version"],
            headers["x-corvus-cost-usd"],
            answer.json()["usage"],
        )


def body(**more: Any) -> dict[str, Any]:
    """A chat request to the model whose price changes."""
    text = "Hi [[simulate: tokens=40; delay_ms=50]]"
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}], **more}


def using(key: str) -> dict[str, Any]:
    """How a request is sent."""
    headers = {"authorization": f"Bearer {key}"}
    return {"headers": headers, "trust_env": False, "timeout": 30}


@pytest.fixture
def shifted(stack: RunningStack, tmp_path: Path) -> Iterator[Shifted]:
    """Its gateway, ended afterwards."""
    found = Shifted(stack, tmp_path)
    yield found
    found.process.send_signal(signal.SIGTERM)
    try:
        found.process.wait(60)
    finally:
        if found.process.poll() is None:
            os.killpg(found.process.pid, signal.SIGKILL)
            found.process.wait()


def nanos(usage: dict[str, int], price: tuple[int, int]) -> int:
    """The charge at USD per million; both prices are whole, so nothing is rounded."""
    return usage["prompt_tokens"] * price[0] * 1000 + usage["completion_tokens"] * price[1] * 1000


def test_a_change_comes_into_force_without_a_restart(stack: RunningStack, shifted: Shifted) -> None:
    """New requests at the new price from its instant on; the stream in flight at the old one that
    it was admitted with; a clock that goes back does not bring the old price back."""
    key = stack.new_key("1")
    old, cost, usage = shifted.ask(key["secret"])
    assert round(float(cost) * 1e9) == nanos(usage, (1, 2))
    asked = body(stream=True, stream_options={"include_usage": True})
    with httpx.stream(
        "POST", shifted.url + "/v1/chat/completions", json=asked, **using(key["secret"])
    ) as stream:
        pieces = stream.iter_raw()
        received = next(pieces)
        shifted.shift(1)
        new, cost, usage = shifted.ask(key["secret"])
        assert new != old
        assert round(float(cost) * 1e9) == nanos(usage, (3, 4))
        received += b"".join(pieces)
        assert stream.headers["x-corvus-price-version"] == old
    told = re.search(rb": corvus (\{[^\n]*\})", received)
    assert told is not None
    whole = next(
        json.loads(line[6:])["usage"]
        for line in received.splitlines()
        if line.startswith(b"data: {") and json.loads(line[6:]).get("usage")
    )
    assert round(float(json.loads(told[1])["cost_usd"]) * 1e9) == nanos(whole, (1, 2))
    shifted.shift(0)
    assert shifted.ask(key["secret"])[0] == new
    stack.settled(key["key_id"])
    explained = stack.command("ledger", "explain", key["key_id"])
    assert explained["problems"] == []
    formulas = [step["formula"] for step in explained["steps"] if "output" in step["formula"]]
    picos = [re.findall(r"\d+", formula)[-1] for formula in formulas]
    assert sorted(picos) == ["2000000", "2000000", "4000000", "4000000"]


def test_show_tells_everything_about_one_model(stack: RunningStack) -> None:
    """By alias; official beside ours, the share, margins of both ends, the history."""
    found = stack.command("prices", "show", "gpt-5.6")
    assert found["slug"] == "gpt-5.6-sol"
    assert set(found) >= {"version", "source", "checked", "long_above", "history", "later", "sold"}
    first = found["components"][0]
    assert first == {
        "component": "input",
        "mode": "",
        "above": 0,
        "official_picos": 4_000_000,
        "price_picos": 2_000_000,
        "share_percent": "50",
        "margin_cheapest_percent": -100,
        "margin_dearest_percent": -100,
    }
    assert {(row["mode"], row["above"]) for row in found["components"]} == {
        (mode, above) for mode in ("", "flex", "priority") for above in (0, 272_000)
    }
    (past,) = found["history"]
    assert (past["until"], past["components"][1]["official_picos"]) == ("2026-08-21", 30_000_000)
    text = corvus("prices", "show", "gpt-5.6-sol", "--state", str(stack.state)).stdout
    for word in ("above 272,000 input tokens", "before: until 2026-08-21", "genai-prices", "50 %"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 80
    table = corvus("prices", "show", "--state", str(stack.state)).stdout
    assert max(map(len, table.splitlines())) <= 80
    done = corvus("prices", "show", "gpt-0", "--state", str(stack.state), check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "gpt-0" in done.stderr


def test_show_at_a_day(stack: RunningStack) -> None:
    """The prices that were in force then."""
    rows = stack.command("prices", "show", "--at", "2026-08-20")["models"]
    row = next(row for row in rows if row["slug"] == "gpt-5.6-sol")
    assert (row["input_picos"], row["changes"]) == (2_500_000, ["2026-08-21"])


@pytest.fixture
def own_book(tmp_path: Path) -> Path:
    """A configuration with a price book that has faults."""
    book = tmp_path / "models.toml"
    book.write_text(
        BOOK.format(tomorrow="2026-12-01", announced="2026-11-25")
        .replace('input = "1"', 'input = "9"')
        .replace('"X"', '"GPT-4o mini"')
    )
    config = tmp_path / "config.toml"
    config.write_text(
        f'[pricing]\nbook = "{book}"\n[[upstream]]\nfamily = "openai"\n'
        'base_url = "https://api.openai.com"\n[[upstream.credential]]\nname = "a"\n'
    )
    return config


def test_lint_says_what_is_wrong(stack: RunningStack, own_book: Path) -> None:
    """One line a problem, exit code 1; the shipped book has none."""
    assert stack.command("prices", "lint") == {"ok": True, "problems": []}
    done = corvus("prices", "lint", "--config", str(own_book), check=False)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert any("input is sold at 9000000 picos" in line for line in lines)
    assert any("rises 6 days after it was announced" in line for line in lines)
    told = corvus("prices", "lint", "--json", "--config", str(own_book), check=False)
    assert json.loads(told.stdout) == {"ok": False, "problems": lines}


def test_diff_compares_with_the_tracked_table(stack: RunningStack, own_book: Path) -> None:
    """0 where all agree or every difference is explained, 3 where one is not."""
    found = stack.command("prices", "diff")
    assert found["agree"] is True
    assert {one["component"] for one in found["differences"]} == {"geos", "ultrafast"}
    known = corvus("prices", "diff", "--at", "2026-10-01", "--state", str(stack.state)).stdout
    assert "claude-sonnet-5-5: cache_read: ours 0.2, theirs 0.1" in known
    assert "known   genai-prices has no price of before 2026-10-07:" in known
    done = corvus("prices", "diff", "--config", str(own_book), check=False)
    assert done.returncode == 3
    assert "DIFFERS gpt-4o-mini: input: ours 8, theirs 0.15" in done.stdout
    told = corvus("prices", "diff", "--json", "--config", str(own_book), check=False)
    assert told.returncode == 3
    document = json.loads(told.stdout)
    assert document["agree"] is False
    assert set(document["differences"][0]) == {
        "slug", "component", "mode", "above", "ours", "theirs", "source", "since", "known",
    }  # fmt: skip


def test_what_is_not_sold_names_the_ways_out(own_book: Path) -> None:
    """`prices show` of a model whose price lies below what its only credential pays."""
    book = own_book.with_name("models.toml")
    book.write_text(book.read_text().replace('input = "9"', 'input = "1"'))
    told = corvus("prices", "show", "gpt-4o-mini", "--config", str(own_book)).stdout
    for word in ("not sold", "factor.<family>", "cost_factor", "sell_below_cost"):
        assert word in told
    assert "not sold" in corvus("prices", "show", "--config", str(own_book)).stdout
