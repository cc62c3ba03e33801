"""Everybody who may call, made over the stores of a running stack; and what is theirs.

One wallet owns the things that are asked for. Its keys, and those of two other wallets, are in
every state that a key can be in. Each thing of the owner's has a word in it that stands nowhere
else: an answer to anybody else that holds one of these words has leaked.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import NamedTuple

from itsdangerous import URLSafeTimedSerializer

from corvus_proxy import clock, secret
from corvus_proxy.books.db import Books
from corvus_proxy.service import alarms, keys, owner, sessions
from corvus_proxy.service.alarms import Wanted
from corvus_proxy.service.sessions import Session, Ticket
from corvus_proxy.service.stores import Stores
from corvus_proxy.site.sessions import Sessions
from corvus_proxy.till.client import Till
from tests.roles import CHAT, ask
from tests.stack import RunningStack

USD = 10**9
API = (
    "none", "malformed", "scheme", "unknown", "wrong", "two", "cookie", "token", "operator",
    "replaced", "revoked", "expired", "frozen", "stopped", "other", "sub", "main",
)  # fmt: skip
"""Who calls the API port. `stopped`: the main key of another wallet that its owner has frozen;
`other`: the main key of another wallet; `operator`: who has the console's port and no key."""
SITE = (
    "none", "forged", "stale", "bearer", "ended", "replaced", "untokened", "revoked", "expired",
    "frozen", "stopped", "other", "sub", "token", "elsewhere", "main",
)  # fmt: skip
"""Whose browser calls the site. `untokened`: opened by a read-only token that was revoked;
`elsewhere`: the main key's browser, sent by a page of another site; `bearer`: no cookie, but the
main key in a header."""


class Things(NamedTuple):
    """Ids of what the owner has, or of what nobody has."""

    request_id: str
    key_id: str
    alarm_id: str
    token_id: str
    session_id: str


ABSENT = Things("0" * 26, "key_000000000000", "al_0000000000000000", "ro_0000000000", "se_0000")


