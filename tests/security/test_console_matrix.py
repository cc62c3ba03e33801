"""Every route of the console asked by everybody: nobody passes but an operator, by a page of the
console's own."""

import os
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from itsdangerous import URLSafeTimedSerializer
from starlette.applications import Starlette

from corvus_proxy.console.app import create
from corvus_proxy.console.front import COOKIE
from corvus_proxy.service.operating import operators
from corvus_proxy.settings import load
from tests.security import calling
from tests.security.people import People
from tests.security.tables import CONSOLE_COLUMNS, CONSOLE_TABLE
from tests.stack import RunningStack

pytestmark = pytest.mark.anyio
OWN = [("sec-fetch-site", "same-origin"), ("origin", "http://site")]
FOREIGN = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")]


class Console(NamedTuple):
    """The console, and cookies of two operators, one of whom was revoked."""

    app: Starlette
    people: People
    operator: str
    revoked: str

    def by(self, name: str) -> list[tuple[str, str]]:
        """The headers by which somebody calls it."""
        if name in ("none", "main", "token", "bearer"):
            return self.people.by_browser(name)
        forged = URLSafeTimedSerializer(b"k" * 32, salt="console").dumps(["root", "0" * 64])
        cookies = {
            "operator": self.operator, "elsewhere": self.operator, "revoked": self.revoked,
            "forged": f"{COOKIE}={forged}", "stale": f"{COOKIE}=x",
        }  # fmt: skip
        return [("cookie", cookies[name]), *(FOREIGN if name == "elsewhere" else OWN)]


async def logged_in(app: Starlette, people: People, name: str) -> str:
    """A new operator's cookie."""
    token = await operators.add(people.stores, name, actor="cli")
    body = urlencode({"token": token}).encode()
    got = await calling.call(app, "POST", "/login", OWN, body, client="10.8.0.1")
    assert got.status == 303, got
    (cookie,) = got.cookies
    assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
    assert token not in cookie
    return cookie.partition(";")[0]


@pytest.fixture(scope="module")
async def console(stack: RunningStack, people: People) -> Console:
    app = create(people.stores, load(stack.state / "up.toml"))
    names = [f"{word}-{os.urandom(3).hex()}" for word in ("there", "gone")]
    cookies = [await logged_in(app, people, name) for name in names]
    await operators.revoke(people.stores, names[1], reason="left", actor="cli")
    return Console(app, people, *cookies)


async def test_every_route_has_its_row_and_every_row_its_route(console: Console) -> None:
    assert sorted(CONSOLE_TABLE) == sorted(calling.routes(console.app)), "tests/security/tables.py"


@pytest.mark.parametrize("route", CONSOLE_TABLE)
async def test_nobody_passes_but_an_operator(console: Console, route: str) -> None:
    """The cells of one route. Nobody but an operator is shown a customer's things."""
    method, path = route.split(" ")
    for part in ("{order_id}", "{name}"):
        path = path.replace(part, "none")
    path = path.replace("{key_id}", console.people.owner.key_id)
    wrong = {}
    for column, names in CONSOLE_COLUMNS.items():
        for name in names:
            peer = f"10.8.{sorted(CONSOLE_TABLE).index(route)}.{len(name)}{ord(name[0])}"
            got = await calling.call(console.app, method, path, console.by(name), client=peer)
            word = "login" if got.header("location") == "/login" else str(got.status)
            if word != CONSOLE_TABLE[route][column]:
                wrong[name] = word
            if name not in ("operator", "elsewhere"):
                text = got.body.decode() + str(got.headers)
                assert not [mark for mark in console.people.marks if mark in text], name
    assert not wrong


async def test_an_operators_token_is_guessed_five_times_a_minute(console: Console) -> None:
    """Then the right one has to wait, too, from that address."""
    for _ in range(5):
        body = urlencode({"token": operators.PREFIX + os.urandom(16).hex()}).encode()
        got = await calling.call(console.app, "POST", "/login", OWN, body, client="10.8.2.1")
        assert got.status == 403
    got = await calling.call(console.app, "POST", "/login", OWN, body, client="10.8.2.1")
    assert got.status == 429
