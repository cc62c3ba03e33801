"""The load generator and the far end: what counts as an answer, and that both keep up."""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from bench import far, load
from bench.c import program
from bench.far import Asked, Far

USAGE = {"chat": (1000, 600), "messages": (400, 600)}


@pytest.fixture(scope="module")
def end() -> Iterator[Far]:
    with far.running() as running:
        yield running


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_streams_are_whole_and_paced(end: Far, dialect: str) -> None:
    """Every event arrives, none before its time."""
    asked = far.stream(dialect=dialect, events=8, gap_us=20_000)
    seen = load.run(end.port, asked, connections=4, seconds=0.1)
    assert (seen["answers"], seen["errors"]) == (4, {})
    assert seen["events"] >= 4 * asked.events
    assert seen["p50_ms"] >= 7 * 20 * 0.95
    assert seen["gap_p99_ms"] >= 15


@pytest.mark.parametrize("dialect", ["chat", "messages"])
def test_the_usage_of_a_stream_is_true(dialect: str) -> None:
    """So many tokens of output an event; the numbers of input as `bench.far` names them."""
    told = [
        json.loads(line.removeprefix(b"data: "))
        for piece in far.pieces(dialect, 7)
        for line in piece.splitlines()
        if line.startswith(b"data: {") and b'"usage":{' in line
    ]
    usage = told[-1]["usage"]
    if dialect == "chat":
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        assert (usage["prompt_tokens"], cached) == USAGE["chat"]
        assert usage["completion_tokens"] == 7 * far.EVENT_TOKENS
    else:
        assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == USAGE["messages"]
        assert usage["output_tokens"] == 7 * far.EVENT_TOKENS


@pytest.mark.parametrize("size_bytes", [300, 50_000, 5_000_000])
def test_bodies_of_any_size_are_taken_whole(end: Far, size_bytes: int) -> None:
    """A stream flag that stands behind the last byte of the prompt is seen."""
    asked = far.stream(events=2, gap_us=0, body_bytes=size_bytes)
    assert size_bytes <= len(asked.body) <= size_bytes + 400
    seen = load.run(end.port, asked, connections=2, seconds=0.05)
    assert seen["answers"] >= 2
    assert seen["errors"] == {}


def test_plain_answers_have_the_size_that_was_asked_for(end: Far) -> None:
    """What is read is what was sent."""
    seen = load.run(end.port, far.plain(plain_bytes=3000), connections=2, seconds=0.1)
    assert seen["errors"] == {}
    assert seen["bytes"] == seen["answers"] * 3000


def test_a_rate_is_kept_and_time_runs_from_when_a_request_was_due(end: Far) -> None:
    """One connection cannot answer 100 requests a second of 50 ms each: they wait, and it shows."""
    calm = load.run(end.port, far.plain(), connections=8, seconds=0.5, rate=100)
    assert 48 <= calm["answers"] <= 52
    slow = far.stream(events=2, gap_us=50_000)
    late = load.run(end.port, slow, connections=1, seconds=0.5, rate=100)
    assert late["p99_ms"] > 500


@pytest.mark.parametrize("words", [{"stall": 1}, {"slow": 100_000}])
def test_readers_may_stall_or_be_slow(end: Far, words: dict[str, float]) -> None:
    """A stream of 20 MB that nobody takes stays where it is; a slow reader takes what it says."""
    asked = far.stream(events=2000, gap_us=0, event_bytes=10_000)
    seen = load.run(end.port, asked, connections=1, seconds=0.5, cut=1, **words)
    assert (seen["answers"], seen["under_way"]) == (0, 1)
    assert seen["bytes"] <= 100_000


def _says(answer: bytes) -> int:
    """A server that gives every connection this answer and closes it; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            near.recv(65536)
            near.sendall(answer)
            near.close()

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 429 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno", "429"),
        (CHUNKED + b"9\r\ndata: 1\n\n\r\n0\r\n\r\n", "no terminal event"),
        (CHUNKED + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n", "few events"),
        (CHUNKED + b"9\r\ndata: 1\n\n\r\n", "closed"),
        (b"", "closed"),
    ],
)
def test_what_is_not_whole_is_no_answer(answer: bytes, why: str) -> None:
    """Status, end of the body, terminal event and the count of events: each is looked at."""
    asked = Asked("/", b"{}", events=3, terminal="data: [DONE]")
    seen = load.run(_says(answer), asked, connections=1, seconds=0.2)
    assert seen["answers"] == 0
    assert set(seen["errors"]) == {why}


def test_secrets_are_used_in_turn() -> None:
    """Every request has the next one, from any of them on."""
    got: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        near, _ = listener.accept()
        while data := near.recv(65536):
            got.append(data.split(b"Bearer ")[1].split(b"\r\n")[0])
            near.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")

    threading.Thread(target=serve, daemon=True).start()
    port = listener.getsockname()[1]
    load.run(port, Asked("/", b"{}"), secrets=["a", "b", "c"], connections=1, seconds=0.1)
    assert b"".join(got[:6]) in (b"abcabc", b"bcabca", b"cabcab")


def test_many_streams_are_held_at_once(end: Far) -> None:
    """It tells when each has begun, and what was beside it goes on meanwhile."""
    asked = far.stream(events=3, gap_us=700_000)
    words = {"connections": 500, "seconds": 1.2, "spread_s": 0.1, "tell": 1}
    with load.beside(end.port, asked, **words) as held:
        assert held.wait_all()
        assert load.run(end.port, far.plain(), seconds=0.1)["errors"] == {}
        seen = held.end()
    assert (seen["answers"], seen["errors"], seen["connects"]) == (500, {}, 500)


def test_the_far_end_counts_what_it_was_asked() -> None:
    """For those who doubt the load."""
    import subprocess

    child = subprocess.Popen([str(program("far")), "0"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    port = int(child.stdout.readline())
    seen = load.run(port, far.stream(events=2, gap_us=0), connections=3, seconds=0.1)
    time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    counted = json.loads(child.communicate()[0])
    assert counted["whole"] == counted["requests"] == seen["answers"]
    assert (counted["connections"], counted["aborted"]) == (3, 0)
