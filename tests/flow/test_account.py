"""The account by the key itself, and the sums: tile = footer = export = change of the balance."""

import csv
import io
import json
import random
import re
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from corvus_proxy.account.routes import ENDPOINTS
from corvus_proxy.money.amount import format_usd, parse_usd
from tests.stack import RunningStack

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
GRANT_NANOS = 400_000_000


class Asked:
    """One key and what it has been through."""

    def __init__(self, stack: RunningStack, key: dict[str, Any]) -> None:
        self.stack, self.secret, self.key_id = stack, key["secret"], key["key_id"]
        self.wallet = key["wallet"]
        self.moved_nanos = 0
        """Credits less debits, as they were ordered."""
        self.costs: dict[str, int] = {}
        """What each answer's own word for its cost was, by request id."""

    def get(self, path: str) -> Any:
        answer = self.raw(path)
        assert answer.status_code == 200, answer.text[:300]
        return answer.json()

    def raw(self, path: str) -> httpx.Response:
        return self.stack.ask_get(path, key=self.secret)

    def booked(self) -> None:
        """Until the books have everything; a question of the API waits a second for that."""
        deadline = time.monotonic() + 60
        while self.stack.command("ledger", "verify")["undrained"]:
            assert time.monotonic() < deadline

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.stack.ask(path, body, key=self.secret, **headers)


def chat(text: str, slug: str = "gpt-5.5", **more: Any) -> dict[str, Any]:
    return {"model": slug, "messages": [{"role": "user", "content": text}], **more}


def whole(asked: Asked, draw: random.Random) -> None:
    slug = draw.choice(["gpt-5.5", "glm-5.2"])
    answer = asked.post(CHAT, chat(f"[[simulate: tokens={draw.randint(1, 90)}]]", slug))
    assert answer.status_code == 200, answer.text[:300]
    cost = parse_usd(answer.headers["x-corvus-cost-usd"])
    asked.costs[answer.headers["x-request-id"]] = cost


def streamed(asked: Asked, draw: random.Random) -> None:
    body = chat(f"[[simulate: tokens={draw.randint(1, 90)}]]", "claude-haiku-4-5",
                max_tokens=200, stream=True)  # fmt: skip
    answer = asked.post(MESSAGES, body)
    assert answer.status_code == 200, answer.text[:300]
    told = json.loads(answer.content.rsplit(b": corvus ", 1)[1])
    asked.costs[told["request_id"]] = parse_usd(told["cost_usd"])


def refused_by_vendor(asked: Asked, draw: random.Random) -> None:
    answer = asked.post(CHAT, chat("[[simulate: status=400]]"))
    assert answer.status_code == 400
    asked.costs[answer.headers["x-request-id"]] = 0


def cancelled(asked: Asked, draw: random.Random) -> None:
    body = chat("[[simulate: tokens=400 delay_ms=20]]", stream=True)
    with httpx.stream("POST", asked.stack.api + CHAT, json=body, timeout=30, trust_env=False,
                      headers={"authorization": f"Bearer {asked.secret}"}) as answer:  # fmt: skip
        for _ in answer.iter_bytes():
            break


def credited(asked: Asked, draw: random.Random) -> None:
    nanos = draw.randint(1, 10**8)
    asked.stack.command("keys", "credit", asked.key_id, format_usd(nanos), "--reason", "=more")
    asked.moved_nanos += nanos


def debited(asked: Asked, draw: random.Random) -> None:
    nanos = draw.randint(1, 10**6)
    asked.stack.command("keys", "debit", asked.key_id, format_usd(nanos), "--reason", "less")
    asked.moved_nanos -= nanos


@pytest.fixture(scope="module")
def asked(stack: RunningStack) -> Asked:
    """A key after random traffic, nothing running any more."""
    draw = random.Random(20261126)
    found = Asked(stack, stack.new_key(format_usd(GRANT_NANOS)))
    found.moved_nanos = GRANT_NANOS
    steps = [whole] * 14 + [streamed] * 14 + [refused_by_vendor] * 3 + [cancelled] * 3
    steps += [credited] * 3 + [debited] * 2
    draw.shuffle(steps)
    for step in steps:
        step(found, draw)
    stack.settled(found.key_id)
    found.booked()
    return found


def beancount_sums(text: str) -> dict[str, Decimal]:
    """The sum of all postings by account, and the last balance that the file asserts."""
    sums: dict[str, Decimal] = {}
    for account, amount in re.findall(r"^  ([A-Z][\w:-]+)  (-?[\d.]+) USD$", text, re.MULTILINE):
        sums[account] = sums.get(account, Decimal()) + Decimal(amount)
    return sums


