"""The operator's part in recovery, by the command line, on a stack that serves meanwhile."""

import json
import re
import threading
import time
from typing import Any

import pytest
import redis as sync_redis

from corvus_proxy.money.event import partition_of
from tests.stack import RunningStack, corvus

CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": 50}


def say(words: str) -> dict[str, Any]:
    return {**CHAT, "messages": [{"role": "user", "content": words}]}


def wait_for(what: Any, *, timeout_s: float = 60) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def text_of(stack: RunningStack, *words: str) -> str:
    return corvus(*words, "--state", str(stack.state), check=False).stdout


def test_explain_tells_every_step_of_a_key(stack: RunningStack) -> None:
    """Grant, charges with their lines, and whether both stores agree."""
    made = stack.new_key("3.00")
    answer = stack.ask("/v1/chat/completions", say("hi"), key=made["secret"])
    rid, cost = answer.headers["x-request-id"], answer.headers["x-corvus-cost-usd"]
    found = stack.command("ledger", "explain", made["key_id"])
    assert found["ok"]
    assert [step["kind"] for step in found["steps"]] == ["C", "S"]
    assert found["steps"][1]["id"] == rid
    assert found["redis_nanos"] == found["books_nanos"] + found["undrained_nanos"]
    told = text_of(stack, "ledger", "explain", made["key_id"])
    assert f"-{cost}" in told
    assert re.search(r"\d+ input x \d+ \+ \d+ output x \d+ picos", told)
    assert "Everything agrees." in told
    assert corvus("ledger", "explain", "key_nobody", "--state", str(stack.state),
                  check=False).returncode == 1  # fmt: skip


@pytest.mark.slow
def test_a_rebuild_under_load_is_hardly_noticed(stack: RunningStack) -> None:
    """A wallet's partition is rebuilt while it streams: every answer whole, not a nano of drift."""
    made = stack.new_key("20.00")
    part = partition_of(made["wallet"])
    plans = stack.command("ledger", "rebuild", "--dry-run", str(part))["partitions"]
    assert [(plan["partition"], plan["step"], plan["drift_nanos"]) for plan in plans] == [
        (part, "serves", 0)]  # fmt: skip
    assert "serves" in text_of(stack, "ledger", "rebuild", "--dry-run")
    stop = threading.Event()
    seen: list[tuple[int, bool]] = []

    def stream() -> None:
        while not stop.is_set():
            body = say("[[simulate: tokens=40; delay_ms=20]] hi") | {"stream": True}
            answer = stack.ask("/v1/chat/completions", body, key=made["secret"])
            seen.append((answer.status_code, b'"settled":false' in answer.content))
            if answer.status_code != 200:
                time.sleep(0.5)  # as a client would that is told to come again

    clients = [threading.Thread(target=stream) for _ in range(6)]
    for client in clients:
        client.start()
    time.sleep(1)
    for _ in range(2):
        stack.command("ledger", "rebuild", str(part), "--reason", "a test of it")
        time.sleep(1.5)
    stop.set()
    for client in clients:
        client.join()
    assert {status for status, _ in seen} <= {200, 503}
    assert sum(status == 200 for status, _ in seen) > len(seen) // 2
    stack.settled(made["key_id"])
    report = wait_for(lambda: (r := stack.command("ledger", "verify"))["undrained"] == 0 and r)
    assert (report["ok"], report["drift_nanos"]) == (True, 0), report
    epoch = stack.command("ledger", "rebuild", "--dry-run", str(part))["partitions"][0]
    assert epoch["books_end"].startswith("3-")
    processes = stack.command("ledger", "nodes")["processes"]
    assert processes
    assert processes[0]["process"] in text_of(stack, "ledger", "nodes")


def test_a_wallet_in_quarantine_is_released(stack: RunningStack) -> None:
    """One digit altered in Redis: frozen, explained, released at the books' figures."""
    made = stack.new_key("3.00")
    store = sync_redis.Redis.from_url(stack.facts["redis"])
    wait_for(lambda: stack.command("ledger", "verify")["undrained"] == 0)
    name = f"{{p{partition_of(made['wallet']):02d}}}:w:{made['wallet']}"
    store.hset(name, "bal", "9000000000")
    charged = stack.ask("/v1/chat/completions", say("hi"), key=made["secret"])
    assert charged.status_code == 200
    wait_for(lambda: stack.standing(made["key_id"])["status"] == "frozen")
    served = 1

    def refused() -> bool:
        """Until Redis has heard of it too, more is served, and goes into quarantine as well."""
        nonlocal served
        status = stack.ask("/v1/chat/completions", say("hi"), key=made["secret"]).status_code
        served += status == 200
        return status == 403

    wait_for(refused)
    done = corvus("ledger", "verify", "--json", "--state", str(stack.state), check=False)
    assert done.returncode == 3
    assert "quarantine" in done.stdout
    done = corvus("ledger", "explain", made["key_id"], "--json", "--state", str(stack.state),
                  check=False)  # fmt: skip
    assert done.returncode == 3
    assert json.loads(done.stdout)["quarantined"][0]["raw"]["id"] == charged.headers["x-request-id"]
    released = stack.command("ledger", "release", made["wallet"], "--reason", "looked at")
    assert (released["booked"], released["dropped"]) == (served, 0)

    def served() -> bool:
        return (
            stack.ask("/v1/chat/completions", say("hi"), key=made["secret"]).status_code == 200
            and stack.standing(made["key_id"])["balance_nanos"] < 3_000_000_000
        )

    wait_for(served)
    report = wait_for(lambda: (r := stack.command("ledger", "verify"))["undrained"] == 0 and r)
    assert (report["ok"], report["drift_nanos"]) == (True, 0), report
