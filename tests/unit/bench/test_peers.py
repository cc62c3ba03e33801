"""Other gateways beside ours: pins, starting and stopping, and the published part."""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import far
from bench.peers import install, litellm, portkey, report, run, table
from bench.peers.subject import Command, started
from bench.results import Attempt, Run
from bench.stack import Subject
from corvus_proxy.ops.embedded import free_port

ANSWERS = """
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        key = self.headers["authorization"] == "Bearer sk-peer" and self.headers["x-more"] == "1"
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200 if key else 401)
        self.send_header("content-length", "0")
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", {port}), Answer).serve_forever()
"""


def made(cpu_us: dict[str, int], *, rounds: int = 3, quick: bool = False) -> Attempt:
    """An attempt in which a plain request of each subject takes so much CPU, and an event a tenth;
    a round's figures are its number times as high."""
    attempt = Attempt(
        "2026-11-26T03:00:00Z",
        "abcdef0123",
        True,
        {},
        {"portkey": "1.0"},
        {},
        runs_of(cpu_us, rounds),
    )
    attempt.options |= {
        "peers": True,
        "quick": quick,
        "settings": {"portkey": "one process"},
        "missing": {"litellm, database accounting": "no engine"},
    }
    return attempt


def runs_of(cpu_us: dict[str, int], rounds: int) -> list[Run]:
    """The runs of it: 100 plain requests, and 10 streams of 64 events with a request each."""
    runs = []
    for number in range(1, rounds + 1):
        for name, cost in cpu_us.items():
            plain: dict[str, Any] = {
                "answers": 100,
                "errors": {},
                "answers_per_s": 50.0,
                "p50_ms": 1.0,
            }
            stream: dict[str, Any] = {"answers": 10, "errors": {}, "events": 640}
            cost_us = cost * number
            net_us = 640 * cost_us // 10
            runs += [
                Run("peers-plain", name, {}, number, load=plain, cpu_us={"gateway": 100 * cost_us}),
                Run(
                    "peers-streams",
                    name,
                    {},
                    number,
                    load=stream,
                    cpu_us={"gateway": net_us + 10 * cost_us},
                ),
            ]
    return runs


def test_the_published_part_follows_from_the_runs() -> None:
    """Medians with their spread, ratios of one round, demands met and missed, what is missing."""
    attempt = made({"corvus": 100, "portkey": 699, "litellm": 7_000})
    text = "\n".join(report.section([attempt], Path()))
    assert "| corvus | 200.0 (100.0–300.0) | 200.0 (100.0–300.0) | 50 |" in text
    assert "| plain request, gateway CPU, of litellm's | 1/70 | 1/70 (1/70–1/70) | met |" in text
    below = "1/7 | 1/7.0 (1/7.0–1/7.0) | missed"
    assert f"| plain request, gateway CPU, of portkey's | {below} |" in text
    # 10 µs an event of ours: the stream's own request is taken off.
    found = report.by_subject(attempt.runs)["peers-streams"]["corvus"]
    assert [found[number]["net_cpu_us_per_event"] for number in (1, 2, 3)] == [10, 20, 30]
    assert "| streamed event, gateway CPU, of litellm's | 1/25 | 1/70 (1/70–1/70) | met |" in text
    assert "| litellm, database accounting | – | not supported: no engine |" in text
    assert "| portkey | 1.0 | one process |" in text


def test_a_round_that_failed_has_no_ratio_and_a_quick_attempt_gives_way() -> None:
    """What failed is not counted as fast; the latest full attempt is shown."""
    attempt = made({"corvus": 100, "litellm": 5_000})
    attempt.runs[0].failed = "no whole answer"
    found = report.by_subject(attempt.runs)["peers-plain"]
    ratios = report.ratios(found["litellm"], found["corvus"], "cpu_us_per_request")
    assert ratios == [50, 50]
    quick = made({"corvus": 1}, quick=True)
    assert report.section([attempt, quick], Path()) == report.section([attempt], Path())
    assert "quick run" in "\n".join(report.section([quick], Path()))
    assert report.section([], Path()) == []


