"""What the till's scripts have to answer and to leave behind, in plain integers.

Written from `corvus_proxy/till/__init__.py`, `docs/money.md` and the scripts' headers. It knows
nothing of Redis: one object for a server, one for a partition, one for a wallet, one for a hold.
`render` says what each key of a partition has to hold, so that a test can compare all of it.
"""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

CAP_NANOS = 10**15
EXACT_MAX = 2**53 - 1
PRUNED_AT_ONCE = 500
MINUTE_MS = 60_000

Reply = tuple[str, ...]
BAD: Reply = ("BAD",)


def amount(text: str) -> int | None:
    """An amount as it crosses: up to 16 digits, below 2^53."""
    if not re.fullmatch(r"[0-9]{1,16}", text) or int(text) > EXACT_MAX:
        return None
    return int(text)


@dataclass
class Hold:
    wallet: str
    held: int
    checkpoint: int
    renewals: int
    owner: str
    price: str
    key: str
    slug: str
    meta: str

    def text(self) -> str:
        figures = (self.wallet, self.held, self.checkpoint, self.renewals, self.owner)
        return "|".join(map(str, (*figures, self.price, self.key, self.slug, self.meta)))


def period_end(period: str, now_ms: int) -> int:
    """The second at which a cap's present period ends, in UTC; 0 for `total`."""
    now = datetime.fromtimestamp(now_ms // 1000, UTC)
    day = datetime(now.year, now.month, now.day, tzinfo=UTC)
    end = {
        "day": day + timedelta(days=1),
        "week": day + timedelta(days=8 - now.isoweekday()),
        "month": datetime(now.year + now.month // 12, now.month % 12 + 1, 1, tzinfo=UTC),
    }.get(period)
    return int(end.timestamp()) if end else 0


class Limits(NamedTuple):
    cap: int | None
    period: str
    expires_ms: int
    requests: int | None = None
    tokens: int | None = None
    concurrency: int | None = None
    slugs: tuple[str, ...] = ()


NO_LIMITS = Limits(None, "total", 0)


@dataclass
class Wallet:
    status: str = "1"
    version: str = "0"
    balance: int = 0
    held: int = 0
    seq: int = 0
    spent: int = 0
    keys: dict[str, str] = field(default_factory=dict)
    """Key id → status, behind which its limits may stand: `1|cap|period|expires_ms`."""
    secrets: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Digest → key id and the millisecond until which it is valid, 0 for ever."""
    key_spent: dict[str, int] = field(default_factory=dict)
    key_held: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Key id → `main|label`."""
    marks: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Key id → end of the period in which a cap counts, the key's total when this was noted, and
    what it had spent of the period by then."""
    minutes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Key id → when its minute began, and the requests and tokens that count in it."""
    running: dict[str, list[str]] = field(default_factory=dict)
    """Key id → requests noted as running."""

    def fields(self, name: str) -> dict[str, str]:
        return {
            "id": name,
            "bal": str(self.balance),
            "hld": str(self.held),
            "ws": str(self.seq),
            "spt": str(self.spent),
            "st": self.status,
            "v": self.version,
            **{f"k:{key}": status for key, status in self.keys.items()},
            **{f"d:{digest}": f"{key}|{end}" for digest, (key, end) in self.secrets.items()},
            **{f"s:{key}": str(spent) for key, spent in self.key_spent.items()},
            **{f"h:{key}": str(held) for key, held in self.key_held.items()},
            **{f"n:{key}": name for key, name in self.names.items()},
            **{f"b:{key}": "|".join(map(str, mark)) for key, mark in self.marks.items()},
            **{f"q:{key}": "|".join(map(str, minute)) for key, minute in self.minutes.items()},
            **{f"a:{key}": ",".join(rids) for key, rids in self.running.items()},
        }

    def standing(self) -> str:
        return {"1": "active", "0": "frozen"}.get(self.status, "closed")

    def key_standing(self, key: str) -> str:
        status = self.keys.get(key, "2").partition("|")[0]
        return {"1": "active", "0": "frozen"}.get(status, "revoked")

    def limits(self, key: str) -> Limits:
        _status, *found = self.keys.get(key, "2").split("|")
        if not found:
            return NO_LIMITS
        cap, period, expires_ms, *rates = found
        limits = Limits(int(cap) if cap else None, period, int(expires_ms))
        if not rates:
            return limits
        requests, tokens, concurrency = (int(text) if text else None for text in rates[:3])
        slugs = tuple(rates[3].split(",")) if rates[3] else ()
        return limits._replace(
            requests=requests, tokens=tokens, concurrency=concurrency, slugs=slugs
        )

    def minute(self, key: str, now_ms: int) -> tuple[int, int, int]:
        """The key's present minute; one that is over, or begins later than now, counts nothing."""
        began, requests, tokens = self.minutes.get(key, (-MINUTE_MS, 0, 0))
        return (began, requests, tokens) if 0 <= now_ms - began < MINUTE_MS else (now_ms, 0, 0)

    def spent_in(self, key: str, ends: int) -> int:
        """What a key has spent in the period that ends then; in a new one nothing."""
        total = self.key_spent.get(key, 0)
        if not ends:
            return min(total, EXACT_MAX)
        at, base, before = self.marks.get(key, (0, 0, 0))
        return min(total - base + before, EXACT_MAX) if at == ends else 0

    def left(self, key: str, ends: int) -> int:
        """What a key's cap leaves to its next request; 0 where more than all of it is gone."""
        cap = self.limits(key).cap
        assert cap is not None
        return max(0, cap - self.spent_in(key, ends) - self.key_held.get(key, 0))

    def opened_by(self, digest: str, now_ms: int) -> tuple[str, str]:
        """The key that a secret opens, or "" and why it opens none."""
        if digest not in self.secrets:
            return "", "secret"
        key, end = self.secrets[digest]
        return ("", "expired") if end and end < now_ms else (key, "")


@dataclass
class Partition:
    """One partition's data. Each method is a script and answers as its header says; the epoch
    comes first, `server` is the replication id of the server that runs it."""

    epoch: str = ""
    stamp: str = ""
    state: str = ""
    seq: int = 0
    committed: int = 0
    meta: dict[str, str] = field(default_factory=dict)
    """What else `m` holds."""
    wallets: dict[str, Wallet] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    ended: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Request id → tombstone and the sequence number that orders it."""
    moves: dict[str, str] = field(default_factory=dict)
    """Credit or debit id → tombstone."""
    events: dict[str, dict[str, str]] = field(default_factory=dict)
    """The stream, oldest first: `<epoch>-<seq>` → fields."""
    now_ms: int = 1_800_000_000_000

    # -- life of a partition --------------------------------------------------------------------

    def fence(self, server: str, epoch: str, *states: str) -> Reply | None:
        if epoch == self.epoch and server == self.stamp and self.state in (states or ("OPEN",)):
            return None
        return ("FENCED", self.epoch, self.state)

    def init(self, server: str, partitions: str) -> Reply:
        if self.epoch:
            return ("EXISTS", self.epoch, self.state)
        self.epoch, self.stamp, self.state = "1", server, "REBUILD"
        self.seq = self.committed = 0
        self.meta = {"np": partitions}
        return ("OK", "1")

    def open(
        self, server: str, epoch: str, state: str, seq: str, stamp: str, replid: str, to: str
    ) -> Reply:
        if not self.epoch:
            return ("FENCED", "", "")
        now = (self.epoch, self.state, str(self.seq), self.stamp)
        if now != (epoch, state, seq, stamp) or replid != server:
            return ("MOVED", *now)
        self.stamp, self.state = server, to
        return ("OK", str(self.seq))

    def close(self, server: str, epoch: str) -> Reply:
        if epoch != self.epoch:
            return ("MOVED", self.epoch, self.state)
        self.state = "CLOSED"
        return ("OK", str(self.seq))

    def rebuild(
        self, server: str, epoch: str, seq: str, base: str, replid: str, partitions: str
    ) -> Reply:
        if server != replid or (self.epoch and int(self.epoch) >= int(epoch)):
            return ("MOVED", self.epoch, self.state)
        self.epoch, self.stamp, self.state = epoch, server, "REBUILD"
        self.seq = self.committed = int(seq)
        self.meta |= {"be": base, "np": partitions}
        self.holds, self.ended, self.moves, self.events = {}, {}, {}, {}
        return ("OK", epoch)

    def load(self, server: str, epoch: str, rows: str, *, wallets: list[str]) -> Reply:
        if no := self.fence(server, epoch, "REBUILD"):
            return no
        found = json.loads(rows)
        if len(found) != len(wallets):
            return BAD
        for name, row in zip(wallets, found, strict=True):
            self.wallets[name] = Wallet(
                row["st"], row["v"], int(row["b"]), 0, int(row["ws"]), int(row["sp"]),
                {key["id"]: key["st"] for key in row["k"]},
                {digest: (key["id"], end) for key in row["k"] for digest, end in key["ds"]},
                {key["id"]: int(key["sp"]) for key in row["k"]}, {},
                {key["id"]: key["n"] for key in row["k"] if "n" in key},
                {
                    key["id"]: (int(key["p"][0]), int(key["sp"]), int(key["p"][1]))
                    for key in row["k"] if "p" in key
                },
            )  # fmt: skip
        return ("OK", str(len(found)))

    def recall(self, server: str, epoch: str, credits_json: str, ended: str) -> Reply:
        if no := self.fence(server, epoch, "REBUILD", "REPLAY"):
            return no
        moves, ends = json.loads(credits_json), json.loads(ended)
        self.moves |= dict(moves)
        self.ended |= {name: (tombstone, self.seq) for name, tombstone in ends}
        return ("OK", str(len(moves) + len(ends)))

    def ack(self, server: str, epoch: str, committed: str, keep: str) -> Reply:
        if no := self.fence(server, epoch):
            return no
        done, spare = amount(committed), amount(keep)
        if done is None or spare is None:
            return BAD
        if done > self.seq:
            return ("AHEAD", str(self.seq))
        self.committed = max(self.committed, done)
        last = done - spare
        if last <= 0:
            return ("OK", "0")
        for entry in list(self.events):
            if int(entry.partition("-")[2]) > last:
                break
            del self.events[entry]
        old = sorted((order, rid) for rid, (_, order) in self.ended.items() if order <= last)
        for _, rid in old[:PRUNED_AT_ONCE]:
            del self.ended[rid]
        return ("OK", str(min(len(old), PRUNED_AT_ONCE)))

    # -- keys -----------------------------------------------------------------------------------

    def key(
        self, server: str, epoch: str, wallet: str, version: str, status: str, keys: str
    ) -> Reply:
        if epoch != self.epoch or server != self.stamp:
            return ("FENCED", self.epoch, self.state)
        try:
            rows = json.loads(keys)
        except ValueError:
            return BAD
        if not re.fullmatch("[0-9]+", version):
            return BAD
        known = self.wallets.get(wallet)
        if known and int(known.version) >= int(version):
            return ("OLD", known.version)
        if not all(isinstance(row["id"], str) and isinstance(row["st"], str) for row in rows):
            return BAD
        one = self.wallets.setdefault(wallet, Wallet())
        one.status, one.version = status, version
        one.keys = {row["id"]: row["st"] for row in rows}
        one.secrets = {digest: (row["id"], end) for row in rows for digest, end in row["ds"]}
        one.names = {row["id"]: row["n"] for row in rows if "n" in row}
        limited = {row["id"] for row in rows if re.match(r"[01]\|\d*\|[a-z]+\|\d+\|", row["st"])}
        one.minutes = {key: found for key, found in one.minutes.items() if key in limited}
        one.running = {key: found for key, found in one.running.items() if key in limited}
        for row in rows:
            if "p" in row:
                ends, spent = map(int, row["p"])
                if one.marks.get(row["id"], (-1, 0, 0))[0] != ends:
                    one.marks[row["id"]] = (ends, one.key_spent.get(row["id"], 0), spent)
        return ("OK", version)

    def look(self, server: str, epoch: str, digest: str, *, wallet: str) -> Reply:
        if no := self.fence(server, epoch):
            return no
        one = self.wallets.get(wallet)
        if one is None:
            return ("NOKEY",)
        key, why = one.opened_by(digest, self.now_ms)
        if not key:
            return ("DENIED", why)
        standing = one.key_standing(key) if one.status == "1" else one.standing()
        cap, period, expires_ms = one.limits(key)[:3]
        if standing == "active" and 0 < expires_ms <= self.now_ms:
            standing = "expired"
        ends = period_end(period, self.now_ms) if cap is not None else 0
        in_period = one.spent_in(key, ends) if cap is not None else 0
        figures = (one.balance, one.held, one.spent, one.key_spent.get(key, 0))
        main, _, label = one.names.get(key, "1|").partition("|")
        about = (main, label, "" if cap is None else str(cap), period)
        limits = (in_period, ends * 1000, expires_ms, one.key_held.get(key, 0))
        rates = "".join(f"|{text}" for text in one.keys.get(key, "2").split("|")[4:])
        return ("OK", key, standing, *map(str, figures), *about, *map(str, limits), rates)

    # -- requests -------------------------------------------------------------------------------

    def reserve(
        self, server: str, epoch: str, rid: str, wallet: str, digest: str, owner: str, least: str,
        most: str, share_floor: str, price: str, slug: str, tokens: str, lag_limit: str,
        day: str, month: str,
    ) -> Reply:  # fmt: skip
        if no := self.fence(server, epoch):
            return no
        low, high, share, lag = map(amount, (least, most, share_floor, lag_limit))
        if low is None or high is None or share is None or lag is None or amount(tokens) is None:
            return BAD
        if not re.fullmatch("[0-9]+-[0-9]+-[0-9]+", day) or not day.startswith(month):
            return BAD
        if rid in self.ended:
            return ("DUP", self.ended[rid][0])
        one = self.wallets.get(wallet)
        if one is None:
            return ("NOKEY",)
        key, why = one.opened_by(digest, self.now_ms)
        if not key:
            return ("DENIED", why)
        for standing in (one.standing(), one.key_standing(key)):
            if standing != "active":
                return ("DENIED", standing)
        free = one.balance - one.held
        limits = one.limits(key)
        cap, period, expires_ms = limits[:3]
        if 0 < expires_ms <= self.now_ms:
            return ("DENIED", "expired_key")
        ends = period_end(period, self.now_ms)
        if cap is not None:
            free = min(free, one.left(key, ends))
        if limits.slugs and slug not in limits.slugs:
            return ("DENIED", "model")
        if rid in self.holds:  # the reply was lost: the same grant, what is free now
            return ("OK", str(self.holds[rid].held), str(free), key)
        if self.seq - self.committed > lag:
            return ("BACKPRESSURE",)
        if no := self.too_fast(one, key, int(tokens)):
            return no
        if cap is not None and low > one.left(key, ends):
            figures = (cap, one.spent_in(key, ends), one.key_held.get(key, 0), ends * 1000)
            retry_ms = ends * 1000 - self.now_ms if ends else 0
            return ("LIMITED", "cap", str(retry_ms), *map(str, figures))
        if low > free:
            return ("POOR", str(free), str(one.held))
        grant = min(high, free)
        if share:  # a whole answer leaves half to others, unless its least or its share is more
            grant = min(high, max(low, min(share, free), free // 2))
        self.holds[rid] = Hold(wallet, grant, 0, 0, owner, price, key, slug, "")
        one.held += grant
        one.key_held[key] = one.key_held.get(key, 0) + grant
        if cap is not None and ends and one.marks.get(key, (0, 0, 0))[0] != ends:
            one.marks[key] = (ends, one.key_spent.get(key, 0), 0)  # its first in a new period
        reply = ("OK", str(grant), str(free - grant), key)
        if limits.concurrency is not None:
            one.running[key] = [*self.noted(one, key, limits.concurrency), rid]
        if limits.requests is None and limits.tokens is None:
            return reply
        began, requests, counted = one.minute(key, self.now_ms)
        requests, counted = requests + 1, counted + int(tokens)
        one.minutes[key] = (began, requests, counted)
        told: list[str] = []
        for limit, used in ((limits.requests, requests), (limits.tokens, counted)):
            told += ("", "") if limit is None else (str(limit), str(limit - used))
        return (*reply, *told, str(began), str(began + MINUTE_MS - self.now_ms))

    def noted(self, one: Wallet, key: str, limit: int) -> list[str]:
        """The key's requests noted as running; where they are as many as may be, those that are."""
        noted = one.running.get(key, [])
        return noted if len(noted) < limit else [rid for rid in noted if rid in self.holds]

    def too_fast(self, one: Wallet, key: str, tokens: int) -> Reply | None:
        """The refusal of a key that has had its minute's share, or runs enough requests."""
        limits = one.limits(key)
        began, requests, counted = one.minute(key, self.now_ms)
        rest = str(began + MINUTE_MS - self.now_ms)
        if limits.requests is not None and requests + 1 > limits.requests:
            return ("LIMITED", "rate", rest, str(limits.requests), str(requests))
        if limits.tokens is not None and counted + tokens > limits.tokens:
            rest = "0" if tokens > limits.tokens else rest
            return ("LIMITED", "tokens", rest, str(limits.tokens), str(counted))
        if limits.concurrency is not None:
            running = len(self.noted(one, key, limits.concurrency))
            if running >= limits.concurrency:
                figures = (1000, limits.concurrency, running)
                return ("LIMITED", "concurrency", *map(str, figures))
        return None

    def extend(
        self, server: str, epoch: str, rid: str, total: str, checkpoint: str, owner: str, meta: str,
        *, wallet: str,
    ) -> Reply:  # fmt: skip
        if no := self.fence(server, epoch):
            return no
        want, spent = amount(total), amount(checkpoint)
        if want is None or spent is None:
            return BAD
        hold = self.holds.get(rid)
        if hold is None:
            return ("UNKNOWN",)
        if hold.wallet != wallet:
            return BAD
        if hold.owner != owner:
            return ("NOTOWNER",)
        one = self.wallets[hold.wallet]
        standings = (one.standing(), one.key_standing(hold.key))
        why = next((word for word in standings if word != "active"), "")
        hold.renewals += 1
        if spent >= hold.checkpoint:
            hold.checkpoint, hold.meta = spent, meta
        if not why:
            cap, period = one.limits(hold.key)[:2]
            free = one.balance - one.held
            if (
                cap is not None
                and (left := one.left(hold.key, period_end(period, self.now_ms))) < free
            ):
                free, why = left, "cap"
            more = max(0, min(want - hold.held, free))
            hold.held += more
            one.held += more
            if more:
                one.key_held[hold.key] = one.key_held.get(hold.key, 0) + more
        return ("FINAL", str(hold.held), why) if hold.held < want else ("OK", str(hold.held))

    def settle(
        self, server: str, epoch: str, rid: str, actual: str, outcome: str, meta: str,
        minute: str = "", tokens: str = "0", *, wallet: str,
    ) -> Reply:  # fmt: skip
        if no := self.fence(server, epoch):
            return no
        nanos = amount(actual)
        if nanos is None or not re.fullmatch("-?[0-9]+", tokens) or len(tokens) > 16:
            return BAD
        if rid in self.ended:
            return ("DUP", self.ended[rid][0])
        if rid not in self.holds:
            return ("UNKNOWN",)
        hold = self.holds[rid]
        if hold.wallet != wallet:
            return BAD
        answer = self.finish("S", rid, hold.wallet, hold.key, hold.slug, nanos, outcome, meta)
        one, more = self.wallets[hold.wallet], int(tokens)
        began, requests, counted = one.minute(hold.key, self.now_ms)
        if tokens != "0" and (more > 0 or str(began) == minute):
            one.minutes[hold.key] = (began, requests, max(0, counted + more))
        return answer

    def expire(self, server: str, epoch: str, rid: str, renewals: str, *, wallet: str) -> Reply:
        if no := self.fence(server, epoch):
            return no
        seen = amount(renewals)
        if seen is None:
            return BAD
        if rid in self.ended:
            return ("DUP", self.ended[rid][0])
        hold = self.holds.get(rid)
        if hold is None:
            return ("UNKNOWN",)
        if hold.wallet != wallet:
            return BAD
        if hold.renewals != seen:
            return ("LIVE", str(hold.renewals))
        who = (hold.wallet, hold.key, hold.slug)
        return self.finish("X", rid, *who, hold.checkpoint, "gateway_crash", hold.meta)

    def late(
        self, server: str, epoch: str, rid: str, wallet: str, key: str, slug: str, actual: str,
        outcome: str, meta: str,
    ) -> Reply:  # fmt: skip
        if no := self.fence(server, epoch):
            return no
        nanos = amount(actual)
        if nanos is None:
            return BAD
        if f"{rid}:L" in self.ended:
            return ("DUP", self.ended[f"{rid}:L"][0])
        if rid not in self.ended:
            return ("UNKNOWN",)
        tombstone = self.ended[rid][0]
        kind, charged, short = tombstone.split("|")[:3]
        more = nanos - int(charged) - int(short)
        if kind != "X" or more <= 0:
            return ("DUP", tombstone)
        return self.finish("L", f"{rid}:L", wallet, key, slug, more, outcome, meta)

    def direct(
        self, server: str, epoch: str, rid: str, wallet: str, key: str, slug: str, kind: str,
        actual: str, outcome: str, meta: str,
    ) -> Reply:  # fmt: skip
        if no := self.fence(server, epoch, "REPLAY"):
            return no
        nanos = amount(actual)
        if nanos is None:
            return BAD
        if rid in self.ended:
            return ("DUP", self.ended[rid][0])
        if wallet not in self.wallets:
            return ("NOKEY",)
        one = self.wallets[wallet]
        mark = one.marks.get(key)
        spent = one.spent_in(key, mark[0]) if mark and mark[0] else 0
        answer = self.finish(kind, rid, wallet, key, slug, nanos, outcome, meta)
        if mark:  # it counts in no period of a cap
            one.marks[key] = (mark[0], one.key_spent[key], spent)
        return answer

    def adopt(
        self, server: str, epoch: str, rid: str, wallet: str, held: str, checkpoint: str,
        owner: str, price: str, key: str, slug: str, meta: str,
    ) -> Reply:  # fmt: skip
        if no := self.fence(server, epoch, "REPLAY"):
            return no
        want, spent = amount(held), amount(checkpoint)
        if want is None or spent is None:
            return BAD
        if rid in self.ended:
            return ("DUP", self.ended[rid][0])
        if rid in self.holds:
            return ("OK", str(self.holds[rid].held))
        one = self.wallets.get(wallet)
        if one is None:
            return ("NOKEY",)
        grant = min(want, one.balance - one.held)
        self.holds[rid] = Hold(wallet, grant, spent, 0, owner, price, key, slug, meta)
        one.held += grant
        one.key_held[key] = one.key_held.get(key, 0) + grant
        if one.limits(key).concurrency is not None:
            one.running[key] = [*one.running.get(key, []), rid]
        return ("OK", str(grant))

    def finish(
        self, kind: str, rid: str, wallet: str, key: str, slug: str, actual: int, outcome: str,
        meta: str,
    ) -> Reply:  # fmt: skip
        """Ends a request: its own hold and what is free pay, nobody else's hold does."""
        one = self.wallets[wallet]
        hold = self.holds.pop(rid, None)
        held = hold.held if hold else 0
        one.held -= held
        one.key_held[key] = max(0, one.key_held.get(key, 0) - held)
        charged = min(actual, one.balance - one.held)
        short = actual - charged
        one.spent += charged
        one.key_spent[key] = one.key_spent.get(key, 0) + charged
        self.post(kind, rid, wallet, -charged, k=key, g=slug, a=actual, s=short, o=outcome, u=meta)
        figures = (charged, short, self.seq, self.epoch)
        self.ended[rid] = ("|".join(map(str, (kind, *figures))), self.seq)
        return ("OK", *map(str, (charged, short, one.balance, self.seq, self.epoch)))

    # -- money in and out -----------------------------------------------------------------------

    def credit(
        self, server: str, epoch: str, name: str, wallet: str, nanos: str, counter: str, key: str,
        reason: str,
    ) -> Reply:  # fmt: skip
        if no := self.fence(server, epoch, "OPEN", "REPLAY"):
            return no
        change = amount(nanos)
        if not change:
            return BAD
        if name in self.moves:
            return ("DUP", self.moves[name])
        one = self.wallets.get(wallet)
        if one is None:
            return ("NOKEY",)
        if one.balance + change > CAP_NANOS:
            return ("CAP",)
        self.post("C", name, wallet, change, k=key, a=change, s=0, o="credit", n=counter, r=reason)
        self.moves[name] = f"C|{change}|0|{self.seq}"
        return ("OK", str(one.balance), str(self.seq))

    def debit(
        self, server: str, epoch: str, name: str, wallet: str, nanos: str, up_to: str,
        counter: str, key: str, reason: str,
    ) -> Reply:  # fmt: skip
        if no := self.fence(server, epoch, "OPEN", "REPLAY"):
            return no
        asked = amount(nanos)
        if not asked:
            return BAD
        if name in self.moves:
            return ("DUP", self.moves[name])
        one = self.wallets.get(wallet)
        if one is None:
            return ("NOKEY",)
        free = one.balance - one.held
        if asked > free and up_to != "1":
            return ("POOR", str(free), str(one.held))
        taken = min(asked, free)
        short = asked - taken
        self.post(
            "D", name, wallet, -taken, k=key, a=asked, s=short, o="debit", n=counter, r=reason
        )
        self.moves[name] = f"D|{taken}|{short}|{self.seq}"
        return ("OK", *map(str, (taken, short, one.balance, self.seq)))

    def post(self, kind: str, name: str, wallet: str, change: int, **more: str | int) -> None:
        """Changes a balance: one event, dense in its partition and in its wallet (T4)."""
        one = self.wallets[wallet]
        one.balance += change
        one.seq += 1
        self.seq += 1
        key = str(more["k"])
        fields = {
            "t": kind, "id": name, "w": wallet, "g": "", "d": change, "b": one.balance,
            "ws": one.seq, "sw": one.spent, "sk": one.key_spent.get(key, 0), "u": "",
        } | more  # fmt: skip
        self.events[f"{self.epoch}-{self.seq}"] = {k: str(v) for k, v in fields.items()}

    # -- the whole ------------------------------------------------------------------------------

    def check(self) -> None:
        """T1 and T2 of `corvus_proxy.till`."""
        held = dict.fromkeys(self.wallets, 0)
        by_key: dict[tuple[str, str], int] = {}
        for hold in self.holds.values():
            held[hold.wallet] += hold.held
            who = (hold.wallet, hold.key)
            by_key[who] = by_key.get(who, 0) + hold.held
        for name, one in self.wallets.items():
            assert 0 <= one.held <= one.balance <= CAP_NANOS, name
            assert one.held == held[name], name
            for key, nanos in one.key_held.items():
                assert nanos == by_key.get((name, key), 0), (name, key)

    def render(self) -> dict[str, Any]:
        """What every key holds: `m`, `h`, `d`, `dz`, `c`, `l`, and `w:<wallet>` for each wallet."""
        m = {
            "ep": self.epoch, "rs": self.stamp, "st": self.state, "sq": str(self.seq),
            "cs": str(self.committed),
        } | self.meta  # fmt: skip
        return {
            "m": m if self.epoch else {},
            "h": {rid: hold.text() for rid, hold in self.holds.items()},
            "d": {rid: text for rid, (text, _) in self.ended.items()},
            "dz": {rid: order for rid, (_, order) in self.ended.items()},
            "c": dict(self.moves),
            "l": dict(self.events),
            **{f"w:{name}": one.fields(name) for name, one in self.wallets.items()},
        }
