"""Every page of the site in every state that it shows: one row each.

A new page, or a new state of one, is a row here: its name, the route that it stands for, how a
person gets there. The tests take it from there.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from tests.browser.people import People
from tests.browser.watch import Visit

Arrive = Callable[[Visit, People], Awaitable[None]]


class Row(NamedTuple):
    """One state of one page. `status`: of its answer."""

    name: str
    route: str
    arrive: Arrive
    status: int = 200


def opened(path: str) -> Arrive:
    """By its address."""

    async def arrive(visit: Visit, people: People) -> None:
        await visit.goto(path)

    return arrive


def logged_in(name: str, path: str = "/dashboard") -> Arrive:
    """By the log-in of one of `people`, then by its address."""

    async def arrive(visit: Visit, people: People) -> None:
        await visit.log_in((await people.key(name)).secret)
        if path != "/dashboard":
            await visit.goto(path)

    return arrive


def mistaken(key: str) -> Arrive:
    """By a log-in that fails."""

    async def arrive(visit: Visit, people: People) -> None:
        await visit.log_in(key)

    return arrive


ROWS = (
    Row("login", "/login", opened("/login")),
    Row("login-mistaken", "/login", mistaken("sk-ant-of-somebody-else"), 401),
    Row("nowhere", "", opened("/nowhere"), 404),
    Row("dashboard-newcomer", "/dashboard", logged_in("newcomer")),
    Row("dashboard-regular", "/dashboard", logged_in("regular")),
    Row("dashboard-poor", "/dashboard", logged_in("poor")),
    Row("dashboard-frozen", "/dashboard", logged_in("frozen")),
)
