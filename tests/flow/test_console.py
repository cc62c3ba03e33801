"""The console of a running stack: its deeds are the command line's, with the operator's name."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.commands import Terminal
from tests.flow.test_desk import desk, soon
from tests.flow.test_order_commands import bought
from tests.stack import RunningStack

__all__ = ["desk"]


class Browser:
    """Somebody who is logged in to the console, without a script."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def page(self, path: str) -> str:
        """A page that is there."""
        answer = self._client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def ask(self, name: str, subject: str, **fields: str) -> httpx.Response:
        """A deed's first form: what would be done."""
        return self._client.post(
            f"/deeds/{name}", data={"subject": subject, "reason": "by console", **fields}
        )

    def do(self, name: str, subject: str, **fields: str) -> str:
        """The deed, through both of its pages."""
        done = self.press(self.ask(name, subject, **fields))
        assert done.status_code == 200, done.text
        return done.text

    def press(self, shown: httpx.Response) -> httpx.Response:
        """The button of the page that asks whether one is sure."""
        assert "Do it" in shown.text, shown.text
        action = re.findall(r'action="(/deeds/[^"]+)"', shown.text)[0]
        form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', shown.text))
        return self._client.post(action, data=form)


@pytest.fixture
def ada(stack: RunningStack, desk: Terminal) -> Iterator[Browser]:
    """The operator Ada, logged in."""
    token = desk.ask("operators", "add", "ada")["token"]
    url = stack.facts["console"]
    with httpx.Client(base_url=url, trust_env=False, timeout=20, headers={"origin": url}) as client:
        assert client.post("/login", data={"token": token}).headers["location"] == "/"
        yield Browser(client)
        assert client.post("/logout").headers["location"] == "/login"
        assert client.get("/").headers["location"] == "/login"
    assert desk.run("operators", "revoke", "ada", "--reason", "done").code == 0


def last(desk: Terminal, subject: str) -> tuple[Any, Any, Any]:
    """Actor, action and reason of the latest deed on something."""
    found = desk.ask("audit", "tail", "--last", "1", "--subject", subject)["deeds"][0]
    return found["actor"], found["action"], found["details"].get("reason")


def test_keys_are_found_moved_and_frozen(stack: RunningStack, desk: Terminal, ada: Browser) -> None:
    """Each deed does what its command does; the page before says which rows it writes; a form that
    is sent again does nothing again."""
    made = desk.ask("keys", "create", "--credit", "5", "--label", "<b>bold</b>")
    key_id = made["key_id"]
    listed = ada.page(f"/keys?q={made['wallet']}")
    assert key_id in listed
    assert "<b>bold" not in listed
    assert made["secret"] not in listed + ada.page(f"/keys/{key_id}")
    whole = ada.page(f"/keys?q={made['secret']}")
    assert "no place in a command" in whole
    assert made["secret"] not in whole
    shown = ada.ask("keys.credit", key_id, usd="2.50")
    assert f"<code>wallet:{made['wallet']}</code>" in shown.text
    assert "5.00 → 7.50" in shown.text
    assert stack.standing(key_id)["balance_nanos"] == 5_000_000_000
    assert "7.50" in ada.press(shown).text
    again = ada.press(shown)
    assert (again.status_code, "sent before" in again.text) == (409, True)
    assert stack.standing(key_id)["balance_nanos"] == 7_500_000_000
    assert last(desk, key_id) == ("console:ada", "keys.credit", "by console")
    ada.do("keys.debit", key_id, usd="0.50")
    assert stack.standing(key_id)["balance_nanos"] == 7_000_000_000
    for usd, why in (("9", "are free"), ("x", "is not an amount"), ("0", "above zero")):
        no = ada.ask("keys.debit", key_id, usd=usd)
        assert (no.status_code, why in no.text) == (422, True)
    no = ada.ask("keys.freeze", key_id, reason=" ")
    assert (no.status_code, "say why" in no.text) == (422, True)
    ada.do("keys.freeze", key_id)
    assert stack.standing(key_id)["status"] == "frozen"
    assert last(desk, key_id) == ("console:ada", "keys.freeze", "by console")
    ada.do("keys.unfreeze", key_id)
    assert stack.standing(key_id)["status"] == "active"
    page = ada.page(f"/keys/{key_id}")
    assert page.count("console:ada") == 4
    assert ada.ask("keys.freeze", "key_none").status_code == 200
    assert ada.press(ada.ask("keys.freeze", "key_none")).status_code == 422


