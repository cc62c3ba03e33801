"""The command line as scripts use it: one JSON document, exact members, exit codes that tell."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from corvus_proxy.money.event import partition_of
from corvus_proxy.ops import embedded
from tests.stack import RunningStack, corvus

STANDING = {
    "key_id",
    "wallet",
    "label",
    "status",
    "balance_nanos",
    "held_nanos",
    "available_nanos",
    "spent_nanos",
}


ASK = {"model": "gpt-4o-mini", "max_tokens": 8, "messages": [{"role": "user", "content": "Hi"}]}


def models(stack: RunningStack, secret: str) -> int:
    """What the API answers to a key: the recommended key check."""
    return stack.ask_get("/v1/models", key=secret).status_code


def bought(stack: RunningStack, secret: str) -> int:
    """What a request that costs money is answered."""
    return stack.ask("/v1/chat/completions", ASK, key=secret).status_code


def test_the_life_of_a_key(stack: RunningStack) -> None:
    """Create, show, credit, debit, list: exact members, and the API agrees at once."""
    made = stack.command("keys", "create", "--credit", "5.00", "--label", "alice")
    assert set(made) == {"wallet", "key_id", "secret", "balance_nanos"}
    assert made["balance_nanos"] == 5_000_000_000
    key_id = made["key_id"]
    assert stack.command("keys", "credit", key_id, "0.25", "--reason", "top-up") == {
        "key_id": key_id,
        "balance_nanos": 5_250_000_000,
    }
    assert stack.command("keys", "debit", key_id, "1", "--reason", "error")["balance_nanos"] == (
        4_250_000_000
    )
    shown = stack.command("keys", "show", key_id)
    assert set(shown) >= STANDING
    assert (shown["label"], shown["status"]) == ("alice", "active")
    assert shown["available_nanos"] == shown["balance_nanos"] == 4_250_000_000
    by_key = stack.ask_get("/v1/key", key=made["secret"]).json()
    for name in ("balance_nanos", "held_nanos", "available_nanos", "spent_nanos"):
        assert by_key[name] == shown[name]
    assert key_id in {row["key_id"] for row in stack.command("keys", "list")["keys"]}
    code = stack.command("keys", "code", key_id)["recovery_code"]
    for deed, body in (("freeze", {}), ("unfreeze", {"recovery_code": code})):
        done = httpx.post(
            f"{stack.api}/v1/key/{deed}",
            json=body,
            timeout=20,
            trust_env=False,
            headers={"authorization": f"Bearer {made['secret']}"},
        )
        assert done.status_code == 200, done.text


def test_an_empty_key_is_a_key(stack: RunningStack) -> None:
    """`--credit 0` makes a key that is known and can buy nothing."""
    made = stack.command("keys", "create", "--credit", "0")
    assert made["balance_nanos"] == 0
    assert models(stack, made["secret"]) == 200


def test_freeze_and_unfreeze(stack: RunningStack) -> None:
    """A frozen key is refused at once and keeps its money; unfrozen it works again."""
    made = stack.new_key("1")
    frozen = stack.command("keys", "freeze", made["key_id"], "--reason", "lost")
    assert frozen == {"key_id": made["key_id"], "status": "frozen"}
    assert bought(stack, made["secret"]) == 403
    standing = stack.standing(made["key_id"])
    assert (standing["status"], standing["balance_nanos"]) == ("frozen", 1_000_000_000)
    thawed = stack.command("keys", "unfreeze", made["key_id"])
    assert thawed == {"key_id": made["key_id"], "status": "active"}
    assert bought(stack, made["secret"]) == 200


def test_rotate(stack: RunningStack) -> None:
    """The new secret works; the old one works exactly as long as its grace."""
    made = stack.new_key("1")
    kept = stack.command("keys", "rotate", made["key_id"])
    assert set(kept) == {"key_id", "secret"}
    assert models(stack, made["secret"]) == models(stack, kept["secret"]) == 200
    last = stack.command("keys", "rotate", made["key_id"], "--grace-s", "0")
    assert models(stack, last["secret"]) == 200
    time.sleep(0.05)
    assert models(stack, kept["secret"]) in (401, 403)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("keys", "show", "key_none"), 1, "there is no key key_none"),
        (("keys", "create", "--credit", "1.x"), 1, "is not an amount of USD"),
        (("keys", "create", "--credit", "1000001"), 1, "1,000,000 USD"),
        (("keys", "show"), 2, "requires an argument"),
        (("keys", "credit", "key_none", "1"), 2, "--reason"),
        (("keys", "melt"), 2, "melt"),
        (("up", "--no-such-option"), 2, "no-such-option"),
    ],
)
def test_exit_codes(stack: RunningStack, words: tuple[str, ...], code: int, text: str) -> None:
    """1 for what cannot be done, 2 for words that mean nothing; one sentence, and no traceback."""
    state = ("--state", str(stack.state), "--json") if words[0] == "keys" else ()
    done = corvus(*words, *state, check=False)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_nothing_runs_there(tmp_path: Path) -> None:
    """Commands and `down` on an empty state folder say so and name the way out."""
    for words in (("keys", "list"), ("ledger", "verify"), ("doctor",), ("down",)):
        done = corvus(*words, "--state", str(tmp_path), check=False)
        assert done.returncode == 1
        assert f"nothing runs from {tmp_path}" in done.stderr


def test_drift_is_exit_code_three(stack: RunningStack) -> None:
    """A single nano too much in Redis: `ledger verify` says which wallet, in the document too."""
    made = stack.new_key("1")
    report = stack.command("ledger", "verify")
    assert set(report) >= {"ok", "wallets", "events", "drift_nanos"}
    assert (report["ok"], report["drift_nanos"]) == (True, 0)
    till = redis.Redis.from_url(stack.facts["redis"])
    name = f"{{p{partition_of(made['wallet']):02d}}}:w:{made['wallet']}"
    till.hset(name, "bal", "1000000001")
    try:
        done = corvus("ledger", "verify", "--json", "--state", str(stack.state), check=False)
    finally:
        till.hset(name, "bal", "1000000000")
        till.close()
    assert done.returncode == 3
    report = json.loads(done.stdout)
    assert (report["ok"], report["drift_nanos"]) == (False, 1)
    assert made["wallet"] in report["problems"][0]


def traffic(stack: RunningStack) -> set[str]:
    """What the status document says of parts through which too many requests failed."""
    document = httpx.get(f"{stack.facts['status']}/status.json", trust_env=False).json()
    return {
        f"{one['title']} is {one['state']}: {one['detail']}"
        for one in document["components"]
        if one["state"] == "degraded" and "requests failed" in one["detail"]
    }


def test_doctor_finds_nothing_on_a_fresh_stack(stack: RunningStack) -> None:
    """No error, no warning, save that of a machine whose disk is nearly full, and what the status
    measures of the faults that other tests made on this stack; for production it names what is
    missing, and fails."""
    measured = traffic(stack)
    found = stack.command("doctor")
    while measured != (measured := traffic(stack)):  # the worker has measured anew meanwhile
        found = stack.command("doctor")
    assert found["ok"] is True
    disk = shutil.disk_usage(stack.state)
    journal = "ledger.journal_dir: less than a fifth of its disk is free; make room"
    full = {journal} if disk.free * 5 < disk.total else set()
    told = {one["text"] for one in found["findings"] if one["level"] != "ok"}
    assert told == full | measured, found
    checks = {one["check"] for one in found["findings"]}
    assert checks >= {"version", "redis", "partitions", "postgres", "journal", "prices"}
    done = corvus("doctor", "--production", "--json", "--state", str(stack.state), check=False)
    assert done.returncode == 1
    errors = {one["text"] for one in json.loads(done.stdout)["findings"] if one["level"] == "error"}
    for option in ("demo.enabled", "brand.site_url", "upstream", "production"):
        assert any(text.startswith(f"{option}: ") for text in errors), option
    assert any("simulated money" in text for text in errors)


def test_doctor_advises_on_redis(stack: RunningStack) -> None:
    """What is only unwise is a warning; what loses money is an error."""
    till = redis.Redis.from_url(stack.facts["redis"])
    limit = till.config_get("maxmemory")["maxmemory"]
    try:
        till.config_set("maxmemory", 0)
        found = stack.command("doctor")
        assert found["ok"] is True
        assert "maxmemory = 0" in next(
            one["text"] for one in found["findings"] if one["level"] == "warning"
        )
        till.config_set("appendfsync", "everysec")
        done = corvus("doctor", "--state", str(stack.state), check=False)
        assert done.returncode == 1
        assert "appendfsync = everysec" in done.stdout
    finally:
        till.config_set("maxmemory", limit)
        till.config_set("appendfsync", "always")
        till.close()


def test_migrations_are_told_and_repeatable(stack: RunningStack) -> None:
    """`db migrate` on an up-to-date database changes nothing; `--status` lists what is applied."""
    corvus("db", "migrate", "--state", str(stack.state))
    assert "Pending: 0" in corvus("db", "migrate", "--status", "--state", str(stack.state)).stdout
    assert "Pending: 0" in stack.command("db", "migrate", "--status")["text"]


def test_prices_name_every_model(stack: RunningStack) -> None:
    """Each row has its version, its prices, and whether it is sold."""
    rows: list[dict[str, Any]] = stack.command("prices", "show")["models"]
    assert {"claude-opus-5-5", "gpt-5.5"} <= {row["slug"] for row in rows}
    for row in rows:
        assert set(row) >= {"slug", "family", "version", "input_picos", "output_picos", "sold"}


@pytest.fixture
def alone(stack: RunningStack, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A gateway by itself, told by the environment alone where its stores are."""
    port = embedded.free_port()
    gateway = subprocess.Popen(
        [sys.executable, "-m", "corvus_proxy.ops.cli", "gateway"],
        env={
            "PATH": os.environ["PATH"],
            "CORVUS_REDIS_URL": stack.facts["redis"],
            "CORVUS_REDIS_TIMEOUT_MS": "5000",
            "CORVUS_LEDGER_JOURNAL_STALL_MS": "10000",
            "CORVUS_DATABASE_URL": stack.facts["postgres"],
            "CORVUS_PEPPER": (stack.state / "pepper").read_text(),
            "CORVUS_LEDGER_JOURNAL_DIR": str(tmp_path / "journal"),
            "CORVUS_GATEWAY_PORT": str(port),
        },
        cwd=tmp_path,
        stderr=(tmp_path / "log").open("wb"),
        start_new_session=True,
    )
    yield gateway, f"http://127.0.0.1:{port}"
    if gateway.poll() is None:
        os.killpg(gateway.pid, signal.SIGKILL)
        gateway.wait()


def test_one_role_alone(
    stack: RunningStack, alone: tuple[subprocess.Popen[bytes], str], tmp_path: Path
) -> None:
    """It becomes ready, knows the stack's keys, and SIGTERM ends it and its node."""
    gateway, url = alone
    deadline = time.monotonic() + 30
    while True:
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        assert gateway.poll() is None, (tmp_path / "log").read_text()
        try:
            if httpx.get(url + "/readyz", trust_env=False).status_code == 200:
                break
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    answer = httpx.get(
        url + "/v1/key", headers={"x-api-key": stack.demo_key}, trust_env=False, timeout=10
    )
    assert answer.json()["balance_nanos"] == stack.ask_get("/v1/key").json()["balance_nanos"]
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(60) == 0
    assert not list((tmp_path / "journal").glob("**/*.journal"))
    with pytest.raises(httpx.TransportError):
        httpx.get(url + "/livez", trust_env=False)