class People:
    """`await settle()` first."""

    def __init__(self, stores: Stores, port: int) -> None:
        self.stores = stores
        self.port = port
        self.sessions = Sessions(stores, https=False)
        self.secrets: dict[str, str] = {}
        self.tickets: dict[str, Ticket] = {}
        self.marks: list[str] = []
        self.things = ABSENT

    async def settle(self) -> None:
        """Makes all of them."""
        stores = self.stores
        self.owner = await keys.create(stores, credit_nanos=USD, label="Zebedee-main")
        self.secrets["main"] = self.owner.secret
        for name in ("sub", "frozen", "revoked", "expired", "replaced"):
            self.secrets[name] = (await self._sub(name)).secret
        for name in ("other", "stopped"):
            self.secrets[name] = (await keys.create(stores, credit_nanos=USD)).secret
        for name, text in self.secrets.items():
            ticket = await sessions.by_key(stores, text)
            assert ticket is not None, name
            self.tickets[name] = ticket
        self.tickets["ended"] = await self._log_in(self.owner.secret)
        await sessions.end(stores, self.owner.wallet, self.tickets["ended"].session_id)
        await self._tokens()
        await self._spoil()
        await self._own()

    async def _sub(self, name: str) -> keys.Created:
        return await keys.create_sub(
            self.stores, self.owner.wallet, label=f"Zebedee-{name}", cap_nanos=USD // 10,
            actor=self.owner.key_id,
        )  # fmt: skip

    async def _log_in(self, text: str) -> Ticket:
        ticket = await sessions.by_key(self.stores, text)
        assert ticket is not None
        return ticket

    async def _tokens(self) -> None:
        who = Session(self.owner.wallet, self.owner.key_id, "key", "", main=True, read_only=False)
        for name in ("token", "untokened"):
            made = await sessions.make_token(self.stores, who, label=f"Zebedee-{name}", days=None)
            self.secrets[name] = made.text
            ticket = await sessions.by_token(self.stores, made.text)
            assert ticket is not None
            self.tickets[name] = ticket
            if name == "untokened":
                await sessions.revoke_token(self.stores, self.owner.wallet, made.token_id)
            else:
                self.token_id = made.token_id

    async def _spoil(self) -> None:
        """Brings each key that is not well into its state."""
        ids = {name: self.tickets[name].key_id for name in ("frozen", "revoked", "stopped")}
        await keys.set_frozen(self.stores, ids["frozen"], frozen=True)
        await keys.set_frozen(self.stores, ids["stopped"], frozen=True, actor=ids["stopped"])
        await keys.revoke(self.stores, ids["revoked"])
        await keys.rotate(self.stores, self.tickets["replaced"].key_id, grace_s=0)
        assert await owner.owner_of(self.stores, self.owner.recovery_code) == self.owner.wallet
        await keys.change_sub(
            self.stores, self.owner.wallet, self.tickets["expired"].key_id,
            expires_ms=clock.wall_ms() + 1, actor=self.owner.key_id,
        )  # fmt: skip
        await asyncio.sleep(0.01)  # until it is

    async def _own(self) -> None:
        """What the owner has: a request, an alarm, keys, a token, a log-in."""
        text = "Zebedee [[simulate: tokens=3 delay_ms=0]]"
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
        answer = await ask(self.port, self.owner.secret, body)
        assert answer.status == 200, answer.body
        who = Session(self.owner.wallet, self.owner.key_id, "key", "", main=True, read_only=False)
        await sessions.set_email(self.stores, who, "zebedee@rook.example")
        wanted = Wanted("balance", 1, email=True, webhook_url="")
        alarm = await alarms.add(self.stores, self.owner.wallet, wanted, private=False)
        self.things = Things(
            answer.headers["x-request-id"], self.tickets["sub"].key_id, alarm.alarm_id,
            self.token_id, self.tickets["main"].session_id,
        )  # fmt: skip
        self.marks = [
            self.owner.wallet, "Zebedee", "zebedee", answer.headers["x-request-id"],
            alarm.alarm_id, self.token_id, *(ticket.key_id for name, ticket in self.tickets.items()
                                             if name not in ("other", "stopped")),
        ]  # fmt: skip
        await self._until_booked(answer.headers["x-request-id"])

    async def spare(self) -> tuple["People", Things]:
        """A wallet that a test may spoil: `main`, a `sub` of it, another's main key as `other`."""
        stores, found = self.stores, People(self.stores, self.port)
        found.owner = await keys.create(stores, credit_nanos=0)
        other = await keys.create(stores, credit_nanos=0)
        sub = await keys.create_sub(
            stores, found.owner.wallet, label="", cap_nanos=None, actor=found.owner.key_id
        )
        found.secrets = {"main": found.owner.secret, "sub": sub.secret, "other": other.secret}
        for name in ("main", "sub", "other"):
            found.tickets[name] = await self._log_in(found.secrets[name])
        who = Session(found.owner.wallet, found.owner.key_id, "key", "", main=True, read_only=False)
        await sessions.set_email(stores, who, "spare@rook.example")
        (alarm, *_) = await alarms.list_of(stores, found.owner.wallet)
        return found, ABSENT._replace(key_id=sub.key_id, alarm_id=alarm.alarm_id)

    async def _until_booked(self, request_id: str) -> None:
        async with asyncio.timeout(60):
            while True:
                async with self.stores.books.connection() as connection:
                    if await connection.fetchval(
                        "select 1 from request where request_id = $1", request_id
                    ):
                        return
                await asyncio.sleep(0.02)

    def by_api(self, name: str) -> list[str]:
        """The headers by which somebody calls the API port."""
        mine, other = self.owner.secret, self.secrets["other"]
        if name in self.secrets:
            return [f"authorization: Bearer {self.secrets[name]}"]
        return {
            "none": [],
            "malformed": [f"authorization: Bearer {mine[:-1]}{'a' if mine[-1] != 'a' else 'b'}"],
            "scheme": [f"authorization: Basic {mine}"],
            "unknown": [f"authorization: Bearer {secret.new_secret(secret.new_wallet_id())}"],
            "wrong": [f"x-api-key: {secret.new_secret(self.owner.wallet)}"],
            "two": [f"authorization: Bearer {mine}", f"x-api-key: {other}"],
            "cookie": [f"cookie: {self.cookie('main')}"],
            "operator": ["x-forwarded-for: 127.0.0.1", "origin: http://127.0.0.1:8082"],
        }[name]

    def by_browser(self, name: str) -> list[tuple[str, str]]:
        """The headers by which somebody's browser calls the site."""
        if name == "none":
            return []
        if name == "bearer":
            return [("authorization", f"Bearer {self.owner.secret}")]
        own = name != "elsewhere"
        return [
            ("cookie", self.cookie("main" if name == "elsewhere" else name)),
            ("sec-fetch-site", "same-origin" if own else "cross-site"),
            ("origin", "http://site" if own else "https://evil.example"),
        ]

    async def renewed(self, name: str) -> "People":
        """The same people with another log-in of one of them, which a test may end."""
        found = People(self.stores, self.port)
        found.owner, found.secrets = self.owner, self.secrets
        found.tickets = dict(self.tickets)
        text = self.secrets.get("main" if name == "elsewhere" else name, "")
        ticket = await sessions.by_key(self.stores, text)
        if name == "token":
            ticket = await sessions.by_token(self.stores, text)
        if ticket is not None:
            found.tickets["main" if name == "elsewhere" else name] = ticket
        return found

    def cookie(self, name: str) -> str:
        """A browser's cookie: sound, of somebody else's making, or too old."""
        signer = self.sessions._signer
        if name == "forged":
            signer = URLSafeTimedSerializer(b"k" * 32, salt="session")
        ticket = self.tickets.get(name, self.tickets["main"])
        text = signer.dumps(list(ticket))
        if name == "stale":
            text = _aged(signer, list(ticket))
        assert isinstance(text, str)
        return f"{self.sessions.cookie}={text}"


def _aged(signer: URLSafeTimedSerializer, value: object) -> str:
    """What the signer would have made just too long ago."""
    then_s = int((clock.utc_now() - timedelta(seconds=sessions.SESSION_S + 60)).timestamp())
    inner = signer.make_signer(signer.salt)
    inner.get_timestamp = lambda: then_s  # type: ignore[attr-defined]
    return str(inner.sign(signer.dump_payload(value)).decode())


@contextlib.asynccontextmanager
async def settled(stack: RunningStack) -> AsyncIterator[People]:
    """People over a stack's own stores."""
    facts = stack.facts
    till = Till.open(facts["redis"], timeout_ms=10_000)
    books = Books(facts["postgres"])
    pepper = (stack.state / "pepper").read_text().strip().encode()
    people = People(Stores(till, books, pepper), int(stack.api.rpartition(":")[2]))
    try:
        await people.settle()
        yield people
    finally:
        await books.close()
        await till.close()


__all__ = ["ABSENT", "API", "CHAT", "SITE", "People", "Things", "settled"]
