"""Each state of the table in words, and what is true beside it."""

import re

import pytest

from corvus_proxy.shop.states import STATES
from corvus_proxy.site.shop import words
from tests.unit.site.shop import views


def test_every_state_has_its_words() -> None:
    """The rows of the page are the rows of the table that decides."""
    assert set(words._ROWS) == set(STATES) == set(views.TITLES)


@pytest.mark.parametrize("state", sorted(STATES))
def test_a_state_says_what_it_is_and_what_to_do(state: tuple[str, str]) -> None:
    """A heading of its own; full sentences; amounts exact."""
    told = words.tell(views.in_state(*state))
    assert told.title == views.TITLES[state]
    assert told.tone in ("wait", "good", "look", "bad")
    for sentence in told.sentences:
        assert re.fullmatch(r"[A-Z0-9].*[.!]", sentence), sentence


@pytest.mark.parametrize(
    ("state", "phrase"),
    [
        (("awaiting_payment", ""), "Send exactly 0.0002 BTC"),
        (("payment_seen", ""), "1 of 2 confirmations."),
        (("payment_seen", "underpaid"), "Send 0.00008 BTC more until the quote ends, or keep"),
        (("paid_confirmed", "overpaid"), "You sent more than was asked."),
        (("paid_confirmed", "late"), "at the rate of that moment, 100000.00 USD for one BTC"),
        (("paid_confirmed", "manual"), "UTC: bank slip seen."),
        (("expired", ""), "do not pay again"),
        (("expired", "underpaid"), "Less than 20.00 USD came."),
        (("invalid", ""), "nothing was credited"),
    ],
)
def test_the_particulars_of_a_state(state: tuple[str, str], phrase: str) -> None:
    """What only this state has to say."""
    assert phrase in " ".join(words.tell(views.in_state(*state)).sentences)


def test_a_card_payment_speaks_of_no_address() -> None:
    """The same states of a service that has its own page."""
    card = {"destination": "", "asset": "USD", "due": "", "asset_amount": "20.00"}
    told = words.tell(views.order(**card))
    assert "Pay 20.00 USD on the page of the payment service." in told.sentences
    seen = views.payment(asset="USD", confirmations_needed=0, confirmations=0)
    told = words.tell(views.order(status="payment_seen", payments=[seen], **card))
    assert "waits for its confirmation" in told.sentences[0]


def test_what_is_true_beside_the_state() -> None:
    """A dispute, a silent service, a wallet that is full."""
    told = words.tell(views.paid(disputed=True, check_problem="The service does not answer"))
    text = " ".join(told.sentences)
    assert "is disputed" in text
    assert re.search(r"does not answer\. Last answer: \d\d:\d\d:\d\d UTC\. We keep asking\.", text)
    full = views.paid(payments=[views.payment(state="confirmed", refused="cap")])
    assert "at most 1,000,000 USD" in " ".join(words.tell(full).sentences)


@pytest.mark.parametrize(
    ("view", "states"),
    [
        (views.in_state("awaiting_payment", ""), "done now next next next"),
        (views.in_state("payment_seen", ""), "done done now next next"),
        (views.in_state("paid_confirmed", ""), "done done done done done"),
        (views.paid(secret="", own_browser=False), "done done done done now"),
        (views.paid(secret="", fulfilment="delivered"), "done done done done done"),
        (views.paid(new_key=False, secret=""), "done done done done done"),
        (views.in_state("expired", ""), "done next next next next"),
        (views.in_state("invalid", ""), "done next next next next"),
    ],
)
def test_the_timeline_has_five_steps(view: object, states: str) -> None:
    """What is done, what is next, and nothing that is next where the order has ended."""
    steps = words.timeline(view)  # type: ignore[arg-type]
    assert [step.state for step in steps] == states.split()


def test_every_state_of_a_mail_and_a_refund_has_words() -> None:
    """Those that the tables allow."""
    assert set(words.MAILS) == {"queued", "accepted", "deferred", "bounced", "off"}
    assert set(words.REFUNDS) == {"requested", "approved", "sent", "refused"}
