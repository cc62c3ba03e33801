"""Books that are behind what they had committed: restored from a backup, or a standby that lagged.

Redis decides, so it goes on serving; the books are brought forward from the stream it has kept,
from the archive where that begins too late, and wallets made since the backup from Redis itself.
"""

from collections.abc import Sequence

import structlog

from corvus_proxy.books import wallets
from corvus_proxy.books.db import Books
from corvus_proxy.money.event import Mark
from corvus_proxy.till.client import Till
from corvus_proxy.till.recovery import door
from corvus_proxy.till.reply import PartitionState

AT_ONCE = 500
_log = structlog.get_logger()


def parts_behind(states: Sequence[PartitionState], cursors: dict[int, Mark]) -> dict[int, str]:
    """LEDGER_BEHIND, by partition: the books end before what Redis was told they have."""
    return {
        part: f"LEDGER_BEHIND p{part:02d}: the books end at {cursors[part]}, Redis was told of"
        f" {state.epoch}-{state.committed}"
        for part, state in enumerate(states)
        if state.epoch and Mark(state.epoch, state.committed) > cursors[part]
        and state.committed > cursors[part].seq
    }  # fmt: skip


async def restore_wallets(till: Till, books: Books, only: Sequence[str] | None = None) -> list[str]:
    """Brings wallets whose row in Redis is newer than the books', or which the books do not have,
    into the books: keys, secrets and status, no money. The wallets that were found."""
    ids = list(only) if only is not None else [wallet async for wallet in till.wallet_ids()]
    restored = []
    for at in range(0, len(ids), AT_ONCE):
        some = ids[at : at + AT_ONCE]
        async with books.connection() as connection:
            versions = await wallets.versions(connection, some)
        states = await till.wallets(some)
        for wallet, state in zip(some, states, strict=True):
            if state is None or state.version <= versions.get(wallet, -1):
                continue
            row = await door.wallet_row(till, wallet)
            if row is None:
                continue
            async with books.transaction() as connection:
                await wallets.restore(connection, row.wallet, row.version, int(row.status), [
                    wallets.RestoredKey(
                        key.key_id, int(key.status), key.main, key.label,
                        wallets.Limits(key.cap_nanos, key.period, key.expires_ms, key.rates),
                        key.digests,
                    )
                    for key in row.keys
                ])  # fmt: skip
            restored.append(wallet)
    if restored:
        _log.warning("wallets_restored", wallets=len(restored))
    return restored
