"""The operator's desk at a terminal, on a running stack: each command once for people and once for
programs, and what it does to those outside."""

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from corvus_proxy.ops import embedded
from tests.commands import Ended, Terminal
from tests.flow.test_order_commands import bought
from tests.stack import RunningStack

ASK = {"model": "gpt-5.5", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def desk(
    stack: RunningStack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Terminal:
    """A terminal beside the stack."""
    monkeypatch.setenv("SUDO_USER", "ada")
    return Terminal(capsys, monkeypatch, "--state", str(stack.state))


def soon(true: Callable[[], bool], *, timeout_s: float = 60) -> None:
    """Waits until it is so."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def last_deed(desk: Terminal) -> dict[str, object]:
    """The latest row of the audit."""
    found: dict[str, object] = desk.ask("audit", "tail", "--last", "1")["deeds"][0]
    return found


def test_sales_pause_and_resume(stack: RunningStack, desk: Terminal) -> None:
    """New orders are refused with the operator's words, by page and by program; today says so."""
    site = stack.facts["site"]

    def ordered() -> httpx.Response:
        return httpx.post(f"{site}/v1/orders", json={"amount": "5"}, trust_env=False, timeout=20)

    why = ("--reason", "Stock taking until noon.")
    assert "would pause sales" in desk.run("sales", "pause", *why, "--dry-run").out
    assert desk.both("sales", "show") == {"paused": False}
    assert desk.run("sales", "pause", "--json").code == 2
    paused = desk.run("sales", "pause", *why)
    assert "paused since" in paused.out
    assert "by cli:ada: Stock taking until noon." in paused.out
    try:
        refused = ordered()
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "sales_paused"
        assert "Stock taking until noon." in refused.json()["error"]["message"]
        page = httpx.get(f"{site}/checkout", trust_env=False, timeout=20).text
        assert "Sales are paused: Stock taking until noon." in page
        form = httpx.post(f"{site}/checkout", data={"amount": "5"}, trust_env=False, timeout=20)
        assert form.status_code == 503
        today = desk.both("today")
        assert today["stopped"][0]["reason"] == "Stock taking until noon."
        assert any("Stock taking until noon." in problem for problem in today["problems"])
    finally:
        assert desk.ask("sales", "resume", *why) == {"paused": False}
    assert ordered().status_code == 201
    assert (last_deed(desk)["action"], last_deed(desk)["actor"]) == ("sales.resume", "cli:ada")


def test_today_tells_the_day(stack: RunningStack, desk: Terminal) -> None:
    """What was charged stands there in the end, by the rows that bill."""
    answer = stack.ask("/v1/chat/completions", ASK)
    assert answer.status_code == 200

    def counted() -> bool:
        found = desk.ask("today")
        # The models are summed only where that is quick.
        sold = {one["slug"] for one in found["models"] or ()}
        return bool(found["today"]["requests"]) and "gpt-5.5" in sold

    soon(counted)
    found = desk.both("today")
    assert {"owed", "uncredited", "queues", "check", "pools", "prices", "incidents"} <= set(found)
    assert found["today"]["charged_nanos"] > 0
    assert found["cost_nanos"] > 0
    assert found["owed"]["balance_nanos"] > 0
    began = time.process_time()
    assert desk.run("today").code == 0
    assert time.process_time() - began < 1


def test_a_model_is_switched_off_and_on(stack: RunningStack, desk: Terminal) -> None:
    """Every gateway refuses it under any of its names, and lists it no more."""
    ask = {**ASK, "model": "gpt-5.4-nano"}
    assert desk.both("models", "show", "gpt-5.4-nano")["disabled"] is False
    assert desk.run("models", "disable", "gpt-none", "--reason", "x").code == 1
    assert desk.ask("models", "disable", "gpt-5.4-nano", "--reason", "x", "--dry-run")["dry_run"]
    off = desk.ask("models", "disable", "gpt-5.4-nano", "--reason", "The vendor is ill")
    assert off == {"slug": "gpt-5.4-nano", "state": "disabled"}
    try:
        soon(lambda: stack.ask("/v1/chat/completions", ask).status_code == 503)
        refused = stack.ask("/v1/chat/completions", ask).json()["error"]
        assert (refused["code"], "not sold here" in refused["message"]) == (
            "model_unavailable",
            True,
        )
        assert '"gpt-5.4-nano"' not in stack.ask_get("/v1/models").text
        rows = {row["slug"]: row for row in desk.both("models", "list")["models"]}
        assert rows["gpt-5.4-nano"]["state"] == "disabled"
        assert rows["gpt-5.5"]["state"] == "sold"
    finally:
        assert desk.run("models", "enable", "gpt-5.4-nano", "--reason", "well again").code == 0
    soon(lambda: stack.ask("/v1/chat/completions", ask).status_code == 200)


def test_a_credential_is_disabled_drained_and_enabled(stack: RunningStack, desk: Terminal) -> None:
    """Disabled it takes nothing, draining it goes on, as the gateways' own states say."""
    name = desk.both("pools", "list")["credentials"][1]["credential"]
    whole = f"openai/{name}"
    assert desk.both("pools", "test", whole)["ok"] is True

    def state() -> tuple[str, dict[str, int]]:
        rows = desk.ask("pools", "list")["credentials"]
        found = next(row for row in rows if row["family"] == "openai")
        return found["desk"], found["states"]

    why = ("--reason", "their bill is due")
    assert "would set" in desk.run("pools", "disable", name, *why, "--dry-run").out
    assert desk.ask("pools", "disable", name, *why) == {"credential": whole, "state": "disabled"}
    try:
        soon(lambda: stack.ask("/v1/chat/completions", ASK).status_code == 429)
        soon(lambda: state() == ("disabled", {"disabled": 1}))
        assert desk.run("pools", "enable", whole, *why).code == 0
        soon(lambda: stack.ask("/v1/chat/completions", ASK).status_code == 200)
        assert desk.run("pools", "drain", whole, *why).code == 0
        soon(lambda: state() == ("draining", {"draining": 1}))
    finally:
        assert desk.run("pools", "enable", whole, *why).code == 0
    soon(lambda: state() == ("", {"healthy": 1}))
    assert desk.run("pools", "drain", "nobody", *why).code == 1


def test_an_order_its_refund_and_its_link(stack: RunningStack, desk: Terminal) -> None:
    """Quote, dry run, request, list; the claim link works once and ends with the copies."""
    order = bought(stack)
    order_id = order["order_id"]
    why = ("--reason", "asked for")
    assert desk.both("refunds", "quote", order_id)["refundable_nanos"] == 7_500_000_000
    plan = desk.ask("refunds", "request", order_id, "2.50", *why, "--dry-run")
    assert [(row["table"], row["debit"], row["credit"]) for row in plan["rows"]] == [
        ("posting", f"wallet:{plan['wallet']}", "refunds"),
        ("cash", "refunds", "cash:stripe"),
    ]
    assert (plan["balance_nanos"], plan["after_nanos"]) == (7_500_000_000, 5_000_000_000)
    assert stack.standing(order["key_id"])["balance_nanos"] == 7_500_000_000
    sent = desk.ask("refunds", "request", order_id, "2.50", *why)
    assert (sent["state"], sent["amount"], sent["asked_by"]) == ("sent", "2.50", "cli:ada")
    rows = desk.both("refunds", "list")["refunds"]
    assert sent["refund_id"] in {row["refund_id"] for row in rows}
    assert "refund" in desk.run("refunds", "list", "--open").out
    late = desk.run("refunds", "approve", sent["refund_id"], *why)
    assert (late.code, "another operator does" in late.err) == (1, True)
    assert "does not wait" in desk.run("refunds", "refuse", sent["refund_id"], *why).err
    assert "no mail address" in desk.run("orders", "resend", order_id, *why).err
    assert "would make" in desk.run("orders", "claim-link", order_id, *why, "--dry-run").out
    link = desk.ask("orders", "claim-link", order_id, *why)["claim_url"]
    again = desk.run("orders", "claim-link", order_id, *why).out.strip()
    headers = {"origin": stack.facts["site"]}
    with httpx.Client(trust_env=False, timeout=20, headers=headers) as client:
        assert order["secret"] not in client.post(link).text
        assert order["secret"] in client.post(again).text
    gone = desk.run("orders", "claim-link", order_id, *why)
    assert (gone.code, "handed over already" in gone.err) == (1, True)
    done = desk.ask("orders", "settle", order_id, *why)
    assert done["orders"][0]["credited_nanos"] == 0
    assert desk.run("orders", "settle", *why, "--dry-run").code == 0
    assert "only an order that waits" in desk.run("orders", "cancel", order_id, *why).err


def test_a_large_refund_wants_two_operators(
    stack: RunningStack, desk: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4 until the other one has agreed; nothing is taken before."""
    monkeypatch.setenv("CORVUS_SHOP_REFUND_ALONE_USD", "1")
    order = bought(stack)
    why = ("--reason", "asked for")
    asked = desk.run("refunds", "request", order["order_id"], "2.50", *why, "--json")
    assert (asked.code, asked.document["state"]) == (4, "waiting")
    refund_id = asked.document["refund_id"]
    today = desk.ask("today")
    assert today["queues"]["refunds_waiting"] == 1
    assert "1 refunds waiting for a second operator" in today["problems"]
    for words in ((), ("--dry-run",)):
        assert desk.run("refunds", "approve", refund_id, *why, *words).code == 1
    assert f"refuse {refund_id}" in desk.run("refunds", "refuse", refund_id, *why, "--dry-run").out
    assert stack.standing(order["key_id"])["balance_nanos"] == 7_500_000_000
    monkeypatch.setenv("SUDO_USER", "bob")
    plan = desk.ask("refunds", "approve", refund_id, *why, "--dry-run")
    assert plan["after_nanos"] == 5_000_000_000
    assert desk.ask("refunds", "approve", refund_id, *why)["state"] == "sent"
    assert stack.standing(order["key_id"])["balance_nanos"] == 5_000_000_000
    assert last_deed(desk)["actor"] == "cli:bob"


def test_an_open_order_is_cancelled(stack: RunningStack, desk: Terminal) -> None:
    """Its quote has ended, with the operator's words."""
    site = stack.facts["site"]
    order = httpx.post(
        f"{site}/v1/orders", json={"amount": "5"}, trust_env=False, timeout=20
    ).json()
    words = ("orders", "cancel", order["order_id"], "--reason", "a mistake of ours")
    assert desk.ask(*words, "--dry-run")["dry_run"] is True
    assert desk.ask(*words)["status"] == "expired"
    shown = desk.ask("orders", "show", order["order_id"])
    assert (shown["status"], shown["reason"]) == ("expired", "a mistake of ours")


def test_keys_are_found_and_exported(stack: RunningStack, desk: Terminal, tmp_path: Path) -> None:
    """By whatever somebody knows of one; a whole secret is not taken; a spreadsheet reads no
    formula."""
    made = desk.ask("keys", "create", "--credit", "1", "--label", "=cmd()")
    mask = f"{made['secret'][:14]}...{made['secret'][-4:]}"
    for text in (made["key_id"], made["wallet"], mask, "=cmd("):
        found = desk.both("keys", "find", text)["keys"]
        assert made["key_id"] in {row["key_id"] for row in found}, text
    whole = desk.run("keys", "find", made["secret"])
    assert (whole.code, made["secret"] in whole.err) == (1, False)
    assert desk.ask("keys", "find", "nobody@example.com")["keys"] == []
    rows = list(csv.DictReader(io.StringIO(desk.run("keys", "export").out)))
    row = next(row for row in rows if row["key_id"] == made["key_id"])
    assert (row["label"], row["balance"], row["status"]) == ("'=cmd()", "1.00", "active")
    assert made["secret"] not in str(rows)
    told = desk.ask("keys", "export", "--form", "json", "--out", str(tmp_path / "keys.json"))
    kept = json.loads((tmp_path / "keys.json").read_text())["keys"]
    assert told["keys"] == len(kept) == len(rows)


DRY = [
    (("keys", "credit", "KEY", "2", "--reason", "x"), "grants → wallet:"),
    (("keys", "debit", "KEY", "0.50", "--reason", "x"), "→ adjustments"),
    (("keys", "freeze", "KEY"), "to frozen"),
    (("keys", "unfreeze", "KEY"), "to active"),
    (("keys", "rotate", "KEY"), "new secret"),
    (("keys", "revoke", "KEY"), "for ever"),
    (("keys", "code", "KEY"), "recovery code"),
    (("keys", "limit", "KEY", "--cap", "1"), "limits"),
    (("keys", "create", "--credit", "3"), "3 USD"),
    (("ledger", "forget", "node", "--reason", "x"), "stop waiting"),
    (("ledger", "release", "w_x", "--reason", "x"), "release w_x"),
    (("ledger", "bridge", "3", "--reason", "x"), "partition 3"),
    (("status", "note", "inc_x", "text"), "note to inc_x"),
    (("operators", "add", "bob"), "token for bob"),
    (("operators", "revoke", "bob", "--reason", "x"), "token of bob"),
    (("mail", "retry", "mail_x", "--reason", "x"), "mail_x at once"),
    (("orders", "resend", "ord_x", "--reason", "x"), "ord_x again"),
    (("models", "enable", "gpt-5.5", "--reason", "x"), "to enabled"),
    (("pools", "enable", "openai-1", "--reason", "x"), "to enabled"),
]


def test_a_dry_run_says_and_does_nothing(stack: RunningStack, desk: Terminal) -> None:
    """No row of the audit, no nano moved."""
    key_id = desk.ask("keys", "list")["keys"][-1]["key_id"]

    def figures() -> tuple[object, dict[str, object]]:
        return last_deed(desk)["audit_id"], desk.ask("keys", "show", key_id)

    before = figures()
    for words, would in DRY:
        done = desk.run(*(key_id if word == "KEY" else word for word in words), "--dry-run")
        assert (done.code, done.err) == (0, ""), words
        assert done.out.startswith("would ")
        assert would in done.out
    for verb in ("approve", "refuse"):
        none = desk.run("refunds", verb, "ref_x", "--reason", "x", "--dry-run")
        assert (none.code, "no refund ref_x" in none.err) == (1, True)
    assert figures() == before


def test_the_audit_is_read_and_exported(
    stack: RunningStack, desk: Terminal, tmp_path: Path
) -> None:
    """By actor, action and subject; as a file with a line for each."""
    made = desk.ask("keys", "create", "--credit", "1")
    assert desk.run("keys", "freeze", made["key_id"], "--reason", "=1+1").code == 0
    [deed] = desk.both("audit", "tail", "--subject", made["key_id"], "--action", "keys.freeze")[
        "deeds"
    ]
    assert (deed["actor"], deed["details"]) == ("cli:ada", {"reason": "=1+1"})
    assert desk.ask("audit", "tail", "--who", "console:nobody")["deeds"] == []
    assert desk.run("audit", "tail", "--last", "0").code == 1
    rows = list(csv.DictReader(io.StringIO(desk.run("audit", "export").out)))
    assert any(row["subject"] == made["key_id"] for row in rows)
    assert rows == sorted(rows, key=lambda row: int(row["audit_id"]))
    out = tmp_path / "audit.jsonl"
    told = desk.ask("audit", "export", "--form", "jsonl", "--out", str(out))
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert told["deeds"] == len(lines) >= len(rows)
    future = desk.run("audit", "export", "--since", "2999-01-01")
    assert len(future.out.splitlines()) == 1


def test_a_snapshot_of_the_figures(stack: RunningStack, desk: Terminal) -> None:
    """What the console tells, by the beginnings of names; a place that tells none is named."""
    assert stack.ask("/v1/chat/completions", ASK).status_code == 200

    def charged() -> list[dict[str, object]]:
        found = desk.ask("metrics", "snapshot", "corvus_charged", "corvus_first_byte")["metrics"]
        return [one for one in found if one["labels"] == {"family": "openai"} and one["value"]]

    awaited = {"corvus_charged_nanos_total", "corvus_first_byte_seconds_count"}
    soon(lambda: awaited <= {str(one["name"]) for one in charged()})
    place = f"{stack.facts['console']}/metrics"
    told = {one["name"]: one for one in charged()}
    assert told["corvus_charged_nanos_total"]["type"] == "counter"
    assert isinstance(told["corvus_charged_nanos_total"]["value"], int)
    assert told["corvus_first_byte_seconds_count"]["from"] == place
    for_people = desk.run("metrics", "snapshot", "corvus_").out
    assert for_people.splitlines()[0].split() == ["metric", "labels", "value"]
    assert "corvus_charged_nanos_total" in for_people
    assert "family=openai" in for_people
    shown = [line.split()[0] for line in for_people.splitlines()]
    assert not [name for name in shown if name.endswith(("_bucket", "_created"))]
    assert desk.run("metrics", "snapshot", "nothing").out == "no figure has such a name\n"
    buckets = desk.run("metrics", "snapshot", "corvus_first_byte_seconds_bucket")
    assert buckets.out == "only buckets have such a name: --json\n"
    places = ("--url", place, "--url", place)
    twice = desk.run("metrics", "snapshot", "corvus_holds_living", *places).out.splitlines()
    assert twice[0].split() == ["metric", "labels", "value", "from"]
    assert len(twice) == 3
    assert all(line.endswith(place) for line in twice[1:])
    closed = f"http://127.0.0.1:{embedded.free_port()}/metrics"
    for url, why in (
        (closed, "does not answer"),
        (f"{stack.facts['site']}/metrics", "status 404"),
        (f"{stack.facts['site']}/", "tells no figures"),
        ("nowhere", "does not answer"),
    ):
        refused = desk.run("metrics", "snapshot", "--url", url)
        assert (refused.code, why in refused.err) == (1, True), refused
        assert url in refused.err
    partly = desk.run("metrics", "snapshot", "corvus_holds", "--url", closed, "--url", place)
    assert partly.code == 5
    assert "corvus_holds_living" in partly.out
    assert closed in partly.err


def test_mail_operators_completion_and_version(desk: Terminal, stack: RunningStack) -> None:
    """What is left of the desk."""
    assert desk.both("mail", "outbox")["mails"] is not None
    assert desk.run("mail", "outbox", "--status", "lost").code == 1
    tested: Ended = desk.run("mail", "test", "me@example.com")
    assert (tested.code, "has taken it" in tested.out) == (0, True)
    assert desk.run("mail", "test", "nobody").code == 1
    assert "does not wait" in desk.run("mail", "retry", "mail_none", "--reason", "x").err
    assert desk.both("operators", "list")["operators"] is not None
    made = desk.ask("operators", "add", "grace")
    assert made["token"].startswith("op-corvus_")
    assert "revoke that one first" in desk.run("operators", "add", "grace").err
    assert desk.run("operators", "add", "No One").code == 1
    assert made["token"] not in str(desk.ask("operators", "list"))
    assert desk.run("operators", "revoke", "grace", "--reason", "left").code == 0
    assert desk.run("operators", "revoke", "grace", "--reason", "left").code == 1
    desk = Terminal(desk._capture, desk._patch)
    for shell in ("bash", "zsh"):
        assert "claim-link" in desk.run("completion", shell).out
    assert desk.run("--version").out.strip()
