"""Secrets that a whole story leaves behind are looked for where none may be."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from corvus_proxy.books.db import Books
from tests.browser.people import CALLS, People
from tests.browser.watch import Visit, visit

if TYPE_CHECKING:
    from playwright.async_api import Browser

ADDRESS = "secretive@demo.example"
ROLES = ("gateway", "site", "console", "worker")


class Story:
    """What a customer did, with every secret that was given away on the way: texts that prove
    something (`secrets`), and tokens that stand in the addresses of their own pages (`tokens`)."""

    def __init__(self, visit: Visit, people: People) -> None:
        self.visit, self.people = visit, people
        self.secrets: list[str] = []
        self.tokens: list[str] = []
        self.plain: list[str] = []
        """What may be found: a search that finds these would have found the others."""

    async def keep(self) -> None:
        """The key that the page hands out, and the recovery code where it hands out one."""
        self.secrets.append(await self.visit.text("#the-key"))
        self.secrets += re.findall(r">(rc-[\w-]+)<", await self.visit.page.content())

    async def follow(self, path: str) -> None:
        """Opens the link of a mail."""
        found = await self.people.mailed(ADDRESS, rf"http\S+{path}(\w+)")
        self.tokens.append(found[1])
        await self.visit.goto(found[0])

    async def tell(self) -> None:
        """Buys with a mail address, uses the key, claims by the mail, logs in by key and by mail,
        makes a sub-key, recovers by the code."""
        visit, people = self.visit, self.people
        await visit.goto("/checkout")
        await visit.page.get_by_label("Your address").fill(ADDRESS)
        await visit.press("Continue to payment")
        await visit.press(await visit.page.locator("form.first button").inner_text())
        self.tokens.append(visit.page.url.rsplit("/", 1)[1])
        order = re.search(r"ord_\w+", await visit.page.content())
        assert order is not None
        self.plain.append(order[0])
        await self.keep()
        await visit.press("Test this key")
        await people.ask(
            self.secrets[0], "/v1/messages",
            {**CALLS[2][1], "messages": [{"role": "user", "content": "hi"}]},
        )  # fmt: skip
        await self.follow("/claim/")
        await visit.press("Show my key")
        await self.keep()
        await visit.log_in(self.secrets[0])
        await visit.goto("/dashboard/keys")
        await visit.page.get_by_label("Name", exact=True).last.fill("A program")
        await visit.press("Make the sub-key")
        self.secrets.append(await visit.text("#the-secret"))
        await visit.goto("/login/mail")
        await visit.page.get_by_label("Mail address", exact=True).fill(ADDRESS)
        await visit.press("Send the link")
        await self.follow("/login/")
        await visit.press("Log in")
        await visit.goto("/recover")
        await visit.page.get_by_label("Recovery code", exact=True).fill(self.secrets[1])
        await visit.press("Get a new secret")
        await self.keep()
        for cookie in await visit.cookies():
            self.tokens.append(cookie["value"])
        await people.listed()

    def found(self, text: str) -> list[str]:
        """Which secrets stand in a text: by what is theirs alone, as text or as bytes in hex."""
        alone = [secret.removeprefix("sk-corvus_") for secret in (*self.secrets, *self.tokens)]
        return [one for one in alone if one in text or one.encode().hex() in text]


async def dump(books: Books) -> str:
    """Every row of every table, as text."""
    found = []
    async with books.connection() as connection:
        tables = await connection.fetch(
            "select table_name from information_schema.tables where table_schema = 'public'"
        )
        for (table,) in tables:
            rows = await connection.fetch(f'select row_to_json(found)::text from "{table}" found')
            found += [f"{table}: {text}" for (text,) in rows]
    return "\n".join(found)


@pytest.mark.anyio
async def test_no_secret_is_anywhere_but_with_its_owner(browser: "Browser", people: People) -> None:
    """Roles' logs, metrics, the database, titles, addresses, referrers."""
    facts = people.stack.facts
    async with visit(browser, facts["site"]) as seen:
        story = Story(seen, people)
        await story.tell()
        assert sum(one.startswith("rc-") for one in story.secrets) >= 1
        assert len(set(story.secrets)) >= 4
        assert len(set(story.tokens)) >= 4
        for request in seen.asked:
            address = request.url
            assert not [one for one in story.secrets if one in address], address
            referer = (await request.all_headers()).get("referer", "")
            assert story.found(referer) == [], f"{referer} was told to {address}"
        assert story.found("\n".join(seen.titles)) == []
        assert len(seen.titles) > 10
    logs = {path.name: path.read_text() for path in Path(facts["state"]).glob("logs/*.log")}
    assert any(story.plain[0] in text for text in logs.values())
    for name, text in {**logs, "launcher": launcher_log(people)}.items():
        if name.startswith((*ROLES, "launcher", "redis", "postgres")):
            assert story.found(text) == [], name
    async with httpx.AsyncClient(trust_env=False) as client:
        metrics = (await client.get(facts["console"] + "/metrics")).text
    assert "corvus_" in metrics
    assert story.found(metrics) == []
    books = await dump(people.stores.books)
    for known in (*story.plain, ADDRESS):
        assert known in books
    assert story.found(books) == []


def launcher_log(people: People) -> str:
    """What `up` itself has said."""
    return (people.stack.state / "launcher.log").read_text()
