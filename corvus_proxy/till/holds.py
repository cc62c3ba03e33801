"""Money set aside for a request while it runs.

Rule 1: a hold ends exactly once, by settle; releasing is settling at zero.
Rule 2: whatever Redis is asked to change stands in the journal first.
Rule 3: leaving the block without settling settles at zero. A process that dies leaves its holds to
        their leases, and its settled charges to the journal.
Rule 4: a charge that Redis does not know is neither dropped nor made: the books are asked, by a
        rebuild of its partition.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

import msgspec
import structlog

from corvus_proxy import clock, jobs
from corvus_proxy.money.event import Mark, partition_of
from corvus_proxy.money.outcome import Outcome
from corvus_proxy.till import reply
from corvus_proxy.till.client import Lease, Till, TillUnavailable
from corvus_proxy.till.journal import NOWHERE, Journal
from corvus_proxy.till.refused import Refused
from corvus_proxy.till.telling.rehashing import Used
from corvus_proxy.till.waiting import Lines

RETRY_S = 0.05
RETRY_S_MAX = 1.0
TOLD_EVERY = 30
"""A charge that waits is logged about every half minute."""
WAKE_S = 0.25
_log = structlog.get_logger()

Progress = Callable[[], tuple[int, bytes]]
"""Charge so far in nanos, and its meta: what the hold would be charged if we died now."""


class Unfound(NamedTuple):
    """Where a charge had neither hold nor tombstone: its partition, and the epoch then."""

    partition: int
    epoch: int


class Hold:
    """One hold of this process. Use it as an async context manager."""

    def __init__(self, holds: "Holds", ask: reply.Ask, granted: reply.Granted) -> None:
        self.rid = ask.rid
        self.wallet = ask.wallet
        self.slug = ask.slug
        self.price_version = ask.price_version
        self.key_id = granted.key_id
        self.granted_nanos = granted.granted_nanos
        self.available_nanos = granted.available_nanos
        self.pace = granted.pace
        self.progress: Progress | None = None
        self.renewed_s = clock.monotonic_s()
        self._holds = holds
        self._admitted_tokens = ask.request_tokens
        self._settled = False
        self._checkpoint: tuple[int, bytes] = (0, b"")

    @property
    def owner(self) -> str:
        """The process that it belongs to."""
        return self._holds.owner

    @property
    def settled(self) -> bool:
        """Whether its end is decided."""
        return self._settled

    def __repr__(self) -> str:
        state = "settled" if self._settled else "living"
        return f"<Hold {self.rid} {self.wallet} {self.granted_nanos} nanos {state}>"

    async def __aenter__(self) -> "Hold":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._settled:
            await self.settle(0, Outcome.GATEWAY_FAULT, b"", wait_s=0.3)

    def checkpoint(self) -> tuple[int, bytes]:
        """What `progress` says now; where it fails, what it said last: the lease has to be renewed
        all the same, and those of all other holds with it."""
        if self.progress is not None:
            try:
                self._checkpoint = self.progress()
            except Exception:
                _log.exception("checkpoint_failed", request_id=self.rid)
        return self._checkpoint

    async def extend(self, total_nanos: int) -> Any:
        """Extended, NotOwner, Unknown or Fenced. Raises TillUnavailable."""
        spent, meta = self.checkpoint()
        self._holds.journal.checkpoint(self.rid, self.key_id, spent, meta)
        answer = await self._holds.till.extend(
            self.rid,
            self.wallet,
            total_nanos=total_nanos,
            checkpoint_nanos=spent,
            owner=self._holds.owner,
            meta=meta,
        )
        if isinstance(answer, reply.Extended):
            self.granted_nanos = answer.granted_total_nanos
            self.renewed_s = clock.monotonic_s()
        return answer

    async def settle(
        self, actual_nanos: int, outcome: str, meta: bytes, *, wait_s: float, tokens: int = 0
    ) -> reply.Settled | None:
        """Ends the hold with its charge, once; None where Redis has not answered within `wait_s`.
        `tokens` are all that the request has taken, for the key's limit a minute.

        The charge is journalled first and goes on by itself until Redis has answered.
        """
        if self._settled:
            return None
        self._settled = True
        charge = reply.Charge(
            self.rid, self.wallet, self.key_id, self.slug, actual_nanos, outcome, meta
        )
        if self.pace is not None and self.pace.tokens is not None:
            more = tokens - self._admitted_tokens
            charge = msgspec.structs.replace(charge, minute=self.pace.minute, tokens=more)
        return await self._holds.settle(charge, wait_s)


class Holds:
    """All holds of this process."""

    def __init__(
        self,
        till: Till,
        journal: Journal,
        *,
        lease_s: float,
        lag_limit: int,
        wait_s: float,
        waiters_max: int,
    ) -> None:
        self.till = till
        self.journal = journal
        self.owner = journal.incarnation
        self.living: dict[str, Hold] = {}
        self.charging: dict[str, reply.Charge] = {}
        """Charges that Redis has not answered, by request …"""
        self.unfound: dict[str, Unfound] = {}
        """… and those of them that it does not know."""
        self._lease_s = lease_s
        self._lag_limit = lag_limit
        self._wait_s = wait_s
        self._waiters_max = waiters_max
        self._waiting: dict[str, list[asyncio.Event]] = {}
        self._lines = Lines(waiters_max)
        self._unsettled: dict[str, asyncio.Task[reply.Settled | None]] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._refused = Refused(till)
        self.used = Used()

    def start(self) -> None:
        """Starts renewing leases, and telling what was refused."""
        self._refused.start()
        self._renewing = asyncio.create_task(self._renew_for_ever())

    def is_settling(self, rid: str) -> bool:
        """Whether this hold's charge is on its way."""
        return rid in self.charging

    async def drain(self, timeout_s: float) -> bool:
        """Waits until every hold has ended and every charge was answered; False when time is up."""
        deadline_s = clock.monotonic_s() + timeout_s
        while self.living or self._unsettled:
            if clock.monotonic_s() > deadline_s:
                return False
            await asyncio.sleep(0.02)
        return True

    async def stop(self) -> None:
        """Stops renewing and telling."""
        await self._refused.stop()
        await jobs.end(self._renewing)

    async def reserve(self, ask: reply.Ask) -> Any:
        """A Hold, or Poor, Limited, Paced, Denied, NoKey, Backpressure or Fenced. Raises
        TillUnavailable.

        Where the balance, or the key's cap, would cover the request but other holds stand in the
        way, it waits a while for one of them to end; so it does where the key runs as many requests
        as it may.
        """
        if not self.journal.healthy:
            return reply.Backpressure()
        deadline_s = clock.monotonic_s() + self._wait_s
        if not self.journal.opened(ask):  # rule 2: nothing is asked for that does not stand there
            self.journal.ended(ask.rid, partition_of(ask.wallet), NOWHERE)
            return reply.Backpressure()
        try:
            line = self._lines.waiting.get(ask.digest)
            answer = line.told if line else await self._reserve_while_held(ask, deadline_s)
            if isinstance(answer, reply.Paced) and answer.reason == "concurrency":
                answer = await self._reserve_in_line(ask, answer, deadline_s)
        except (TillUnavailable, asyncio.CancelledError):
            # It may have been granted unseen: the hold is released as soon as Redis answers.
            self._settle_later(
                reply.Charge(ask.rid, ask.wallet, "", ask.slug, 0, Outcome.GATEWAY_FAULT)
            )
            raise
        if not isinstance(answer, reply.Granted):
            self.journal.ended(ask.rid, partition_of(ask.wallet), NOWHERE)
            if isinstance(answer, reply.Poor):
                self._refused.note(ask.wallet, answer)
            return answer
        if "," in ask.digest:
            self.used.note(ask.digest)
        hold = self.living[ask.rid] = Hold(self, ask, answer)
        return hold

    async def _reserve_while_held(self, ask: reply.Ask, deadline_s: float) -> Any:
        """The till's answer, asked for again while other holds alone stand in the way."""
        while True:
            answer = await self._reserve_once(ask)
            left_s = deadline_s - clock.monotonic_s()
            if (
                not _may_change(answer, ask.least_nanos)
                or left_s <= 0
                or not await self._wait_for_settle(ask.wallet, left_s)
            ):
                return answer

    async def _reserve_in_line(self, ask: reply.Ask, told: reply.Paced, deadline_s: float) -> Any:
        """The till's answer, asked for when it is this request's turn; `told` where that does not
        come in time."""
        place = self._lines.join(ask.digest, told)
        if place is None:
            return told
        async with place:
            if not await place.first(deadline_s - clock.monotonic_s()):
                return place.line.told
            while True:
                answer = await self._reserve_while_held(ask, deadline_s)
                if not isinstance(answer, reply.Paced) or answer.reason != "concurrency":
                    return answer
                place.line.told = answer
                left_s = deadline_s - clock.monotonic_s()
                if left_s <= 0 or not await self._wait_for_settle(ask.wallet, left_s):
                    return answer

    async def _reserve_once(self, ask: reply.Ask) -> Any:
        return await self.till.reserve(ask, owner=self.owner, lag_limit=self._lag_limit)

    async def _wait_for_settle(self, wallet: str, left_s: float) -> bool:
        """Waits for a settle of this wallet here, or a moment for one elsewhere; False when
        full."""
        waiting = self._waiting.setdefault(wallet, [])
        if len(waiting) >= self._waiters_max:
            return False
        event = asyncio.Event()
        waiting.append(event)
        try:
            async with asyncio.timeout(min(WAKE_S, left_s)):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            waiting.remove(event)
            if not waiting:
                self._waiting.pop(wallet, None)
        return True

    async def settle(self, charge: reply.Charge, wait_s: float) -> reply.Settled | None:
        """See `Hold.settle`. The first question is asked here; only what goes on by itself costs a
        task."""
        self._begin_charge(charge)
        began_s = clock.monotonic_s()
        if self.till.timeout_s <= wait_s:
            try:
                answer, final = await _settle_once(
                    self.till, charge, self.unfound, patience_s=wait_s
                )
            except TillUnavailable:
                final = False
            except asyncio.CancelledError:
                self._go_on(charge)
                raise
            except BaseException:
                self._forget(charge)
                raise
            if final:
                self._forget(charge)
                return self._ended(charge, answer)
        task = self._go_on(charge)
        left_s = wait_s - (clock.monotonic_s() - began_s)
        return task.result() if await _ended_within(task, left_s) else None

    def _settle_later(self, charge: reply.Charge) -> None:
        self._begin_charge(charge)
        self._go_on(charge)

    def _begin_charge(self, charge: reply.Charge) -> None:
        self.journal.settling(charge)
        self.charging[charge.rid] = charge

    def _go_on(self, charge: reply.Charge) -> "asyncio.Task[reply.Settled | None]":
        """Asks until there is an answer, whoever waits for it."""
        task = self._unsettled[charge.rid] = asyncio.create_task(self._settle(charge))
        return task

    async def _settle(self, charge: reply.Charge) -> reply.Settled | None:
        try:
            answer = await settle_until_answered(self.till, charge, self.unfound)
        finally:
            self._unsettled.pop(charge.rid, None)
            self._forget(charge)
        return self._ended(charge, answer)

    def _forget(self, charge: reply.Charge) -> None:
        """The hold has ended: others may have the room that it took."""
        self.unfound.pop(charge.rid, None)
        self.living.pop(charge.rid, None)
        self.charging.pop(charge.rid, None)
        for event in self._waiting.get(charge.wallet, ()):
            event.set()

    def _ended(self, charge: reply.Charge, answer: object) -> reply.Settled | None:
        """Notes in the journal what Redis has answered."""
        self.journal.ended(charge.rid, partition_of(charge.wallet), mark_of(answer))
        if not isinstance(answer, reply.Settled):
            return None
        if answer.shortfall_nanos:
            nanos = answer.shortfall_nanos
            _log.warning("shortfall", request_id=charge.rid, shortfall_nanos=nanos)
        return answer

    # -- leases ---------------------------------------------------------------------------------

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 8)
            try:
                await self._renew()
            except TillUnavailable:
                continue  # the sweeper counts only time in which it could read, too
            except Exception:  # renewing must survive whatever one hold does to it
                _log.exception("renew_failed")

    async def _renew(self) -> None:
        now_s = clock.monotonic_s()
        due = [
            hold
            for hold in self.living.values()
            if now_s - hold.renewed_s >= self._lease_s / 8 and hold.rid not in self.charging
        ]
        if not due:
            return
        leases = []
        for hold in due:
            spent, meta = hold.checkpoint()
            if spent:
                self.journal.checkpoint(hold.rid, hold.key_id, spent, meta)
            leases.append(Lease(hold.rid, hold.wallet, hold.granted_nanos, spent, meta))
        answers = await self.till.renew(leases, owner=self.owner)
        for hold, answer in zip(due, answers, strict=True):
            if isinstance(answer, reply.Extended):
                hold.renewed_s = now_s


