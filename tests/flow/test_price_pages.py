"""Prices of a running installation: what is published, what is charged and what is shown agree."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from corvus_proxy.money.amount import format_usd, parse_usd
from tests.stack import RunningStack, corvus

ASKED = (
    ("/v1/chat/completions", "gpt-4o-mini"),
    ("/v1/messages", "claude-haiku-4-5"),
    ("/v1/chat/completions", "glm-5.3"),
)
AT = "/pricing/calculator"


@pytest.fixture
def browser(stack: RunningStack) -> httpx.Client:
    """A visitor of the site."""
    return httpx.Client(base_url=stack.facts["site"], trust_env=False, timeout=20)


def body(slug: str) -> dict[str, Any]:
    """A short request."""
    return {"model": slug, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}


def test_the_published_tracker_is_made_again_by_the_command(
    stack: RunningStack, browser: httpx.Client, tmp_path: Path
) -> None:
    """As the page says to do it, byte for byte; and the operator publishes what the site does."""
    book, rebuilt = tmp_path / "price-book.json", tmp_path / "rebuilt.json"
    book.write_bytes(browser.get("/data/price-book.json").content)
    corvus("prices", "tracker", "--from", str(book), "--out", str(rebuilt))
    assert rebuilt.read_bytes() == browser.get("/data/pricing.json").content
    published = corvus("prices", "publish", "--state", str(stack.state)).stdout
    assert published.encode() == book.read_bytes()
    book.write_text("{}")
    done = corvus("prices", "tracker", "--from", str(book), check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_the_site_lists_the_models_that_the_gateway_serves(
    stack: RunningStack, browser: httpx.Client
) -> None:
    """Slugs, paths and context of `models.json` are those of `/v1/models`; a mistyped one is
    answered with the same suggestion by both."""
    items = browser.get("/data/models.json").json()["items"]
    with httpx.Client(
        base_url=stack.api, trust_env=False, headers={"authorization": f"Bearer {stack.demo_key}"}
    ) as client:
        listed = client.get("/v1/models").json()["data"]
        refused = client.get("/v1/models/claude-sonet-4-6").json()["error"]["message"]
    assert [(one["slug"], one["served"]["paths"]) for one in items] == [
        (one["id"], one["endpoints"]) for one in listed
    ]
    assert [one["facts"]["context_tokens"] for one in items] == [
        one["context_window"] for one in listed
    ]
    page = browser.get("/models/claude-sonet-4-6")
    assert page.status_code == 404
    meant = re.findall(r'<li><a href="/models/([\w.-]+)">', page.text)
    assert f"Did you mean {' or '.join(meant)}?" in refused


def test_a_pasted_usage_costs_what_was_charged(stack: RunningStack, browser: httpx.Client) -> None:
    """Of each family: the header's cost stands on the page, to the nano."""
    key = stack.new_key("1")["secret"]
    for path, slug in ASKED:
        answer = stack.ask(path, body(slug), key=key)
        assert answer.status_code == 200, answer.text
        cost = answer.headers["x-corvus-cost-usd"]
        pasted = json.dumps(answer.json()["usage"])
        page = browser.get(AT, params={"usage": pasted, "model": slug}).text
        assert f'data-label="One call">{cost}</td>' in page


def test_ones_own_week_at_other_prices(stack: RunningStack, browser: httpx.Client) -> None:
    """Whoever is logged in sees what was charged, and the same tokens elsewhere; at the model's own
    prices that is the charge, to a nano a request. A sub-key sees its own requests alone."""
    made = stack.new_key("1")
    for _ in range(3):
        assert stack.ask(*_call("gpt-4o-mini"), key=made["secret"]).status_code == 200
    spent = stack.settled(made["key_id"])["spent_nanos"]
    for _ in range(50):
        if not stack.command("ledger", "verify")["undrained"]:
            break
    address = f"{AT}?mine=on&model=gpt-4o-mini&model=gpt-5.5&model=claude-haiku-4-5"
    assert "3 requests" not in browser.get(address).text
    browser.post("/login", data={"key": made["secret"]})
    answer = browser.get(address)
    assert answer.headers["cache-control"] == "no-store"
    assert "3 requests of the key that you are logged in with" in answer.text
    assert f"cost {format_usd(spent)} USD" in answer.text
    prices = dict(
        re.findall(
            r'href="/models/([\w.-]+)">[^<]+</a></th><td class="number" data-label="Ours">'
            r"([\d.]+)<",
            answer.text,
        )
    )
    assert abs(parse_usd(prices["gpt-4o-mini"]) - spent) <= 3
    assert parse_usd(prices["gpt-5.5"]) > spent
    assert set(prices) == {"gpt-4o-mini", "gpt-5.5", "claude-haiku-4-5"}


def _call(slug: str) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", body(slug)
