"""A program buys on a running stack, and the operator looks at it: `corvus orders …`."""

import time
from typing import Any

import httpx
import pytest

from tests.stack import RunningStack, corvus


def bought(stack: RunningStack) -> dict[str, Any]:
    """An order by `POST /v1/orders`, paid on the payment service's page, with its key."""
    with httpx.Client(trust_env=False, timeout=20) as client:
        site = stack.facts["site"]
        order = client.post(f"{site}/v1/orders", json={"amount": "7.50"}).json()
        answer = client.post(f"{order['pay_url']}/pay")
        assert answer.status_code == 303
        headers = {"x-corvus-buyer-token": order["buyer_token"]}
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found: dict[str, Any] = client.get(
                f"{site}/v1/orders/{order['token']}", headers=headers
            ).json()
            if found["status"] == "paid_confirmed":
                return {**found, "token": order["token"], "buyer_token": order["buyer_token"]}
            time.sleep(0.1)
    raise AssertionError(found)


@pytest.mark.slow
def test_an_order_from_the_programs_door_to_the_operators_refund(stack: RunningStack) -> None:
    """The key works at once; the doctor finds nothing; unspent money goes back, no more than that;
    a credit by hand needs words; the ledger agrees in the end."""
    order = bought(stack)
    order_id, state = order["order_id"], ("--state", str(stack.state))
    assert (order["balance"], order["credited"]) == ("7.50", "7.50")
    asked = {"model": "gpt-5.5", "messages": [{"role": "user", "content": "Hello"}]}
    assert stack.ask("/v1/chat/completions", asked, key=order["secret"]).status_code == 200
    deadline = time.monotonic() + 60
    while (done := corvus("orders", "doctor", order_id, *state, check=False)).returncode:
        assert time.monotonic() < deadline, done.stdout
        time.sleep(0.1)
    assert "Every link holds" in done.stdout
    shown = stack.command("orders", "show", order_id)
    assert [one["credited"] for one in shown["payments"]] == ["7.50"]
    text = str(shown)
    for planted in (order["secret"], order["recovery"], order["token"], order["buyer_token"]):
        assert planted not in text
    assert order_id in {one["order_id"] for one in stack.command("orders", "list")["orders"]}
    stack.settled(order["key_id"])
    most = stack.command("orders", "refund", order_id, "--reason", "asked")["refundable_nanos"]
    assert most == 7_490_000_000
    sent = stack.command("orders", "refund", order_id, "5", "--reason", "asked")
    assert (sent["state"], sent["amount"]) == ("sent", "5.00")
    more = corvus("orders", "refund", order_id, "5", "--reason", "asked", *state, check=False)
    assert (more.returncode, "At most 2.49 USD" in more.stderr) == (1, True)
    assert stack.command("orders", "check", order_id)["credited_nanos"] == 0
    credited = stack.command("orders", "credit", order_id, "1", "--reason", "goodwill")
    assert credited["credited_nanos"] == 8_500_000_000
    assert corvus("orders", "doctor", "ord_none", *state, check=False).returncode == 1
    assert stack.command("ledger", "verify")["ok"]