def test_every_sum_is_the_same_to_the_nano(asked: Asked) -> None:
    """Tile, list footer, usage, rows, the three exports and the change of the balance."""
    tile = asked.get("/v1/key")
    first = asked.get("/v1/requests?limit=7")
    rows, page = list(first["data"]), first
    while page["has_more"]:
        page = asked.get(f"/v1/requests?limit=7&cursor={page['next_cursor']}")
        rows += page["data"]
    spent = tile["spent_nanos"]
    assert spent > 0
    assert len(rows) == len({row["request_id"] for row in rows}) == first["total"]["requests"]
    assert spent == sum(row["charge_nanos"] for row in rows) == first["total"]["charge_nanos"]
    usage = asked.get("/v1/usage?group_by=model,day,key")
    assert spent == usage["total"]["charge_nanos"]
    assert spent == sum(row["charge_nanos"] for row in usage["data"])
    assert asked.moved_nanos - spent == tile["balance_nanos"]
    exported = list(csv.DictReader(io.StringIO(asked.raw("/v1/ledger?format=csv").text)))
    charges = [row for row in exported if row["request_id"]]
    assert spent == -sum(int(row["amount_nanos"]) for row in charges)
    assert tile["balance_nanos"] == sum(int(row["amount_nanos"]) for row in exported)
    for row in exported:
        assert parse_usd(row["amount_usd"]) == int(row["amount_nanos"])
    beancount = asked.raw("/v1/ledger?format=beancount").text
    sums = beancount_sums(beancount)
    assert sum(sums.values()) == 0
    assets = next(name for name in sums if name.startswith("Assets:"))
    assert sums[assets] == Decimal(tile["balance"])
    assert sum(total for name, total in sums.items() if name.startswith("Expenses:")) == Decimal(
        tile["spent"]
    )
    assert f"balance {assets}  {tile['balance']} USD" in beancount


def test_the_ledger_goes_on_where_it_was_left(asked: Asked) -> None:
    """Pages by its cursor are the whole; each balance is the one before and the amount."""
    entries: list[dict[str, Any]] = []
    page = asked.get("/v1/ledger?limit=5")
    while True:
        entries += page["data"]
        if not page["has_more"]:
            break
        page = asked.get(f"/v1/ledger?limit=5&cursor={page['next_cursor']}")
    assert [one["seq"] for one in entries] == list(range(1, len(entries) + 1))
    balance = 0
    for one in entries:
        balance += one["amount_nanos"]
        assert one["balance_nanos"] == balance
        assert parse_usd(one["amount"]) == one["amount_nanos"]
    assert {one["kind"] for one in entries} == {"grant", "charge", "adjustment"}
    again = asked.get(f"/v1/ledger?cursor={page['next_cursor']}")
    assert again["data"] == []
    asked.stack.command("keys", "credit", asked.key_id, "0.01", "--reason", "new")
    asked.moved_nanos += 10_000_000
    asked.booked()
    (new,) = asked.get(f"/v1/ledger?cursor={again['next_cursor']}")["data"]
    assert (new["amount_nanos"], new["note"]) == (10_000_000, "new")
    assert "'=more" in asked.raw("/v1/ledger?format=csv").text


def test_an_answers_own_word_for_its_cost_is_its_row(asked: Asked) -> None:
    """Header and final comment, list and explanation say one figure, and the lines come to it."""
    rows = {row["request_id"]: row for row in asked.get("/v1/requests?limit=1000")["data"]}
    for request_id, nanos in asked.costs.items():
        assert rows[request_id]["charge_nanos"] == nanos
        found = asked.get(f"/v1/requests/{request_id}")
        assert (found["status"], found["agrees"]) == ("ended", True)
        assert found["charge_nanos"] == nanos
        lines = sum(Decimal(line["amount"]) for line in found["lines"])
        assert lines + Decimal(found["rounding"]) == Decimal(found["charge"]) or not nanos
        assert found["charged"] == ("yes" if nanos else "no")
        assert found["attempts"] == 1
        assert "credential" not in found
        if nanos:
            assert found["hold_nanos"] == found["charge_nanos"] + found["released_nanos"]
            assert found["formula"].endswith(f"= {found['charge']} USD")
    early = asked.get("/v1/requests?outcome=client_cancelled_midstream")["data"]
    assert len(early) == 3
    assert asked.get(f"/v1/requests/{early[0]['request_id']}")["charged"] == "partly"


