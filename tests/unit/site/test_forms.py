"""Forms: whose they are, how large, and how often tried."""

from collections.abc import Iterable

import pytest
from starlette.requests import Request
from starlette.types import Message

from corvus_proxy import clock, secret
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.site import forms

SITE = "https://corvus.example"


def request(headers: dict[str, str], chunks: Iterable[bytes] = ()) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    waiting = [*chunks, b""]

    async def receive() -> Message:
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": SITE}, False),
        ({"origin": SITE, "host": "127.0.0.1:8081"}, True),
        ({"origin": "http://10.0.0.7:8081", "host": "10.0.0.7:8081"}, True),
        ({"origin": "null", "host": "corvus.example"}, False),
        ({"origin": "https://corvus.example.evil", "host": "corvus.example"}, False),
        ({"origin": "http://corvus.example", "host": "x"}, False),
    ],
)
def test_only_our_own_pages_forms_count(headers: dict[str, str], own: bool) -> None:
    """`Sec-Fetch-Site` decides where it is sent, else `Origin` against our address or `Host`."""
    assert forms.is_own(request(headers), SITE) is own


@pytest.mark.anyio
async def test_fields_are_read_and_their_size_is_counted_not_believed() -> None:
    """The first of each name; too much is refused whatever length is announced."""
    found = await forms.read(request({}, [b"key=a%20b&k", b"ey=c&empty="]))
    assert found == {"key": "a b", "empty": ""}
    with pytest.raises(forms.FormTooLarge):
        await forms.read(request({"content-length": "3"}, [b"key=" + b"x" * 2000] * 3))


def test_failed_tries_are_limited_per_neighbour_and_right_ones_are_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five in a minute; an IPv6 network is one neighbour, other addresses are not concerned."""
    now_s = 100.0
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    tries = forms.Tries()
    for _ in range(50):
        assert tries.take("10.0.0.1") == 0
        tries.give_back("10.0.0.1")
    for host in range(5):
        assert tries.take(f"2001:db8::{host}") == 0
    now_s = 130.0
    assert tries.take("2001:db8::ffff") == 30
    assert tries.take("2001:db8:0:1::1") == 0
    assert tries.take("::ffff:10.0.0.1") == 0
    now_s = 160.0
    assert tries.take("2001:db8::ffff") == 0


def test_the_memory_of_tries_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest addresses are forgotten first."""
    monkeypatch.setattr(forms, "_ADDRESSES_MAX", 3)
    tries = forms.Tries()
    for host in range(20):
        tries.take(f"10.0.0.{host}")
    assert len(tries._tries) == 3
    assert "10.0.0.19" in tries._tries


@pytest.mark.parametrize(
    ("peer", "forwarded", "who"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.2", "", "10.0.0.2"),
        ("10.0.0.2", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.2", "192.0.2.66, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.2", "192.0.2.66, 198.51.100.1, 10.0.0.3", "198.51.100.1"),
        ("10.0.0.2", "nonsense", "nonsense"),
    ],
)
def test_only_our_own_proxies_tell_who_asks(peer: str, forwarded: str, who: str) -> None:
    """The last address that no proxy of ours has; what a stranger claims is passed over."""
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    asked = Request({"type": "http", "headers": headers, "client": (peer, 1)})
    assert forms.client_address(asked, forms.networks(["10.0.0.0/8"])) == who
    assert forms.client_address(asked, forms.networks([])) == peer
    with pytest.raises(ConfigurationError, match="trusted_proxies"):
        forms.networks(["10.0.0.0/99"])


def test_a_mistyped_key_is_told_how_far_off_it_is() -> None:
    """Too short, too long, foreign characters, one wrong character, more of them."""
    key = secret.new_secret("w_0123456789ab")
    body = secret.PREFIX + "0123456789ab"
    changed = [text for text in (body + "X" + key[23:], body + "Y" + key[23:]) if text != key]
    assert forms.key_problem(key) == ""
    assert "3 characters missing" in forms.key_problem(key[:-3])
    assert "1 character too many" in forms.key_problem(key + "x")
    assert "2 characters cannot stand" in forms.key_problem(key[:-2] + "!?")
    assert "Exactly 1 character" in forms.key_problem(changed[0])
    assert "At least 2" in forms.key_problem(body + key[22:][::-1])
    assert "begin with" in forms.key_problem("sk-ant-x")
    assert forms.key_problem("") == "Enter your key."
