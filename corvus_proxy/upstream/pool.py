"""Credentials of a family: which one carries the next request, and what it adds to it.

A session stays with its credential while that stands well (`pool_pins`); what a failure does to one
is a table (`pool_standing`). `update` takes another configuration while requests run: what they
hold, they keep.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import structlog

from corvus_proxy import clock, jobs, metrics
from corvus_proxy.errors import ConfigurationError, Unpriced, UpstreamOverloaded
from corvus_proxy.settings import Credential, PoolSettings, Upstream
from corvus_proxy.upstream.pool_members import PATHS, Lease, Member, Sought, Turn
from corvus_proxy.upstream.pool_pins import Pin, Pins, rank
from corvus_proxy.upstream.pool_standing import Standing, State
from corvus_proxy.upstream.transport import Origin, Transport
from corvus_proxy.wire.dialect import Dialect

Probe = Callable[[Upstream, Credential], Awaitable[bool]]
"""Whether an upstream accepts a credential; costs nothing, never raises."""

_log = structlog.get_logger()
CROWDED_RUNNING = 32
"""Fewer requests on one credential are no crowd, however they are spread."""
_NOTHING_SOUGHT = Sought()
_DEFAULTS = PoolSettings()


class _Row(NamedTuple):
    """A member as it is asked in one dialect."""

    member: Member
    origin: Origin
    base_path: str
    transport: Transport


class Pool:
    """All credentials by family and dialect."""

    def __init__(
        self,
        upstreams: list[Upstream],
        transports: dict[str, Transport],
        settings: PoolSettings = _DEFAULTS,
        *,
        probe: Probe | None = None,
        now_s: Callable[[], float] = clock.monotonic_s,
    ) -> None:
        self._now_s = now_s
        self._settings = settings
        self._probe = probe
        self._probing: set[asyncio.Task[None]] = set()
        self._members: dict[tuple[str, str], Member] = {}
        self._rows: dict[tuple[str, Dialect], list[_Row]] = {}
        self._pins = Pins(settings.pin_s)
        self._cost: Mapping[str, tuple[int, int]] = {}
        self._disabled: frozenset[str] = frozenset()
        self._draining: frozenset[str] = frozenset()
        self.update(upstreams, transports)

    # -- configuration --------------------------------------------------------------------------

    def update(self, upstreams: list[Upstream], transports: dict[str, Transport]) -> None:
        """Takes another configuration; nothing changes where it is refused with ConfigurationError.

        A credential that is known keeps its standing and its sessions, unless its key or its
        upstream is another. One that is gone drains.
        """
        found = {
            (upstream.family, credential.name): _read(upstream, credential)
            for upstream in upstreams
            for credential in upstream.credential
        }
        if len(found) < sum(len(upstream.credential) for upstream in upstreams):
            raise ConfigurationError("upstream.credential.name: two of one family are the same")
        places = {
            (key, dialect): (*_target(url, allow_private=one.upstream.allow_private),
                             transports[one.upstream.client])
            for key, one in found.items()
            for dialect, url in bases(one.upstream)
        }  # fmt: skip
        now_s = self._now_s()
        for key, one in found.items():
            self._put(key, one, now_s)
        for key, member in self._members.items():
            if key not in found:
                member.removed = True
                member.drain(now_s + self._settings.drain_s)
                member.show()
        kept = {
            (family, dialect): [row for row in rows if row.member.removed]
            for (family, dialect), rows in self._rows.items()
        }
        for (key, dialect), place in places.items():
            row = _Row(self._members[key], *place)
            kept.setdefault((key[0], dialect), []).append(row)
        self._rows = {key: rows for key, rows in kept.items() if rows}
        self.forget()
        self.hold_to_budgets(self._cost)

    @property
    def has_budgets(self) -> bool:
        """Whether the operator bounds what some credential may cost."""
        return any(member.purse.budgets for member in self._members.values())

    def hold_to_budgets(self, cost: Mapping[str, tuple[int, int]]) -> None:
        """Takes what each credential has cost this UTC day and month, in nanos and by name; it is
        to be told again when the day is another."""
        self._cost = cost
        now_s = self._now_s()
        for member in self._members.values():
            if member.purse.budgets or member.purse.spent:
                member.hold_to(cost.get(member.name, (0, 0)), now_s)

    def obey(self, *, disabled: frozenset[str], draining: frozenset[str]) -> None:
        """Takes what the operator has switched off and what shall drain, as `family/name`; what is
        named no more is as the configuration says."""
        if (disabled, draining) == (self._disabled, self._draining):
            return
        self._disabled, self._draining = disabled, draining
        now_s = self._now_s()
        for key, member in self._members.items():
            if not member.removed:
                self._steer(key, member, now_s)
                member.show()

    def _steer(self, key: tuple[str, str], member: Member, now_s: float) -> None:
        name = "/".join(key)
        drains = member.credential.draining or name in self._draining
        member.drain(now_s + self._settings.drain_s if drains else None)
        member.switch(off=name in self._disabled, now_s=now_s)

    def _put(self, key: tuple[str, str], one: "_Read", now_s: float) -> None:
        member = self._members.get(key)
        if member is None:
            member = self._members[key] = Member(one.upstream, one.credential, self._settings)
        elif member.secret != one.secret or member.upstream.base_url != one.upstream.base_url:
            member.standing = Standing(self._settings)  # another account: nothing is known of it
        member.upstream, member.credential = one.upstream, one.credential
        member.secret, member.removed = one.secret, False
        member.purse.budgets = one.budgets
        self._steer(key, member, now_s)
        member.show()

    def forget(self) -> None:
        """Drops removed credentials that no session is pinned to any more."""
        now_s = self._now_s()
        for key, member in list(self._members.items()):
            if not member.removed:
                continue
            if self._pins.count(*key, now_s) and member.keeps(now_s):
                continue
            del self._members[key]
            member.gone = True
            member.show()
            for rows in self._rows.values():
                rows[:] = [row for row in rows if row.member is not member]
            _log.info("credential_removed", family=key[0], credential=key[1])
        self._rows = {key: rows for key, rows in self._rows.items() if rows}

    def states(self) -> Iterator[tuple[str, str, State]]:
        """Family, name and state of every credential."""
        for (family, name), member in self._members.items():
            yield family, name, member.state

    def serves(self, family: str, dialect: Dialect) -> bool:
        """Whether some credential's upstream speaks this dialect for the family."""
        rows = self._rows.get((family, dialect))
        if not rows:
            return False
        return not rows[0].member.removed or any(not row.member.removed for row in rows)

    # -- the choice -----------------------------------------------------------------------------

    def choose(self, family: str, dialect: Dialect, sought: Sought = _NOTHING_SOUGHT) -> Lease:
        """The credential for the next try: the session's own while it stands well, else by weight.

        Raises Unpriced when the family has none, UpstreamOverloaded when none may be asked now.
        """
        rows = self._rows.get((family, dialect))
        if not rows:
            raise Unpriced(f"No upstream for {family} models is configured here.")
        now_s = self._now_s()
        for row in rows:
            if not row.member.standing.healthy:
                self._look_after(row.member, now_s)
        session = sought.session and family.encode() + sought.session
        pin = self._pins.get(session) if session else None
        if sought.tried:
            rows = [row for row in rows if row.member.name not in sought.tried]
        if sought.strangers:
            rows = [row for row in rows if row.member.provider not in sought.strangers]
        elif sought.signed and pin is not None:
            rows = [row for row in rows if row.member.provider == pin.provider]
        chosen = self._pinned(rows, pin, now_s) or self._fresh(rows, session)
        if chosen is None:
            chosen = self._last_resort(rows, alone=not sought.tried and len(rows) == 1)
        if chosen is None:
            soonest_s = min((row.member.back_s() for row in rows), default=now_s)
            raise UpstreamOverloaded(
                "Every upstream account for this model is resting; nothing was charged.",
                retry_after_s=max(1, min(60, round(soonest_s - now_s + 0.5))),
            )
        member = chosen.member
        # One failure is no reason to lose a cache; but what another provider answers may be signed.
        if session and (not sought.tried or pin is None or pin.provider != member.provider):
            self._pin(session, pin, member, now_s)
        return Lease(
            family,
            dialect,
            member.credential,
            member.secret,
            *chosen[1:],
            Turn(member, self._now_s),
            member.provider,
        )

    def _pin(self, session: bytes, pin: Pin | None, member: Member, now_s: float) -> None:
        moved = pin is not None and pin.name != member.name and self._pins.holds(pin, now_s)
        if moved:
            metrics.SESSIONS_MOVED.labels(member.upstream.family).inc()
        family = member.upstream.family
        self._pins.set(session, Pin(family, member.name, member.provider, now_s))

    def _pinned(self, rows: list[_Row], pin: Pin | None, now_s: float) -> _Row | None:
        if pin is None or not self._pins.holds(pin, now_s):
            return None
        for row in rows:
            if row.member.name == pin.name:
                return row if row.member.keeps(now_s) else None
        return None

    def _fresh(self, rows: list[_Row], session: bytes) -> _Row | None:
        """Of those that take new sessions: one that is due for its trial, else by rank or turn."""
        if session:
            for row in rows:
                if row.member.awaits_trial():
                    return row
        takers = [row for row in rows if row.member.takes()]
        if len(takers) < 2:
            return takers[0] if takers else None
        if not session:
            return _by_turns(takers)
        uncrowded = [row for row in takers if not _is_crowded(row, takers)] or takers
        return max(
            uncrowded,
            key=lambda row: rank(session, row.member.name, row.member.credential.weight),
        )

    def _last_resort(self, rows: list[_Row], *, alone: bool) -> _Row | None:
        """Of those that have fallen, the one that is back soonest: a try is better than a refusal.

        Where there is a choice, only one request at a time goes to an account that has said no.
        """
        fallen = [
            row
            for row in rows
            if row.member.drains_until_s is None
            and not row.member.shut
            and (alone or not row.member.standing.said_no or not row.member.standing.trials)
        ]
        return min(fallen, key=lambda row: row.member.standing.until_s, default=None)

    # -- how a fallen member comes back ---------------------------------------------------------

    def _look_after(self, member: Member, now_s: float) -> None:
        """Has a fallen member probed once its time is over."""
        standing = member.standing
        if standing.probing or standing.half_open or now_s < standing.until_s:
            return
        if self._probe is None:
            standing.half_open = True
            return
        standing.probing = True
        task = asyncio.get_running_loop().create_task(self._ask(self._probe, member, standing))
        self._probing.add(task)
        task.add_done_callback(self._probed)

    def _probed(self, task: asyncio.Task[None]) -> None:
        self._probing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("probe_failed", why=repr(error))

    async def _ask(self, probe: Probe, member: Member, standing: Standing) -> None:
        accepted = False
        try:
            accepted = await probe(member.upstream, member.credential)
        finally:  # whatever becomes of it: as long as one is under way, there is no other
            result = "accepted" if accepted else "refused"
            metrics.PROBES.labels(member.upstream.family, member.name, result).inc()
            standing.probed(accepted=accepted, now_s=self._now_s())

    async def close(self) -> None:
        """Ends probes that are under way."""
        await jobs.end(*self._probing)


