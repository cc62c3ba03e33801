"""Secrets of every kind are planted in a real stack, which is then put into trouble; none may be
found where it has no business: logs, metrics, the whole of both stores, journals, commands."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import asyncpg
import httpx
import pytest

from tests.stack import CONFIG, RunningStack, corvus

CREDENTIAL = "sk-planted-upstream-Zq81LmVw"
PROMPT = "planted-prompt-Kd02RxTe"
ANSWERED = "planted-tool-Wn57PyQa"
PERSON = "planted-person-Hc63UjBo"
EMAIL = "planted-mail-gf94@demo.example"
WRONG_KEY = "sk-corvus_" + "Planted0wrong0key0Xs46DnMi0" + "a" * 19
FORGED = "planted-forged-Bv30EoLk"
LOGS = ("gateway", "site", "console", "worker", "launcher", "redis", "postgres")


class Planted(RunningStack):
    """A stack whose upstream credentials and admin keys are known texts."""

    def _start_providers(self) -> None:
        super()._start_providers()
        (self.folder / "secret").write_text(CREDENTIAL)
        (self.folder / "admin").write_text(f"admin-{CREDENTIAL}")
        path = self.folder / "config.toml"
        named = f'admin_secret_file = "{self.folder / "admin"}"\n'
        path.write_text(
            re.sub(r'(name = "(?:openai|anthropic)-1"\n)', rf"\1{named}", path.read_text())
        )


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    running = Planted(tmp_path_factory.mktemp("planted"), config=CONFIG)
    running.up()
    yield running
    running.down()


def body(model: str, wish: str = "") -> dict[str, Any]:
    """A request that is full of what nobody may keep."""
    return {
        "model": model,
        "max_tokens": 64,
        "messages": [
            {"role": "user", "content": f"{PROMPT} is my password."},
            {"role": "assistant", "content": f"I keep {ANSWERED}."},
            {"role": "user", "content": f"Say {PROMPT} again. {wish}"},
        ],
    }


def asked(stack: Planted, key: str) -> list[int]:
    """Good requests, and every trouble that a request can have; the statuses."""
    found = []
    for wish in (
        "", "[[simulate: status=500]]", "[[simulate: status=401]]", "[[simulate: status=429]]",
        "[[simulate: status=400]]", "[[simulate: no_answer]]", "[[simulate: cut_after=2]]",
        "[[simulate: error_after=2]]", "[[simulate: error_body]]", "[[simulate: lie=negative]]",
        "[[simulate: lie=huge]]", "[[simulate: no_usage]]", "[[simulate: tier=priority]]",
    ):  # fmt: skip
        for path, model in (
            ("/v1/chat/completions", "gpt-4o-mini"),
            ("/v1/messages", "claude-sonnet-4-6"),
        ):
            whole = {**body(model, wish), "stream": "after" in wish}
            if path == "/v1/messages":
                whole["metadata"] = {"user_id": PERSON}
            else:
                whole["user"] = PERSON
            try:
                found.append(stack.ask(path, whole, key=key).status_code)
            except httpx.TransportError:
                found.append(0)
    bad = json.dumps(body("gpt-4o-mini")).encode()
    for content in (bad[:-2], bad.replace(b"gpt-4o-mini", PROMPT.encode()), b"[" + bad, bad + bad):
        found.append(stack.ask("/v1/chat/completions", content, key=key).status_code)
    found.append(stack.ask("/v1/chat/completions", bad, key=WRONG_KEY).status_code)
    found.append(stack.ask(f"/v1/{PROMPT}", bad, key=key).status_code)
    return found


def bought(stack: Planted) -> dict[str, Any]:
    """An order with a mail address, paid; with its tokens, key and recovery code."""
    site = stack.facts["site"]
    with httpx.Client(trust_env=False, timeout=20) as client:
        order = client.post(f"{site}/v1/orders", json={"amount": "5", "email": EMAIL}).json()
        assert client.post(f"{order['pay_url']}/pay").status_code == 303
        headers = {"x-corvus-buyer-token": order["buyer_token"]}
        deadline = time.monotonic() + 30
        while True:
            found = client.get(f"{site}/v1/orders/{order['token']}", headers=headers).json()
            if found.get("status") == "paid_confirmed" and found.get("secret"):
                return {**order, **found}
            assert time.monotonic() < deadline, found
            time.sleep(0.1)


def knock(stack: Planted, order: dict[str, Any]) -> None:
    """Wrong log-ins, a right one, forged messages."""
    site = stack.facts["site"]
    own = {"origin": site}
    with httpx.Client(trust_env=False, timeout=20) as client:
        for text in (WRONG_KEY, PROMPT, order["secret"]):
            client.post(f"{site}/login", data={"key": text}, headers=own)
        client.post(f"{site}/recover", data={"code": FORGED}, headers=own)
        client.get(f"{site}/orders/{FORGED}")
        for name in ("stripe", "btcpay"):
            signed = {"stripe-signature": f"t=1,v1={FORGED}", "btcpay-sig": f"sha256={FORGED}"}
            content = json.dumps({"type": FORGED, "invoiceId": FORGED}).encode()
            answer = client.post(f"{site}/webhooks/{name}", content=content, headers=signed)
            assert answer.status_code == 400


def killed(stack: Planted, key: str) -> None:
    """Each store and each role dies with requests running; the launcher brings them back."""
    for name in ("redis", "postgres", "gateway", "site", "worker"):
        pid = int(stack.facts["pids"][name])
        running = [
            subprocess.Popen(
                ["curl", "-sN", "-m", "5", "-o", "/dev/null", stack.api + "/v1/chat/completions",
                 "-H", f"authorization: Bearer {key}", "-d",
                 json.dumps({**body("gpt-4o-mini", "[[simulate: delay_ms=20]]"), "stream": True})]
            )
            for _ in range(3)
        ]  # fmt: skip
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        for one in running:
            one.wait()
        deadline = time.monotonic() + 60
        while not ready(stack):
            assert time.monotonic() < deadline, name
            time.sleep(0.2)


def ready(stack: Planted) -> bool:
    """Whether both public ports answer, the ledger open."""
    try:
        return all(
            httpx.get(stack.facts[port] + path, trust_env=False, timeout=2).status_code == 200
            for port, path in (("api", "/readyz"), ("site", "/checkout"), ("console", "/readyz"))
        )
    except httpx.TransportError:
        return False


async def rows(url: str) -> str:
    """Every row of every table, as text."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "select table_name from information_schema.tables where table_schema = 'public'"
        )
        found = []
        for (table,) in tables:
            for (text,) in await connection.fetch(
                f'select row_to_json(found)::text from "{table}" found'
            ):
                found.append(f"{table}: {text}")
        return "\n".join(found)
    finally:
        await connection.close()


