"""Letters: each kind in both parts, from the members its table lists, nothing from elsewhere."""

import re
from pathlib import Path

import pytest

from corvus_proxy.settings import BrandSettings
from corvus_proxy.shop import letters

BRAND = BrandSettings(
    name="Rook & Co",
    site_url="https://rook.example",
    api_url="https://api.rook.example",
    support="help@rook.example",
    independence="Rook is independent of the model vendors.",
)
FOLDER = Path(letters.__file__).parent


def view(kind: str) -> dict[str, object]:
    """Every member of a kind: amounts of 12.50 USD, texts that HTML has to escape."""
    return {
        name: 12_500_000_000 if name.endswith("_nanos") else f"<{name}>"
        for name in letters.FIELDS[kind]
    }


@pytest.mark.parametrize("kind", sorted(letters.FIELDS))
def test_both_parts_say_the_same(kind: str) -> None:
    """Subject on one line without a link; every text and amount in either part, escaped in HTML."""
    letter = letters.compose(kind, view(kind), BRAND)
    assert re.fullmatch(r"\S[^\n]{5,100}", letter.subject)
    assert "_url" not in letter.subject
    for name in letters.FIELDS[kind]:
        word = "12.50 USD" if name.endswith("_nanos") else f"<{name}>"
        assert word in letter.subject + letter.text, name
        if word == f"<{name}>":
            assert word not in letter.html
            assert f"&lt;{name}&gt;" in letter.html, name
    for fact in (BRAND.support, BRAND.independence, BRAND.site_url):
        assert fact in letter.text
        assert fact in letter.html
    assert "Rook &amp; Co" in letter.html
    assert "Rook & Co" in letter.text
    assert "We never ask for your key" in letter.text


@pytest.mark.parametrize("kind", sorted(letters.FIELDS))
def test_html_loads_nothing(kind: str) -> None:
    """No image, sheet, script or font: styles are inline, addresses only in links."""
    html = letters.compose(kind, view(kind), BRAND).html
    assert not re.search(r"<(img|link|script|style|iframe)|src=|@import|url\(", html)
    assert set(re.findall(r'(\w+)="https?:', html)) <= {"href"}


def test_every_template_is_a_kind() -> None:
    """The table and the folder agree."""
    for suffix in ("txt", "html"):
        found = {path.stem for path in FOLDER.glob(f"[a-z]*.{suffix}")}
        assert found == set(letters.FIELDS)


def test_a_letter_names_what_it_lacks() -> None:
    """At once, where the mail is queued, and not hours later where it is sent."""
    with pytest.raises(ValueError, match="needs amount_nanos, masked"):
        letters.check("top_up", {"order_id": "o", "key_id": "k"})
    with pytest.raises(ValueError, match="there is no letter love"):
        letters.check("love", {})


def test_the_key_stands_in_a_letter_only_where_the_operator_wants_it() -> None:
    """An empty secret leaves no line behind."""
    without = letters.compose("delivered", {**view("delivered"), "secret": ""}, BRAND)
    assert "which is also your log-in" not in without.text + without.html
    assert "<claim_url>" in without.text
