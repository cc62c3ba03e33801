"""Names that a customer gives, made its own: keyed by the wallet, so that caches still hit.

The same text of the same wallet is always sent as the same 32 hexadecimal digits, whichever key or
process it comes by; of two wallets the same text is two. From the digits nobody learns the text or
the wallet. They fit every provider's limit, so that too long a name is served, too.
"""

import hashlib
import hmac
from typing import NamedTuple

import msgspec

from corvus_proxy._fast import BodyScan, scan_members
from corvus_proxy.errors import InvalidRequest
from corvus_proxy.wire.dialect import Dialect
from corvus_proxy.wire.edits import Splice
from corvus_proxy.wire.tenancy.fields import TABLE, Deed

DIGITS = 32
"""Hexadecimal digits of a name: 128 bits."""

_TEXT = msgspec.json.Decoder(str)


class Tenant(NamedTuple):
    """Whose names they are: the pepper of this installation, and the wallet."""

    pepper: bytes
    wallet: str

    def name(self, member: str, text: bytes) -> bytes:
        """What is sent for `text` under `member`, ASCII."""
        said = b"tenant\0%b\0%b\0%b" % (self.wallet.encode(), member.encode(), text)
        return hmac.digest(self.pepper, said, hashlib.sha256).hex()[:DIGITS].encode()


def splices(dialect: Dialect, body: bytes, scan: BodyScan, tenant: Tenant) -> list[Splice]:
    """The edits of `body` that the table names: nulls and names. The rest is done where the body is
    read (`wire.request`).

    Raises InvalidRequest for a name that stands twice in its object.
    """
    found: list[Splice] = []
    for member, deed, _, _ in TABLE[dialect]:
        if deed not in (Deed.NULLED, Deed.OWN):
            continue
        place = _place(body, scan, member)
        if place is None:
            continue
        _, start, end = place
        value = body[start:end]
        if value == b"null":
            continue
        new = b'"%b"' % tenant.name(member, _text(value)) if deed is Deed.OWN else b"null"
        found.append(Splice(start, end, new))
    return found


def _place(body: bytes, scan: BodyScan, member: str) -> tuple[int, int, int] | None:
    """Where a member of the body, or of one of its objects, lies."""
    outer, dot, inner = member.partition(".")
    place = scan.members.get(outer)
    if not dot or place is None:
        return place
    if body[place[1] : place[1] + 1] != b"{":
        return None
    members, duplicates = scan_members(body, place[1], place[2])
    if inner in duplicates:
        raise InvalidRequest(f"The member {member} stands more than once.", param=outer)
    return members.get(inner)


def _text(value: bytes) -> bytes:
    """What is hashed: a string's text however it is escaped, of anything else its JSON."""
    try:
        return b"s" + _TEXT.decode(value).encode()
    except (msgspec.DecodeError, UnicodeError):
        return b"j" + value