def test_a_request_is_in_every_answer_as_soon_as_it_has_ended(asked: Asked) -> None:
    """Read your own: the books are waited for, so the present minute is in it."""
    before = asked.get("/v1/usage?bucket=1m")
    answer = asked.post(CHAT, chat("now"))
    cost = parse_usd(answer.headers["x-corvus-cost-usd"])
    request_id = answer.headers["x-request-id"]
    deadline = time.monotonic() + 60
    while not (after := asked.get("/v1/usage?bucket=1m"))["current"]:  # it waits for a second
        assert time.monotonic() < deadline
    assert after["total"]["charge_nanos"] == before["total"]["charge_nanos"] + cost
    assert after["total"]["requests"] == before["total"]["requests"] + 1
    assert asked.get("/v1/requests?limit=1")["data"][0]["request_id"] == request_id
    assert asked.get(f"/v1/requests/{request_id}")["charge_nanos"] == cost
    asked.costs[request_id] = cost


def test_usage_is_cut_by_time_and_by_name(asked: Asked) -> None:
    """Buckets have their ends, days are those of the zone, and the parts come to the whole."""
    whole = asked.get("/v1/usage?group_by=model")
    parts = [asked.get(f"/v1/usage?model={row['model']}")["total"] for row in whole["data"]]
    assert [part["charge_nanos"] for part in parts] == [
        row["charge_nanos"] for row in whole["data"]
    ]
    day = datetime.now(UTC) - timedelta(days=2)
    berlin = asked.get(f"/v1/usage?group_by=day&tz=Asia/Kathmandu&from={day:%Y-%m-%d}")
    start = datetime.fromisoformat(berlin["data"][0]["start"])
    assert (start.hour, start.minute) == (18, 15)
    assert datetime.fromisoformat(berlin["data"][0]["end"]) - start == timedelta(days=1)
    local = datetime.fromisoformat(berlin["from"])
    assert (local.hour, local.minute) == (18, 15)
    empty = asked.get("/v1/usage?to=2020-01-01")
    assert (empty["data"], empty["total"]["requests"]) == ([{**empty["total"]}], 0) or (
        empty["data"] == [] and empty["total"]["requests"] == 0
    )


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/requests?limit=0", "limit"),
        ("/v1/requests?limit=many", "limit"),
        ("/v1/requests?limit=1&limit=2", "limit"),
        ("/v1/requests?cursor=x", "cursor"),
        ("/v1/requests?cursor=1790000000000000", "cursor"),
        ("/v1/requests?outcome=lucky", "outcome"),
        ("/v1/requests?colour=red", "colour"),
        ("/v1/requests?from=yesterday", "from"),
        ("/v1/usage?bucket=1y", "bucket"),
        ("/v1/usage?group_by=model,star", "group_by"),
        ("/v1/usage?group_by=day&bucket=1h", "group_by"),
        ("/v1/usage?bucket=1d&tz=Mars/Phobos", "tz"),
        ("/v1/usage?tz=%27;drop", "tz"),
        ("/v1/usage?from=2026-01-01&tz=Mars/Phobos", "tz"),
        ("/v1/usage?model=%00", "model"),
        ("/v1/ledger?format=pdf", "format"),
        ("/v1/ledger?cursor=-1", "cursor"),
        ("/v1/generation", "id"),
    ],
)
def test_a_bad_parameter_is_refused_by_its_name(asked: Asked, path: str, param: str) -> None:
    """400, with the parameter in the error."""
    answer = asked.raw(path)
    assert answer.status_code == 400, answer.text[:300]
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", param)
    assert answer.headers["x-should-retry"] == "false"


def test_nobody_sees_another_wallets_rows(asked: Asked) -> None:
    """A stranger's request is not there, whatever is asked for."""
    other = Asked(asked.stack, asked.stack.new_key("0.01"))
    request_id = next(iter(asked.costs))
    assert other.raw(f"/v1/requests/{request_id}").status_code == 404
    assert other.get(f"/v1/requests?key_id={asked.key_id}")["data"] == []
    assert other.get("/v1/usage")["total"]["charge_nanos"] == 0
    assert len(other.get("/v1/ledger")["data"]) == 1
    assert other.raw(f"/v1/generation?id={request_id}").status_code == 404


