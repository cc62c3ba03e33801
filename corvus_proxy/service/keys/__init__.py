"""Keys: create, show, list, credit, debit, freeze, unfreeze, rotate, revoke; sub-keys.

Money in: the books first, then Redis, which the outbox repeats until it is done. Money out: Redis
first. A key's row: the books first, then the till.

`actor` is `cli`, or the id of the key that asks. Only a wallet's active main key makes or changes
its sub-keys; a sub-key may stop itself and change its own secret; a frozen main key may still stop
and revoke. What a thief with the main key can do, `service.owner` undoes.
"""

from corvus_proxy.service.keys.managing import revoke, rotate, set_frozen
from corvus_proxy.service.keys.operator import create, credit, debit, list_keys, show
from corvus_proxy.service.keys.subs import (
    LABEL_MAX,
    SUB_KEYS_MAX,
    change_sub,
    create_sub,
    list_of,
)
from corvus_proxy.service.keys.types import (
    GRACE_S,
    STATUS,
    UNCHANGED,
    BadLimit,
    Created,
    KeyRecord,
    MovePending,
    NoSuchKey,
    NotAllowed,
    ServiceRefused,
    Shown,
)

__all__ = [
    "GRACE_S", "LABEL_MAX", "STATUS", "SUB_KEYS_MAX", "UNCHANGED", "BadLimit", "Created",
    "KeyRecord", "MovePending", "NoSuchKey", "NotAllowed", "ServiceRefused", "Shown", "change_sub",
    "create", "create_sub", "credit", "debit", "list_keys", "list_of", "revoke", "rotate",
    "set_frozen", "show",
]  # fmt: skip
