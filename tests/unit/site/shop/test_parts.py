"""What the counter's pages are made of: what an amount buys, snippets, the scanned address."""

import ast
import json
import re
import shlex

from corvus_proxy.catalogue import book
from corvus_proxy.money.pricing import charge
from corvus_proxy.settings import Credential, Settings, Upstream
from corvus_proxy.site.shop import browser, buys, scan, snippets

KEY = "sk-corvus_x"


def test_turns_are_what_the_bill_would_say() -> None:
    """The charge of the assumed turn, by the function that bills; whole turns; the most is full."""
    models = buys.shown(Settings())
    found = buys.buys(models, 20 * 10**9)
    prices = {model.slug: model.price for model in book.load(Settings().pricing).models}
    assert {model.family for model in models} == {"anthropic", "openai", "glm"}
    for row in found:
        assert row.turn_nanos == charge(buys.TURN, prices[row.slug])
        assert row.turns * row.turn_nanos <= 20 * 10**9 < (row.turns + 1) * row.turn_nanos
    assert max(row.bar_permille for row in found) == 1000
    assert [row.turn_nanos for row in found] == sorted(
        (row.turn_nanos for row in found), reverse=True
    )


def test_the_assumption_is_the_one_that_is_counted() -> None:
    """The sentence names the numbers of the turn."""
    turn = buys.TURN
    for number in (turn.input + turn.cache_read, turn.cache_read, turn.output):
        assert f"{number:,}" in buys.ASSUMED


def test_only_what_is_sold_is_shown() -> None:
    """A family without an upstream is neither counted nor called."""
    upstream = Upstream("glm", "https://u.example", credential=[Credential("c", cost_factor="0.1")])
    settings = Settings(upstream=[upstream])
    assert {model.family for model in buys.shown(settings)} == {"glm"}
    names = snippets.slugs(settings)
    assert names.messages == ""
    assert names.chat.startswith("glm")
    assert [one.name for one in snippets.snippets("https://api", names, KEY)] == [
        "curl-chat", "python-openai",
    ]  # fmt: skip


def test_snippets_are_complete_commands() -> None:
    """A shell and Python can read them; address, key and model are filled in."""
    names = snippets.slugs(Settings())
    found = {one.name: one for one in snippets.snippets("https://api.example", names, KEY)}
    for name, path in (("curl-chat", "/v1/chat/completions"), ("curl-messages", "/v1/messages")):
        words = shlex.split(found[name].text)
        assert words[:3] == ["curl", "-N", f"https://api.example{path}"]
        assert KEY in " ".join(words)
        assert json.loads(words[words.index("-d") + 1])["stream"] is True
    for name in ("python-openai", "python-anthropic"):
        ast.parse(found[name].text)
        assert KEY in found[name].text
    assert "https://api.example/v1" in found["python-openai"].text
    assert '"https://api.example"' in found["python-anthropic"].text
    assert KEY in found["claude-code"].text


def test_the_scanned_text_is_a_payment_uri() -> None:
    """BIP 21 for bitcoin; the bare address of an asset that has no such scheme."""
    assert scan.payment_uri("BTC", "bc1q", "0.001") == "bitcoin:bc1q?amount=0.001"
    assert scan.payment_uri("BTC", "bc1q", "") == "bitcoin:bc1q"
    assert scan.payment_uri("XMR", "48abc", "1") == "48abc"


def test_the_picture_is_a_drawing_and_nothing_else() -> None:
    """Paths in attributes: no script, no style, no text of the order's."""
    drawing = str(scan.picture("bitcoin:bc1q<script>?amount=1"))
    assert drawing.startswith("<svg")
    assert not re.search(r"script|style|href|on\w+=", drawing)


def test_form_action_names_the_payment_pages_alone() -> None:
    """The rest of the policy stays as strict as everywhere."""
    found = browser.may_lead_to(["https://pay.example", ""])
    policy = found["content-security-policy"]
    assert "form-action 'self' https://pay.example;" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert found["referrer-policy"] == "strict-origin"
