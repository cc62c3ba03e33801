"""What is behind the matrix: log-ins, headers, files for spreadsheets, addresses that customers
name, and how long a wrong key takes."""

import asyncio
import csv
import io
import ipaddress
import json
import re
import statistics
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from corvus_proxy import secret
from corvus_proxy.service.alarms import hooks
from corvus_proxy.service.sessions import by_key
from corvus_proxy.service.statements import exported
from corvus_proxy.service.statements.exported import COLUMNS, Csv, Entry
from corvus_proxy.settings import BrandSettings, Settings
from corvus_proxy.site import forms
from corvus_proxy.site.app import create
from tests.roles import exchange
from tests.security import calling
from tests.security.people import People
from tests.stack import RunningStack

pytestmark = pytest.mark.anyio

# -- log-ins --------------------------------------------------------------------------------------


_SITES: dict[str, Any] = {}


def site(people: People, url: str = "http://site") -> Any:
    """The site at an address; one for all tests, which come from addresses of their own."""
    if url not in _SITES:
        _SITES[url] = create(people.stores, Settings(brand=BrandSettings(site_url=url)))
    return _SITES[url]


async def log_in(
    people: People, text: str, *, url: str = "http://site", cookie: str = "", peer: str = "10.9.0.1"
) -> calling.Got:
    app = site(people, url)
    headers = [("origin", url), ("sec-fetch-site", "same-origin")]
    headers += [("cookie", cookie)] if cookie else []
    body = urlencode({"key": text}).encode()
    return await calling.call(app, "POST", "/login", headers, body, client=peer)


async def test_a_log_in_never_takes_over_a_cookie_that_was_there(people: People) -> None:
    """An attacker who has planted a cookie of his own does not share what its bearer opens."""
    planted = people.cookie("other")
    got = await log_in(people, people.owner.secret, cookie=planted)
    assert got.status == 303
    (cookie,) = got.cookies
    fresh = cookie.partition(";")[0]
    assert fresh not in (planted, people.cookie("main"))
    again = await log_in(people, people.owner.secret, cookie=fresh)
    assert again.cookies[0].partition(";")[0] != fresh
    ticket = await by_key(people.stores, people.owner.secret)
    assert ticket is not None
    assert ticket.session_id not in {one.session_id for one in people.tickets.values()}


@pytest.mark.parametrize("url", ["http://site", "https://site"])
async def test_every_cookie_is_out_of_reach(people: People, url: str) -> None:
    """HttpOnly and SameSite always, Secure and `__Host-` where the address is https; no secret."""
    (cookie,) = (await log_in(people, people.owner.secret, url=url, peer="10.9.0.2")).cookies
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= parts
    assert not any(part.startswith("domain") for part in parts)
    assert ("secure" in parts) is url.startswith("https")
    assert cookie.startswith("__Host-") is url.startswith("https")
    assert people.owner.secret[12:] not in cookie


async def test_guessing_is_slowed_down_for_each_address(people: People) -> None:
    """Five wrong keys a minute; then also the right one waits, there and nowhere else. A header
    that names another address changes nothing."""
    app = site(people)

    async def ask(text: str, peer: str, claimed: str = "") -> calling.Got:
        headers = [("origin", "http://site")]
        headers += [("x-forwarded-for", claimed)] if claimed else []
        body = urlencode({"key": text}).encode()
        return await calling.call(app, "POST", "/login", headers, body, client=peer)

    for at in range(forms.TRIES_MAX):
        wrong = secret.new_secret(people.owner.wallet)
        assert (await ask(wrong, "10.9.1.1", f"203.0.113.{at}")).status == 401
    refused = await ask(people.owner.secret, "10.9.1.1", "203.0.113.99")
    assert (refused.status, refused.cookies) == (429, [])
    assert int(refused.header("retry-after")) > 0
    assert (await ask(people.owner.secret, "10.9.1.2")).status == 303


# -- headers --------------------------------------------------------------------------------------

