"""Events that could not be booked, kept verbatim until an operator has decided about them."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from corvus_proxy.money.event import Poison

INSERT = """
insert into quarantine (part, epoch, seq, wallet, raw, why) values ($1, $2, $3, $4, $5::jsonb, $6)
"""
FREEZE = """
update wallet set status = 0, version = version + 1 where wallet = any($1) and status = 1
returning wallet, version
"""
TELL = """
insert into outbox (id, kind, wallet, key_id, reason) values ($1, 'key', $2, '', 'quarantine')
on conflict (id) do nothing
"""
SELECT = """
select part, epoch, seq, wallet, raw, why, found_at from quarantine
where released_at is null and ($1 = '' or wallet = $1) order by part, epoch, seq
"""


RELEASE = """
update quarantine set released_at = now()
where part = $1 and epoch = $2 and seq = $3 and released_at is null
"""


class Quarantined(NamedTuple):
    part: int
    epoch: int
    seq: int
    wallet: str
    raw: dict[str, str]
    why: str
    found_at: datetime


async def insert(connection: Any, events: Sequence[Poison]) -> None:
    """Keeps the events and freezes their wallets; the outbox tells Redis."""
    rows = []
    for one in events:
        raw = {_text(name): _text(value) for name, value in one.raw.items()}
        at = (one.partition, one.epoch, one.seq)
        rows.append((*at, _text(one.wallet), json.dumps(raw), _text(one.why)))
    await connection.executemany(INSERT, rows)
    for row in await connection.fetch(FREEZE, list({_text(one.wallet) for one in events})):
        name = f"key:{row['wallet']}:{row['version']}"
        await connection.execute(TELL, name, row["wallet"])


def _text(text: str) -> str:
    """Postgres takes every character but this one."""
    return text.replace("\0", "")


async def waiting(connection: Any, wallet: str = "") -> list[Quarantined]:
    """What nobody has decided about yet, of one wallet or of all."""
    return [
        Quarantined(
            row["part"],
            row["epoch"],
            row["seq"],
            row["wallet"],
            json.loads(row["raw"]),
            row["why"],
            row["found_at"],
        )
        for row in await connection.fetch(SELECT, wallet)
    ]


async def release(connection: Any, rows: Sequence[Quarantined]) -> None:
    """Marks events as decided: these, and none that has come since they were read."""
    await connection.executemany(RELEASE, [(row.part, row.epoch, row.seq) for row in rows])
