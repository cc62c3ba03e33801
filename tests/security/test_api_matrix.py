"""Every route of the API port asked by everybody: the answer of each cell, what it must not hold,
and that a thing of somebody else's is as if it were not there."""

import ast
import re
from pathlib import Path

import pytest

from corvus_proxy.account.routes import ENDPOINTS
from corvus_proxy.gateway.front import app
from corvus_proxy.wire.dialect import COUNTING, PATHS
from tests.roles import Answer, exchange
from tests.security.people import ABSENT, API, People, Things
from tests.security.tables import API_TABLE, BODIES, COLUMNS, SPARE, STRANGERS

KEYS_OF_THE_WALLET = ("sub", "frozen", "revoked", "expired", "replaced")


def routes() -> list[str]:
    """What the port answers, from the tables that it answers by."""
    found = [f"POST {path}" for path in (*PATHS, *COUNTING)]
    found += [f"GET {path}" for path in (*app.HEALTH, *app.HELLO, app.MODELS)]
    found += [f"GET {app.MODELS}/{{slug}}"]
    return found + [f"{row.method} {row.path}" for row in ENDPOINTS]


def test_every_route_has_its_row_and_every_row_its_route() -> None:
    """A new route fails here until somebody has written down who may do what with it."""
    assert sorted(API_TABLE) == sorted(routes()), "write its row into tests/security/tables.py"
    assert {name for names in COLUMNS.values() for name in names} == set(API)


def test_the_port_answers_by_these_tables_alone() -> None:
    """No other path stands in the code of the front."""
    tree = ast.parse(Path(app.__file__).read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    found = {text for text in texts if isinstance(text, str) and re.fullmatch(r"/[\w/]*", text)}
    assert found <= {*app.HEALTH, *app.HELLO, app.MODELS, "/v1/", "/api/v1/", "/"}


async def call(people: People, name: str, route: str, things: Things) -> Answer:
    """One cell: somebody asks a route for somebody's things."""
    method, path = route.split(" ")
    for part, value in things._asdict().items():
        path = path.replace(f"{{{part}}}", value)
    path = path.replace("{slug}", "gpt-4o-mini")
    if path.endswith("/generation"):
        path += f"?id={things.request_id}"
    body = BODIES.get(route, "").encode()
    head = [f"{method} {path} HTTP/1.1", "host: x", *people.by_api(name), "connection: close",
            f"content-length: {len(body)}", "", ""]  # fmt: skip
    return await exchange(people.port, "\r\n".join(head).encode() + body)


def plain(answer: Answer, things: Things) -> tuple[int, dict[str, str], str]:
    """An answer without its own id and time, and without the ids that were asked for."""
    left = {"x-request-id", "request-id", "date", "content-length"}
    headers = {name: value for name, value in answer.headers.items() if name not in left}
    text = answer.body.decode().replace(answer.headers.get("x-request-id", "…"), "…")
    for value in things:
        text = text.replace(value, "…")
    return answer.status, headers, text


def leaked(people: People, name: str, answer: Answer, things: Things) -> list[str]:
    """Words of the owner that this caller may not see and has been told. A thing that is said not
    to be there may be named: the caller knows its id."""
    text = answer.body.decode() + str(answer.headers)
    if answer.status == 404:
        text = str(plain(answer, things))
    if name == "main":
        return [theirs for theirs in (people.secrets["other"],) if theirs in text]
    marks = people.marks
    if name in KEYS_OF_THE_WALLET:  # it sees itself
        own = (people.tickets[name].key_id, people.owner.wallet)
        text = text.replace(f"Zebedee-{name}", "")
        marks = [mark for mark in marks if mark not in own]
    return [mark for mark in marks if mark in text]


@pytest.mark.anyio
@pytest.mark.parametrize("route", API_TABLE)
async def test_everybody_gets_what_is_his(people: People, route: str) -> None:
    """The cells of one route."""
    row = API_TABLE[route]
    strangers = set()
    for column, names in COLUMNS.items():
        for name in names:
            spare = (route, name) in SPARE
            who, things = (await people.spare()) if spare else (people, people.things)
            answer = await call(who, name, route, things)
            assert str(answer.status) == row[column], (name, answer.body)
            assert not leaked(who, name, answer, things), (name, answer.body)
            if name in ("unknown", "wrong"):
                strangers.add(str(plain(answer, things)))
            if answer.status == 404:
                absent = await call(who, name, route, ABSENT)
                assert plain(absent, ABSENT) == plain(answer, things), name
    assert len(strangers) == 1, "an unknown wallet and a wrong secret are told apart"


def test_strangers_are_those_without_a_secret_that_somebody_has() -> None:
    assert set(API) - set(STRANGERS) == {
        "replaced", "revoked", "expired", "frozen", "stopped", "other", "sub", "main",
    }  # fmt: skip