EVIL = "x\r\nx-evil: 1\r\n\r\n<html>"
TURN = [{"role": "user", "content": "[[simulate: tokens=3 delay_ms=0]]"}]
FUNCTION = {"type": "function", "name": "f", "parameters": {}}


def posted(people: People, path: str, body: object, *lines: str) -> bytes:
    text = json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "host: x", *people.by_api("main"), *lines,
            f"content-length: {len(text)}", "connection: close", "", ""]  # fmt: skip
    return "\r\n".join(head).encode() + text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"model": "gpt-5.5", "input": TURN,
                           "tools": [{"type": "web_search" + EVIL}, FUNCTION]}),
        ("/v1/responses", {"model": "gpt-5.5", "input": TURN,
                           "tools": [{"type": "web_search\u0000\u2028x"}, FUNCTION]}),
        ("/v1/responses", {"model": EVIL, "input": TURN}),
        ("/v1/chat/completions", {"model": "gpt-4o-mini", "messages": TURN, EVIL: 1}),
        ("/v1/chat/completions", {"model": "gpt-4o-mini", "messages": TURN, "user": EVIL}),
        ("/v1/chat/completions", {"model": "gpt-4o-mini", "messages": TURN, "service_tier": EVIL}),
        ("/v1/keys", {"label": EVIL}),
        ("/v1/keys?a=%0d%0ax-evil:%201", {}),
        ("/v1/%0d%0ax-evil:%201", {}),
        ("/v1/alarms", {"kind": EVIL, "threshold": "1"}),
    ],
)  # fmt: skip
async def test_no_word_of_a_client_begins_a_header(people: People, path: str, body: object) -> None:
    """CR, LF and NUL in names, values and addresses; never a fault of ours."""
    answer = await exchange(people.port, posted(people, path, body, "x-request-id: a%0d%0ab"))
    assert answer.status < 500, answer.body
    assert "x-evil" not in answer.headers
    assert not any(re.search(r"[\r\n\0]", value) for value in answer.headers.values())


# -- files for spreadsheets -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "note",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")', "=cmd|'/C x'!A0",
     '"=1"', "a\n=1", "a,=1", "plain"],
)  # fmt: skip
async def test_no_cell_is_a_formula(note: str) -> None:
    """A spreadsheet takes a text for what it is, whoever wrote it."""
    entry = Entry(
        **{name: 0 if Entry.__annotations__[name] is int else "" for name in Entry._fields}
        | {"note": note, "balance_nanos": 5}
    )
    text = ",".join(COLUMNS) + "\r\n" + Csv().piece([entry])
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["note"].lstrip("'") == note.lstrip("'")
    for name, cell in row.items():
        assert not cell.startswith(("=", "+", "@", "\t", "\r")), name
        assert not cell.startswith("-") or name.endswith(("nanos", "usd", "amount")), name
    assert exported.COLUMNS == COLUMNS


# -- addresses that customers name ----------------------------------------------------------------

LITERAL = (
    "http://93.184.216.34/", "ftp://93.184.216.34/", "file:///etc/passwd", "gopher://x/", "//x/",
    "https://", "https:///x", "https://user@host.example/", "https://user:pw@host.example/",
    "https://a@127.0.0.1/", "https://127.0.0.1#@host.example/", "https://host.example:0/",
    "https://host.example:99999/", "https://host.example:x/", "https://127.0.0.1/",
    "https://127.0.0.1:6379/", "https://127.9.9.9/", "https://0.0.0.0/", "https://10.0.0.1/",
    "https://172.16.0.1/", "https://192.168.1.1/", "https://169.254.169.254/latest/meta-data/",
    "https://100.100.100.200/", "https://192.0.0.1/", "https://198.18.0.1/", "https://224.0.0.1/",
    "https://240.0.0.1/", "https://255.255.255.255/", "https://[::1]/", "https://[::]/",
    "https://[fe80::1]/", "https://[fe80::1%25lo]/", "https://[fc00::1]/", "https://[fd00::1]/",
    "https://[fec0::1]/", "https://[ff02::1]/", "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a00:1]/", "https://[::127.0.0.1]/", "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::a00:1]/", "https://[2002:7f00:1::]/", "https://[2001:0:1::1]/",
    "https://[2001:db8::1]/", "https://host\r\n.example/", "https://host.example/\x00",
    "https://" + "a" * 600 + ".example/", "javascript:alert(1)", "data:,x", "",
)  # fmt: skip
"""Refused by their look."""
NUMBERS = (
    "https://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://017700000001/",
    "https://127.1/", "https://0/", "https://localhost/", "https://LOCALHOST/",
    "https://\uff11\uff12\uff17.0.0.1/", "https://127.0.0.1./", "https://localhost./",
)  # fmt: skip
"""Refused by what they lead to: the system's resolver knows them without asking anybody."""
NAMED = ("127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fe80::1%eth0")
"""Addresses that a name of a customer's may lead to, alone or beside a public one."""