def texts(stack: Planted) -> dict[str, str]:
    """Everything that the stack has left behind, but for where secrets are kept on purpose."""
    found = {
        path.name: path.read_text(errors="replace")
        for path in (stack.state / "logs").iterdir()
        if path.name.startswith(LOGS)
    }
    found["launcher.log"] = (stack.state / "launcher.log").read_text()
    for folder in ("redis", "journal", "archive", "metrics", "status"):
        for path in sorted((stack.state / folder).rglob("*")):
            if path.is_file():
                found[str(path.relative_to(stack.state))] = path.read_bytes().decode("latin-1")
    found["/metrics"] = httpx.get(stack.facts["console"] + "/metrics", trust_env=False).text
    found["postgres"] = asyncio.run(rows(stack.facts["postgres"]))
    return found


def told(stack: Planted, order: dict[str, Any], key_id: str) -> dict[str, str]:
    """What commands say, to people and to programs."""
    found = {}
    for words in (
        ("keys", "list"), ("keys", "show", key_id), ("orders", "list"),
        ("orders", "show", order["order_id"]), ("orders", "doctor", order["order_id"]),
        ("ledger", "verify"), ("ledger", "explain", key_id), ("doctor",), ("prices", "show"),
        ("reconcile", "run", "--day", "2026-01-02"), ("reconcile", "status"),
    ):  # fmt: skip
        for more in ((), ("--json",)):
            done = corvus(*words, *more, "--state", str(stack.state), check=False)
            found[" ".join((*words, *more))] = done.stdout + done.stderr
    return found


def alone(secret: str) -> str:
    """What of a key is secret: behind its prefix stands the wallet's id, which is none."""
    return secret[22:] if secret.startswith("sk-corvus_") else secret


@pytest.mark.slow
def test_no_planted_secret_is_found_anywhere(stack: Planted) -> None:
    """Keys, credentials, admin keys, prompts, tokens, codes, webhook secrets, the pepper."""
    made = stack.new_key("3")
    sub = stack.command("keys", "create", "--credit", "1")
    statuses = asked(stack, made["secret"])
    assert {200, 400, 401, 404} <= set(statuses)
    order = bought(stack)
    knock(stack, order)
    killed(stack, made["secret"])
    rotated = stack.command("keys", "rotate", sub["key_id"])
    assert 200 in asked(stack, made["secret"])
    kept = [stack.state / "pepper", stack.state / "postgres-password"]
    kept += [path for path in (stack.state / "payments").iterdir() if path.suffix == ""]
    files = {path.name: path.read_text().strip() for path in kept}
    assert {"pepper", "stripe-key", "stripe-hook", "btcpay-key", "btcpay-hook"} <= set(files)
    commands = told(stack, order, made["key_id"])
    assert stack.command("ledger", "verify")["ok"]
    everywhere = {
        "credential": CREDENTIAL, "prompt": PROMPT, "tool": ANSWERED, "person": PERSON,
        "wrong key": WRONG_KEY, "forged": FORGED, "key": made["secret"], "sub": sub["secret"],
        "rotated": rotated["secret"], "demo": stack.demo_key, "bought": order["secret"],
        "recovery": order["recovery"], "token": order["token"], "buyer": order["buyer_token"],
        **files,
    }  # fmt: skip
    left = texts(stack)
    for known in (made["wallet"], order["order_id"]):
        assert known in left["postgres"], "what is no secret is found"
    assert any(made["wallet"] in text for name, text in left.items() if name.startswith("redis"))
    assert any("usage_flagged" in text for name, text in left.items() if "gateway" in name)
    assert any("webhook_forged" in text for name, text in left.items() if "site" in name)
    found = [
        f"{what} in {place}"
        for place, text in {**left, **commands}.items()
        for what, secret in everywhere.items()
        if alone(secret) in text or alone(secret).encode().hex() in text
    ]
    found += [
        f"mail in {name}" for name, text in left.items() if EMAIL in text and name != "postgres"
    ]
    assert found == []


def test_a_traceback_shows_lines_and_no_values() -> None:
    """What a log of a defect may show: where it happened, and the exception's own words."""
    program = (
        "from corvus_proxy.roles.process import set_up_logs\n"
        "import structlog\n"
        "set_up_logs()\n"
        "def fail(key):\n"
        "    local = key * 2\n"
        "    return {}[1]\n"
        "try:\n"
        "    fail('planted' + '-local')\n"
        "except LookupError:\n"
        "    structlog.get_logger().exception('defect')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    line = json.loads(done.stderr)
    assert "KeyError: 1" in line["exception"]
    assert "planted-local" not in done.stderr
