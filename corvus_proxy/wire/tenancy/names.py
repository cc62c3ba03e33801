"""Names that a customer gives, made its own: keyed by the wallet, so that caches still hit.

The same text of the same wallet is always sent as the same 32 hexadecimal digits, whichever key or
process it comes by; of two wallets the same text is two. From the digits nobody learns the text or
the wallet. They fit every provider's limit, so that too long a name is served, too.
"""

import hashlib
import hmac
from functools import lru_cache
from typing import NamedTuple

import msgspec

from corvus_proxy._fast import BodyScan, scan_members
from corvus_proxy.errors import InvalidRequest
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.edits import Splice
from corvus_proxy.wire.tenancy.fields import TABLE, Deed

DIGITS = 32
"""Hexadecimal digits of a name: 128 bits."""
REMEMBERED_MAX = 256
"""Bytes; what longer texts become is reckoned each time."""

_EDITED = {
    dialect: tuple(
        (*one.member.partition(".")[::2], one.deed)
        for one in rows
        if one.deed in (Deed.NULLED, Deed.OWN)
    )
    for dialect, rows in TABLE.items()
}
"""Member, member of that or nothing, and which of the two edits."""
_EDITED_NAMES = {dialect: frozenset(row[0] for row in rows) for dialect, rows in _EDITED.items()}
_TEXT = msgspec.json.Decoder(str)


class Tenant(NamedTuple):
    """Whose names they are: the pepper of this installation, and the wallet."""

    pepper: bytes
    wallet: str

    def name(self, member: str, text: bytes) -> bytes:
        """What is sent for `text` under `member`, ASCII."""
        named = _remembered if len(text) <= REMEMBERED_MAX else _named
        return named(self.pepper, self.wallet, member, text)


def _named(pepper: bytes, wallet: str, member: str, text: bytes) -> bytes:
    said = b"tenant\0%b\0%b\0%b" % (wallet.encode(), member.encode(), text)
    return hmac.digest(pepper, said, hashlib.sha256).hex()[:DIGITS].encode()


_remembered = lru_cache(maxsize=4096)(_named)
"""A client gives one name again and again."""


def splices(dialect: Dialect, body: bytes, scan: BodyScan, tenant: Tenant) -> list[Splice]:
    """The edits of `body` that the table names: nulls and names. The rest is done where the body is
    read (`wire.request`).

    Raises InvalidRequest for a name that stands twice in its object.
    """
    found: list[Splice] = []
    if _EDITED_NAMES[dialect].isdisjoint(scan.members):
        return found
    for outer, inner, deed in _EDITED[dialect]:
        place = scan.members.get(outer)
        if place is not None and inner:
            place = _inside(body, place, outer, inner)
        if place is None:
            continue
        _, start, end = place
        value = body[start:end]
        if value == b"null":
            continue
        new = b"null"
        if deed is Deed.OWN:
            member = f"{outer}.{inner}" if inner else outer
            new = b'"%b"' % tenant.name(member, _text(value))
        found.append(Splice(start, end, new))
    return found


def _inside(
    body: bytes, place: tuple[int, int, int], outer: str, inner: str
) -> tuple[int, int, int] | None:
    """Where a member of one of the body's objects lies."""
    if body[place[1] : place[1] + 1] != b"{":
        return None
    members, duplicates = scan_members(body, place[1], place[2])
    if inner in duplicates:
        raise InvalidRequest(f"The member {outer}.{inner} stands more than once.", param=outer)
    return members.get(inner)


def _text(value: bytes) -> bytes:
    """What is hashed: a string's text however it is escaped, of anything else its JSON."""
    try:
        return b"s" + _TEXT.decode(value).encode()
    except (msgspec.DecodeError, UnicodeError):
        return b"j" + value
