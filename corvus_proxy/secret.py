"""Text of a customer's secret and recovery code: shape, checksum, keyed hash, mask. No I/O.

    sk-corvus_ + 12 base-62 characters of the wallet id + 28 of secret + 6 of checksum

The wallet's partition follows from the text alone, so one script call admits a request. The
checksum catches typing errors before any server is asked.

    rc- + 7 groups of 4: 26 characters of code, 2 of checksum

A recovery code is written down and typed: no letters that look like digits, upper or lower case and
the hyphens do not matter.
"""

import hashlib
import hmac
import zlib
from typing import NamedTuple

from corvus_proxy import clock
from corvus_proxy import pepper as peppers

PREFIX = "sk-corvus_"
_WALLET, _SECRET, _CHECK = 12, 28, 6
LENGTH = len(PREFIX) + _WALLET + _SECRET + _CHECK
"""Characters of a secret, the prefix with them."""
_ALPHABET = frozenset(clock.BASE62)
CODE_PREFIX = "rc-"
_CODE, _CODE_CHECK, _GROUP = 26, 2, 4
_CODE_PRIME = 1021
_CODE_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LOOKALIKES = str.maketrans("oil", "011", "- \t\r\n")


class Secret(NamedTuple):
    """A secret whose checksum holds; whether anyone knows it is Redis's to say."""

    text: str
    wallet: str
    """`w_` and the same 12 characters that stand in the text."""


def new_wallet_id() -> str:
    """A wallet id never used before."""
    return "w_" + clock.random_text(_WALLET)


def new_key_id() -> str:
    """A key id never used before: stable while the secret is rotated."""
    return "key_" + clock.random_text(12)


def new_secret(wallet: str) -> str:
    """A new secret text for `wallet` (166 random bits)."""
    body = PREFIX + wallet.removeprefix("w_") + clock.random_text(_SECRET)
    return body + _checksum(body)


def parse(text: str) -> Secret | None:
    """The secret in `text` (white space around it is ignored), or None if it has not our shape."""
    text = text.strip()
    if len(text) != LENGTH or not text.startswith(PREFIX):
        return None
    if not _ALPHABET.issuperset(text[len(PREFIX) :]) or _checksum(text[:-_CHECK]) != text[-_CHECK:]:
        return None
    return Secret(text, "w_" + text[len(PREFIX) : len(PREFIX) + _WALLET])


def strange_characters(text: str) -> int:
    """How many characters behind the prefix no secret can have."""
    return sum(character not in _ALPHABET for character in text[len(PREFIX) :])


def is_one_off(text: str) -> bool:
    """Whether a text of the right shape and a wrong checksum is a secret with one character
    changed; the checksum tells that for certain."""
    return any(
        parse(text[:at] + other + text[at + 1 :])
        for at in range(len(PREFIX), len(text))
        for other in clock.BASE62
    )


def digest(text: str, pepper: bytes) -> str:
    """HMAC-SHA-256 of the secret under the pepper, lower-case hex: all that is ever stored."""
    return hmac.new(pepper, text.encode(), hashlib.sha256).hexdigest()


def proof(text: str, pepper: bytes) -> str:
    """What a secret is known by when it is shown: its digest, or all that it may be stored as,
    the current pepper's first, joined by commas, where there are other peppers."""
    return ",".join(digest(text, one) for one in peppers.all_of(pepper))


def mask(text: str) -> str:
    """A form fit for people's eyes: prefix, first four and last four characters."""
    return f"{text[: len(PREFIX) + 4]}…{text[-4:]}" if len(text) > len(PREFIX) + 8 else "…"


def new_code() -> str:
    """A new recovery code (130 random bits), as it is shown."""
    number = int(clock.random_hex(17), 16)
    body = "".join(_CODE_ALPHABET[number >> 5 * at & 31] for at in range(_CODE))
    return _code_text(body)


def parse_code(text: str) -> str | None:
    """A typed recovery code in the one form that is digested, or None if it is not one."""
    plain = text.lower().translate(_LOOKALIKES)
    if len(plain) == len("rc") + _CODE + _CODE_CHECK:
        plain = plain.removeprefix("rc")
    if len(plain) != _CODE + _CODE_CHECK or not set(_CODE_ALPHABET).issuperset(plain):
        return None
    whole = _code_text(plain[:_CODE])
    return whole if whole.replace("-", "").endswith(plain) else None


def _code_text(body: str) -> str:
    # Modulo a prime: every single wrong character and every two that changed places are noticed.
    value = 0
    for character in body:
        value = (value * 32 + _CODE_ALPHABET.index(character)) % _CODE_PRIME
    whole = body + _CODE_ALPHABET[value & 31] + _CODE_ALPHABET[value >> 5 & 31]
    groups = [whole[at : at + _GROUP] for at in range(0, len(whole), _GROUP)]
    return CODE_PREFIX + "-".join(groups)


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    digits = []
    for _ in range(_CHECK):
        value, digit = divmod(value, 62)
        digits.append(clock.BASE62[digit])
    return "".join(reversed(digits))