def test_latency_is_added_over_the_far_end_at_the_same_rate() -> None:
    """Who is measured at 50 requests/s is compared with the far end at 50."""
    load = {"answers": 10, "errors": {}, "p99_ms": 9.0}
    runs = [
        Run("peers-rate", name, {"rate": rate}, 1, load={**load, "p50_ms": p50})
        for name, rate, p50 in (
            ("direct", 200, 0.1),
            ("direct", 50, 0.5),
            ("corvus", 200, 0.4),
            ("litellm", 50, 11.0),
        )
    ]
    found = report.by_subject(runs)["peers-rate"]
    assert found["corvus"][1]["added_p50_ms"] == pytest.approx(0.3)
    assert found["litellm"][1]["added_p50_ms"] == pytest.approx(10.5)
    assert report.ratios(found["litellm"], found["corvus"], "p50_ms") == []


@pytest.mark.parametrize(
    ("reached", "rate"),
    [([], 200), ([20_000.0], 200), ([340.0], 200), ([88.0, 90.0, 10.0], 50), ([3.0], 10)],
)
def test_a_peer_is_asked_for_what_it_can_carry(reached: list[float], rate: int) -> None:
    """200 requests/s, or 60 % of the median of what it reached in saturation."""
    runs = [
        Run("peers-plain", "litellm", {}, number, load={"answers_per_s": one})
        for number, one in enumerate(reached)
    ]
    runs.append(Run("peers-plain", "corvus", load={"answers_per_s": 1.0}))
    runs.append(Run("peers-plain", "litellm", failed="did not answer"))
    assert run.carried(runs, "litellm") == rate


def test_every_package_of_a_peer_is_pinned_with_a_hash() -> None:
    """By the locks alone, without an address of an index in them."""
    lock = litellm.LOCK.read_text()
    pins = re.split(r"\n(?=\S)", lock.strip())
    assert len(pins) > 100
    for pin in pins:
        assert re.match(r"[a-zA-Z0-9._-]+(\[.*\])?==\S+", pin), pin
        assert "--hash=sha256:" in pin, pin
    document = json.loads((portkey.PROJECT / "package-lock.json").read_text())
    packages = {name: row for name, row in document["packages"].items() if name}
    assert all(row["integrity"].startswith("sha512-") for row in packages.values())
    assert not any("resolved" in row for row in packages.values())
    server = packages["node_modules/@hono/node-server"]["version"]
    wanted = json.loads((portkey.PROJECT / "package.json").read_text())
    assert server == wanted["overrides"]["@hono/node-server"]
    assert [peer.name for peer in table.PEERS] == ["nginx", "portkey", "litellm"]


def test_a_peer_that_answers_is_started_and_ends_with_the_block(tmp_path: Path) -> None:
    """With its key and headers; its process is the one that is measured."""
    port = free_port({})
    subject = Subject("peer", port, {}, ["sk-peer"], ("x-more: 1",))
    command = Command([sys.executable, "-c", ANSWERS.format(port=port)], {})
    with started(subject, command, tmp_path, far.plain()) as ready:
        pid = ready.trees["gateway"]
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()


def test_a_peer_that_does_not_come_is_missing_with_its_last_words(tmp_path: Path) -> None:
    """At once when it has ended: nobody waits for it."""
    subject = Subject("peer", free_port({}), {}, ["sk-peer"])
    command = Command([sys.executable, "-c", "raise SystemExit('no such model')"], {})
    began_s = time.monotonic()
    with (
        pytest.raises(install.Missing, match="no such model"),
        started(subject, command, tmp_path, far.plain()),
    ):
        pass
    assert time.monotonic() - began_s < 30


def test_an_installation_is_made_once_and_anew_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a folder with its stamp is used; other inputs are another folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made_at = []

    def make(place: Path) -> None:
        made_at.append(place)
        if len(made_at) == 1:
            install.run(sys.executable, "-c", "raise SystemExit('no network')", where=place)

    with pytest.raises(install.Missing, match="no network"):
        install.folder("peer", b"1", make=make)
    first = install.folder("peer", b"1", make=make)
    assert install.folder("peer", b"1", make=make) == first
    assert install.folder("peer", b"2", make=make) != first
    assert len(made_at) == 3