async def _ended_within(task: "asyncio.Task[Any]", wait_s: float) -> bool:
    """Whether a task ends in time; it goes on in any case, also when whoever waits is cancelled."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = loop.call_later(wait_s, wake)
    task.add_done_callback(wake)
    try:
        await waiter
    finally:
        timer.cancel()
        task.remove_done_callback(wake)
    return task.done()


def _may_change(answer: Any, least_nanos: int) -> bool:
    """Whether the end of running requests would let this one in."""
    if isinstance(answer, reply.Poor):
        return answer.available_nanos + answer.held_nanos >= least_nanos
    return (
        isinstance(answer, reply.Limited)
        and answer.held_nanos > 0
        and answer.cap_nanos - answer.spent_nanos >= least_nanos
    )


async def settle_until_answered(
    till: Till, charge: reply.Charge, unfound: dict[str, Unfound]
) -> Any:
    """Repeats `settle` until Redis has an answer other than FENCED: Settled, Duplicate, Unknown.

    A hold that its lease has ended meanwhile was charged its last checkpoint: the rest is charged
    by `late`. Where money has neither hold nor tombstone it stands in `unfound`, by which the
    reports ask for a rebuild: its claim is then charged, or found in the books. Unknown is an
    answer where there is nothing to charge, and once a rebuild has left it so.
    """
    tries = 0
    try:
        while True:
            try:
                answer, final = await _settle_once(till, charge, unfound)
                if final:
                    return answer
                why = repr(answer)
            except TillUnavailable as error:
                why = str(error)
            tries += 1
            if tries % TOLD_EVERY == 0:
                _log.warning("settle_waits", request_id=charge.rid, tries=tries, why=why)
            await asyncio.sleep(min(RETRY_S_MAX, RETRY_S * 2 ** min(tries, 6)))
    finally:
        unfound.pop(charge.rid, None)


async def _settle_once(
    till: Till,
    charge: reply.Charge,
    unfound: dict[str, Unfound],
    *,
    patience_s: float | None = None,
) -> tuple[Any, bool]:
    """One try: the answer, and whether it is the last."""
    partition = partition_of(charge.wallet)
    asked_at = till.epoch(partition)
    answer = await till.settle(charge, patience_s=patience_s)
    if isinstance(answer, reply.Duplicate) and answer.text.startswith("X|"):
        answer = await till.late(charge)
    if isinstance(answer, reply.Fenced):
        return answer, False
    if not isinstance(answer, reply.Unknown) or not charge.actual_nanos:
        return answer, True
    before = unfound.get(charge.rid)
    # The answer was made under the epoch of the question or a later one. Journalled before that
    # rebuild began, the charge was among its claims.
    if before is not None and asked_at > before.epoch:
        _log.error("charge_lost", request_id=charge.rid, nanos=charge.actual_nanos)
        return answer, True
    if before is None:
        unfound[charge.rid] = Unfound(partition, till.epoch(partition))
        _log.warning("charge_not_found", request_id=charge.rid, nanos=charge.actual_nanos)
    return answer, False


def mark_of(answer: object) -> Mark:
    """The event in an answer to settle; `NOWHERE` where none was made."""
    if isinstance(answer, reply.Settled):
        return Mark(answer.epoch, answer.seq)
    if isinstance(answer, reply.Duplicate):
        parts = answer.text.split("|")
        return Mark(int(parts[4]), int(parts[3])) if len(parts) == 5 else NOWHERE
    return NOWHERE