def test_today_sales_and_pools(stack: RunningStack, desk: Terminal, ada: Browser) -> None:
    """What is switched off here is off for the command line, and the other way about."""
    assert "Liabilities" in ada.page("/")
    ada.do("sales.pause", "")
    try:
        assert desk.ask("sales", "show")["actor"] == "console:ada"
        assert "by console" in ada.page("/")
    finally:
        ada.do("sales.resume", "")
    assert desk.ask("sales", "show") == {"paused": False}
    name = f"openai/{desk.ask('pools', 'list')['credentials'][1]['credential']}"

    def stands() -> str:
        rows = desk.ask("pools", "list")["credentials"]
        found = next(row for row in rows if row["family"] == "openai")
        return str(found["desk"])

    ada.do("pools.disable", name)
    try:
        assert stands() == "disabled"
        assert "Enable" in ada.page("/pools")
    finally:
        ada.do("pools.enable", name)
    ada.do("pools.drain", name)
    assert stands() == "draining"
    ada.do("pools.enable", name)
    assert stands() == ""
    assert last(desk, name) == ("console:ada", "pools.enable", "by console")
    tested = ada._client.post("/pools/test")
    assert "accepted" in tested.text
    soon(lambda: "healthy" in ada.page("/pools"))


def test_an_order_with_its_doctor_and_its_refund(
    stack: RunningStack, desk: Terminal, ada: Browser
) -> None:
    """The page has no secret of the buyer; the doctor asks; money goes back by the same queue."""
    order = bought(stack)
    order_id = order["order_id"]
    assert order_id in ada.page("/orders")
    page = ada.page(f"/orders/{order_id}")
    for planted in (order["secret"], order["recovery"], order["token"], order["buyer_token"]):
        assert planted not in page
    soon(lambda: "Every link holds" in ada._client.post(f"/orders/{order_id}/doctor").text)
    assert last(desk, order_id)[:2] == ("console:ada", "orders.doctor")
    assert "sent" in ada.do("refunds.request", order_id, usd="2.50")
    found = next(
        row for row in desk.ask("refunds", "list")["refunds"] if row["order_id"] == order_id
    )
    assert (found["state"], found["amount"], found["asked_by"]) == ("sent", "2.50", "console:ada")
    assert found["refund_id"] in ada.page("/refunds")
    no = ada.press(ada.ask("refunds.approve", found["refund_id"]))
    assert (no.status_code, "another operator does" in no.text) == (422, True)
    ada.do("orders.credit", order_id, usd="1")
    assert last(desk, order_id) == ("console:ada", "orders.credit", "by console")
    for name in ("orders.resend", "orders.cancel"):
        assert ada.press(ada.ask(name, order_id)).status_code == 422
    assert ada._client.get("/orders/ord_none").status_code == 404
    assert ada._client.get("/keys/key_none").status_code == 404
    assert order_id in ada.page(f"/audit?subject={order_id}&who=console")
    assert desk.ask("ledger", "verify")["ok"]


def test_a_customer_is_nobody_here(stack: RunningStack) -> None:
    """The site's session opens no page of the console, and the site has none of its paths."""
    site, console = stack.facts["site"], stack.facts["console"]
    with httpx.Client(trust_env=False, timeout=20) as client:
        answer = client.post(f"{site}/login", data={"key": stack.demo_key})
        assert answer.status_code == 303
        session = answer.cookies["session"]
        for name in ("session", "corvus_console"):
            headers = {"cookie": f"{name}={session}"}
            assert client.get(f"{console}/", headers=headers).headers["location"] == "/login"
            deed = client.post(
                f"{console}/deeds/keys.credit",
                headers=headers,
                data={"subject": "key_x", "usd": "1", "reason": "x", "sure": "yes", "nonce": "n"},
            )
            assert deed.headers["location"] == "/login"
        for path in ("/audit", "/deeds/keys.credit", "/pools", "/refunds"):
            assert client.get(f"{site}{path}").status_code in (404, 405), path
