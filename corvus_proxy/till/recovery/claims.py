"""What a gateway process claims of a partition that is rebuilt.

A claim is a charge that its journal proves and the books may not have, or the hold of a request
that runs. Claims go through Redis (`{pNN}:j`, by request id), because the coordinator reads no
other machine's files. More than is missing is claimed: the coordinator leaves out what the books
have.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from corvus_proxy.money.event import Mark, partition_of
from corvus_proxy.money.outcome import Outcome
from corvus_proxy.till.holds import Hold
from corvus_proxy.till.journal import NOWHERE, Line, read_lines


class Claim(msgspec.Struct, omit_defaults=True):
    """One request's claim. `kind`: S a charge, X the last checkpoint of a dead process's request,
    A the hold of a running one."""

    kind: str
    rid: str
    wallet: str
    key: str
    slug: str
    nanos: int
    """Charge (S, X) or amount held (A)."""
    outcome: str = ""
    meta: str = ""
    checkpoint_nanos: int = 0
    owner: str = ""
    price: str = ""
    epoch: int = 0
    """Of the event that Redis answered, where it did."""
    seq: int = 0


class _Found:
    """What journals say of one request."""

    __slots__ = ("at", "charge", "checkpoint", "opened")

    def __init__(self) -> None:
        self.opened: tuple[str, ...] = ()
        self.checkpoint: tuple[str, ...] = ()
        self.charge: tuple[str, ...] = ()
        self.at: Mark | None = None


def of_living(holds: Iterable[Hold], parts: Mapping[int, Mark]) -> list[tuple[int, Claim]]:
    """Claims of running requests, each with its partition. Take them before the journals are read:
    a request that ends meanwhile has its charge there, and the charge outranks the hold."""
    found = []
    for hold in holds:
        part = partition_of(hold.wallet)
        if part in parts:
            spent, meta = hold.checkpoint()
            found.append(
                (
                    part,
                    Claim(
                        "A",
                        hold.rid,
                        hold.wallet,
                        hold.key_id,
                        hold.slug,
                        hold.granted_nanos,
                        meta=meta.decode(),
                        checkpoint_nanos=spent,
                        owner=hold.owner,
                        price=hold.price_version,
                    ),
                )
            )
    return found


def of_journals(
    paths: Iterable[Path], key: bytes, parts: Mapping[int, Mark], *, dead: bool
) -> list[tuple[int, Claim]]:
    """Claims that journals prove, each with its partition; `parts` are the partitions that are
    rebuilt, with the books' last event of each. Runs in a thread: a journal may be long."""
    requests: dict[str, _Found] = {}
    for path in paths:
        for line in read_lines(path, key):
            _read(line, requests, parts)
    claims = []
    for rid, found in requests.items():
        claim = _claim(rid, found, dead=dead)
        if claim is not None and (part := partition_of(claim.wallet)) in parts:
            claims.append((part, claim))
    return claims


def _read(line: Line, requests: dict[str, _Found], parts: Mapping[int, Mark]) -> None:
    if line.kind in "RN":
        return
    if line.kind == "D":
        part, at = int(line.fields[0]), Mark(int(line.fields[1]), int(line.fields[2]))
        base = parts.get(part)
        if base is None or at == NOWHERE or (at.epoch == base.epoch and at.seq <= base.seq):
            requests.pop(line.rid, None)  # another partition's, nothing charged, or in the books
            return
        requests.setdefault(line.rid, _Found()).at = at
        return
    found = requests.setdefault(line.rid, _Found())
    if line.kind == "O":
        found.opened = line.fields
    elif line.kind == "K":
        found.checkpoint = line.fields
    else:
        found.charge = line.fields


def _claim(rid: str, found: _Found, *, dead: bool) -> Claim | None:
    if found.charge:
        wallet, key, slug, nanos, outcome, meta = found.charge
        if found.at is None and int(nanos) == 0:
            return None  # nothing was charged, and perhaps nothing held
        at = found.at or NOWHERE
        return Claim("S", rid, wallet, key, slug, int(nanos), outcome, meta, 0, "", "", *at)
    if dead and found.checkpoint and found.opened and int(found.checkpoint[1]):
        key, nanos, meta = found.checkpoint
        wallet, _, slug, _ = found.opened
        return Claim("X", rid, wallet, key, slug, int(nanos), Outcome.GATEWAY_CRASH, meta)
    return None
