"""Signed messages to the shop, with the retries of the real services, and with every trick that a
network or an enemy may play on them.

A message is delivered at least once and in no promised order: so do the real ones.
"""

import asyncio
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from corvus_proxy import clock
from corvus_proxy.dev.payments.record import Record
from corvus_proxy.upstream.faults import UpstreamBroke
from corvus_proxy.upstream.httpx_client import Caller

TIMEOUT_S = 10.0
TRICKS = ("drop", "double", "hold")
"""What can happen to the next messages: lost for good; sent twice at once; kept back until
`release`."""
FORGERIES = ("copy", "old", "wrong_signature", "unsigned", "altered")
"""How `again` sends a message: once more as it is; as it was an hour ago; signed with another
secret; not signed; with a body that the signature is not of."""
HOUR_S = 3600


class Message(NamedTuple):
    """One message; `id` is what a receiver knows it by."""

    id: str
    kind: str
    body: dict[str, Any]


Sign = Callable[[str, bytes, int], dict[str, str]]
"""(secret, body, seconds since 1970) → headers."""
Redeliver = Callable[[dict[str, Any]], dict[str, Any]]
"""The body of a further attempt, where it differs from the first."""


class Hooks:
    """The messages of one service to one address; without an address none is sent."""

    def __init__(
        self,
        service: str,
        record: Record,
        *,
        sign: Sign,
        pauses_s: tuple[float, ...],
        redeliver: Redeliver = lambda body: body,
    ) -> None:
        self.url = ""
        self.secret = ""
        self.pause_factor = 1.0
        """Shortens the pauses between attempts, for tests."""
        self.made: list[Message] = []
        """All messages, whatever became of them."""
        self._service = service
        self._record = record
        self._sign = sign
        self._pauses_s = pauses_s
        self._redeliver = redeliver
        self._tricks: deque[str] = deque()
        self._held: list[Message] = []
        self._running: set[asyncio.Task[None]] = set()
        self._caller = Caller(timeout_s=TIMEOUT_S)

    def play(self, trick: str, times: int) -> None:
        """Plays a trick on each of the next messages. Raises ValueError."""
        if trick not in TRICKS:
            raise ValueError(f"no trick {trick!r}; there are {', '.join(TRICKS)}")
        self._tricks.extend([trick] * times)

    def send(self, message: Message) -> None:
        """Sends a message in the background, again and again until it is taken."""
        self.made.append(message)
        trick = self._tricks.popleft() if self._tricks else ""
        if trick == "drop":
            self._note(message, 0, "dropped")
        elif trick == "hold":
            self._held.append(message)
        else:
            for _ in range(2 if trick == "double" else 1):
                self._start(self._deliver(message))

    def release(self) -> int:
        """Sends what was kept back, the last first; returns how many."""
        held, self._held = self._held[::-1], []
        for message in held:
            self._start(self._deliver(message))
        return len(held)

    async def again(self, name: str, how: str) -> int:
        """Sends a message once more, and once only, in one of the `FORGERIES`; returns the status
        of the answer, 0 for none. Raises ValueError, LookupError."""
        if how not in FORGERIES:
            raise ValueError(f"no way {how!r}; there are {', '.join(FORGERIES)}")
        message = next((m for m in reversed(self.made) if name in (m.id, m.kind)), None)
        if message is None:
            raise LookupError(f"no message {name}")
        body = json.dumps(message.body).encode()
        at_s = clock.wall_s() - (HOUR_S if how == "old" else 0)
        secret = clock.random_hex(16) if how == "wrong_signature" else self.secret
        headers = {} if how == "unsigned" else self._sign(secret, body, at_s)
        if how == "altered":
            body = body[:-1] + b', "altered": true}'
        status = await self._post(body, headers)
        self._note(message, status, how)
        return status

    async def close(self) -> None:
        """Gives up what is not delivered yet."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._caller.close()

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _deliver(self, message: Message) -> None:
        if not self.url:
            return
        for attempt, pause_s in enumerate((*self._pauses_s, None), 1):
            shown = message.body if attempt == 1 else self._redeliver(message.body)
            body = json.dumps(shown).encode()
            status = await self._post(body, self._sign(self.secret, body, clock.wall_s()))
            self._note(message, status, f"attempt {attempt}")
            if 200 <= status < 300 or pause_s is None:
                return
            await asyncio.sleep(pause_s * self.pause_factor)

    async def _post(self, body: bytes, headers: dict[str, str]) -> int:
        try:
            headers = {**headers, "content-type": "application/json"}
            return (await self._caller.fetch("POST", self.url, headers, content=body)).status
        except UpstreamBroke:
            return 0

    def _note(self, message: Message, status: int, what: str) -> None:
        self._record.note(
            "hook",
            service=self._service,
            id=message.id,
            kind=message.kind,
            status=status,
            what=what,
        )


def mac(secret: str, text: bytes) -> str:
    """HMAC-SHA-256 as both services write it."""
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
