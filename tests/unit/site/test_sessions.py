"""Session cookies: what they hold, when they are refused, how they are marked."""

import pytest
from starlette.requests import Request
from starlette.responses import Response

from corvus_proxy.books.db import Books
from corvus_proxy.service.sessions import SESSION_S, Ticket
from corvus_proxy.service.stores import Stores
from corvus_proxy.site.sessions import Sessions, device
from corvus_proxy.till.client import Till

PEPPER = b"p" * 40
WHO = Ticket("se_1", "w_0123456789ab", "key_0123456789ab", "key", "ab" * 32, 1)


def sessions(*, https: bool, pepper: bytes = PEPPER) -> Sessions:
    nowhere = Stores(Till.open("redis://127.0.0.1:1", timeout_ms=1), Books(""), pepper)
    return Sessions(nowhere, https=https)


def cookie_of(response: Response) -> tuple[str, str]:
    """Value and attributes."""
    value, _, attributes = response.headers["set-cookie"].partition(";")
    return value, attributes.lower()


def started(*, https: bool, pepper: bytes = PEPPER) -> tuple[str, str]:
    response = Response()
    sessions(https=https, pepper=pepper).start(response, WHO)
    return cookie_of(response)


def read(cookie: str, *, https: bool = False, pepper: bytes = PEPPER) -> Ticket | None:
    scope = {"type": "http", "headers": [(b"cookie", cookie.encode())]}
    return sessions(https=https, pepper=pepper).ticket(Request(scope))


@pytest.mark.parametrize("https", [False, True])
def test_a_cookie_is_read_back_and_marked_as_the_address_allows(https: bool) -> None:
    """HttpOnly and SameSite=Lax always; Secure and `__Host-` exactly with https."""
    value, attributes = started(https=https)
    assert read(value, https=https) == WHO
    assert "httponly" in attributes
    assert "samesite=lax" in attributes
    assert "path=/" in attributes
    assert "domain" not in attributes
    assert ("secure" in attributes) is https
    assert value.startswith("__Host-") is https


def test_a_changed_foreign_or_old_cookie_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every character counts; another pepper signs nothing here; it ends after its time."""
    value, _ = started(https=False)
    name, _, text = value.partition("=")
    for at in range(len(text) - 1):  # the last character of base64 has bits to spare
        other = "A" if text[at] != "A" else "B"
        assert read(f"{name}={text[:at]}{other}{text[at + 1 :]}") is None
    assert read(f"{name}=") is None
    assert read("") is None
    assert read(value, pepper=b"q" * 40) is None
    monkeypatch.setattr("itsdangerous.timed.time.time", lambda: 10**10)
    assert read(value) is None
    assert SESSION_S == 12 * 3600


def test_logging_out_removes_the_same_cookie() -> None:
    """Name and attributes match, or the browser keeps it."""
    response = Response()
    sessions(https=True).end(response)
    value, attributes = cookie_of(response)
    assert value.startswith('__Host-session=""')
    assert "max-age=0" in attributes
    assert "secure" in attributes


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19 Mobile Safari/604.1",
         "Safari on iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140.0 Safari/537.36 Edg/140.0",
         "Edge on Windows computer"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0", "Firefox on Linux computer"),
        ("Mozilla/5.0 (Linux; Android 16; Pixel) Chrome/140.0 Mobile Safari/537.36",
         "Chrome on Android phone"),
        ("curl/8.5", "a program"),
        ("", "a program"),
    ],
)  # fmt: skip
def test_devices_are_told_apart_coarsely(agent: str, words: str) -> None:
    """Browser and kind of machine, nothing that tells one from another of its kind."""
    scope = {"type": "http", "headers": [(b"user-agent", agent.encode())]}
    assert device(Request(scope)) == words