class _Read(NamedTuple):
    """A credential whose secret has been read."""

    upstream: Upstream
    credential: Credential
    secret: bytes
    budgets: dict[str, int]


def _read(upstream: Upstream, credential: Credential) -> _Read:
    if credential.weight < 1:
        raise ConfigurationError(f"credential {credential.name}: weight below 1")
    return _Read(upstream, credential, credential.secret().encode(), credential.budgets_nanos())


def bases(upstream: Upstream) -> Iterator[tuple[Dialect, str]]:
    """The dialects that an upstream is asked in, and the base URL of each."""
    for family, dialect in PATHS:
        base_url = upstream.base_url
        if (family, dialect) == ("glm", Dialect.MESSAGES):
            base_url = upstream.messages_base_url
        if family == upstream.family and base_url:
            yield dialect, base_url


def _by_turns(rows: list[_Row]) -> _Row:
    """Smooth weighted turns."""
    for row in rows:
        row.member.credit += row.member.credential.weight
    chosen = max(rows, key=lambda row: row.member.credit)
    chosen.member.credit -= sum(row.member.credential.weight for row in rows)
    return chosen


def _is_crowded(row: _Row, rows: list[_Row]) -> bool:
    """Whether a credential runs half as much again as its share: many sessions that begin alike
    have one rank, and must not pile up on one account."""
    running = row.member.running
    if running < CROWDED_RUNNING:
        return False
    total = sum(one.member.running for one in rows)
    weights = sum(one.member.credential.weight for one in rows)
    return 2 * running * weights > 3 * total * row.member.credential.weight


def _target(base_url: str, *, allow_private: bool) -> tuple[Origin, str]:
    """Origin and path of a base URL.

    An address written out in the configuration is meant; a name must not lead to a private one
    unless `allow_private` says so.
    """
    try:
        url = urlsplit(base_url)
        port = url.port
    except ValueError:  # half an IPv6 address, a port that is none
        url, port = urlsplit(""), None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigurationError(f"upstream.base_url: {base_url!r} is no URL")
    tls = url.scheme == "https"
    literal = url.hostname == "localhost"
    with contextlib.suppress(ValueError):
        literal = bool(ipaddress.ip_address(url.hostname)) or literal
    port = port or (443 if tls else 80)
    return Origin(url.hostname, port, tls, allow_private or literal), url.path.rstrip("/")