async def test_the_set_of_addresses_is_large_enough() -> None:
    assert len(LITERAL) + len(NUMBERS) + 2 * len(NAMED) >= 60


@pytest.mark.parametrize("url", LITERAL)
async def test_an_address_is_refused_by_its_look(url: str) -> None:
    assert hooks.address_problem(url, private=False)
    with pytest.raises(hooks.Unreachable):
        await hooks.resolve(url, private=False)


@pytest.mark.parametrize("url", NUMBERS)
async def test_an_address_is_refused_by_what_it_leads_to(url: str) -> None:
    with pytest.raises(hooks.Unreachable):
        await hooks.resolve(url, private=False)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("address", NAMED)
async def test_a_name_is_refused_for_one_address_that_is_not_public(
    address: str, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was judged is what is called: `resolve` hands out the address itself."""
    public = "93.184.216.34"
    found = [(2, 1, 6, "", (one, 443)) for one in ([public] if beside else []) + [address]]

    async def answer(*_: object, **__: object) -> object:
        return found

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", answer)
    with pytest.raises(hooks.Unreachable):
        await hooks.resolve("https://name.example/", private=False)
    found[:] = [(2, 1, 6, "", (public, 443))]
    assert await hooks.resolve("https://name.example/", private=False) == public
    assert hooks.is_public(ipaddress.ip_address(public))


async def test_pictures_that_lie_elsewhere_are_fetched_by_nobody_here(people: People) -> None:
    """Their address goes to the provider as it is; no connection comes from us."""
    seen: list[object] = []

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(met, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.png"
    content = [{"type": "text", "text": TURN[0]["content"]},
               {"type": "image_url", "image_url": {"url": url}}]  # fmt: skip
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}]}
    answer = await exchange(people.port, posted(people, "/v1/chat/completions", body))
    assert answer.status in (200, 429), answer.body
    server.close()
    assert seen == []


# -- time -----------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_wrong_key_takes_as_long_as_an_unknown_one(
    stack: RunningStack, people: People
) -> None:
    """4,000 of each in turn over one connection: the medians differ by less than a twentieth, or
    twenty microseconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", people.port)

    async def ask(text: str) -> float:
        head = f"GET /v1/key HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {text}\r\n\r\n"
        began_s = time.perf_counter()
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        took_s = time.perf_counter() - began_s
        found = re.search(rb"content-length: (\d+)", answer)
        assert found
        assert b" 401 " in answer[:20]
        await reader.readexactly(int(found[1]))
        return took_s

    kinds: tuple[Callable[[], str], ...] = (
        lambda: secret.new_secret(people.owner.wallet),
        lambda: secret.new_secret(secret.new_wallet_id()),
    )
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(4000):
        for kind, times in zip(kinds, took, strict=True):
            times.append(await ask(kind()))
    writer.close()
    wrong_s, unknown_s = (statistics.median(times) for times in took)
    assert abs(wrong_s - unknown_s) < max(0.05 * unknown_s, 20e-6)