def test_methods_and_paths_are_told(asked: Asked) -> None:
    """405 names the methods; 404 names what there is; HEAD has no body."""
    wrong = asked.post("/v1/ledger", {})
    assert wrong.status_code == 405
    assert "GET" in wrong.json()["error"]["message"]
    none = asked.raw("/v1/ledgers").json()["error"]["message"]
    assert "/v1/ledger" in none
    head = httpx.head(asked.stack.api + "/v1/requests", trust_env=False,
                      headers={"authorization": f"Bearer {asked.secret}"})  # fmt: skip
    assert (head.status_code, head.content) == (200, b"")
    assert asked.stack.ask_get("/v1/usage", key="sk-corvus_wrong").status_code == 401
    said = asked.stack.ask("/v1/quote", {}, key="sk-corvus_x", **{"anthropic-version": "1"})
    assert said.json()["type"] == "error"


def test_a_quote_is_what_is_charged(asked: Asked) -> None:
    """The ceiling covers the charge; the usage that was billed, quoted, is the very charge."""
    body = chat("[[simulate: tokens=50]]", "claude-haiku-4-5", max_tokens=100)
    quoted = asked.post("/v1/quote", body).json()
    answer = asked.post(MESSAGES, body)
    cost = parse_usd(answer.headers["x-corvus-cost-usd"])
    asked.costs[answer.headers["x-request-id"]] = cost
    assert (quoted["of"], quoted["verdict"]) == ("request", "served")
    assert quoted["output_tokens_max"] == 100
    assert quoted["ceiling_nanos"] >= quoted["hold_nanos"] >= cost
    for usage in (
        answer.json()["usage"],
        {k: v for k, v in answer.json()["usage"].items() if k in ("input_tokens", "output_tokens")},
    ):
        again = asked.post("/v1/quote", {"model": "claude-haiku-4-5", "usage": usage}).json()
        assert again["charge_nanos"] == cost
    told = asked.get(f"/v1/requests/{answer.headers['x-request-id']}")
    classes = {line["name"]: line["tokens"] for line in told["lines"]}
    ours = asked.post("/v1/quote", {"model": "claude-haiku-4-5", "usage": classes}).json()
    assert (ours["charge_nanos"], ours["lines"]) == (cost, told["lines"])
    assert (
        ours["price_version"] == told["price_version"] == answer.headers["x-corvus-price-version"]
    )
    spent = asked.get("/v1/key")["spent_nanos"]
    assert spent == asked.get("/v1/requests")["total"]["charge_nanos"]


def test_other_services_shapes_tell_the_same(asked: Asked) -> None:
    """OpenRouter's and OpenAI's members, as exact JSON numbers."""

    def exact(path: str) -> Any:
        return json.loads(asked.raw(path).text, parse_float=Decimal)

    tile = asked.get("/v1/key")
    spent, balance = Decimal(tile["spent"]), Decimal(tile["balance"])
    for path in ("/v1/credits", "/api/v1/credits?noise=1"):
        assert exact(path) == {"data": {"total_credits": spent + balance, "total_usage": spent}}
    key = exact("/api/v1/key")["data"]
    assert (key["usage"], key["limit_remaining"]) == (spent, Decimal(tile["available"]))
    grants = exact("/v1/dashboard/billing/credit_grants")
    assert grants["total_granted"] - grants["total_used"] == grants["total_available"] == balance
    assert exact("/v1/dashboard/billing/subscription")["hard_limit_usd"] == spent + balance
    usage = exact("/v1/dashboard/billing/usage?start_date=2026-01-01&end_date=2199-01-01")
    assert usage["total_usage"] == spent * 100
    days = usage["daily_costs"]
    assert sum(item["cost"] for day in days for item in day["line_items"]) == spent * 100
    request_id, nanos = next((rid, n) for rid, n in asked.costs.items() if n)
    for path in ("/v1/generation", "/api/v1/generation"):
        found = exact(f"{path}?id={request_id}")["data"]
        assert found["total_cost"] == Decimal(format_usd(nanos))


def test_every_endpoint_of_the_table_answers(asked: Asked) -> None:
    """None of the rows leads nowhere: asked with its own method, each is a 2xx or names what is
    wrong. The key is one for this alone: it ends frozen."""
    key = asked.stack.new_key("0.01")["secret"]
    for row in sorted(ENDPOINTS, key=lambda row: row.path == "/v1/key/freeze"):
        path = re.sub(r"\{\w+\}", "nothing", row.path)
        answer = httpx.request(
            row.method,
            asked.stack.api + path,
            trust_env=False,
            headers={"authorization": f"Bearer {key}"},
        )
        assert answer.status_code in (200, 201, 400, 403, 404), (row, answer.text[:300])
        if answer.status_code == 404:
            assert "{" in row.path
        if answer.status_code == 403:
            assert answer.json()["error"]["code"] == "not_permitted"
