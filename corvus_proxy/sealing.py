"""What the database may hold of a secret text: a seal, which this installation alone can open, or
a digest, which nobody can.

Both depend on the pepper, which is kept outside the database: a dump of it opens nothing.
"""

import base64
import contextlib
import hashlib
import hmac

from cryptography.fernet import Fernet, InvalidToken

from corvus_proxy import clock
from corvus_proxy import pepper as peppers
from corvus_proxy.errors import CorvusError

TOKEN_CHARACTERS = 24


class SealBroken(CorvusError):
    """A sealed text does not fit this pepper and purpose, or was altered."""


def seal(pepper: bytes, purpose: str, text: str) -> str:
    """`text` sealed for one purpose; what is sealed for another does not open as this."""
    return _box(pepper, purpose).encrypt(text.encode()).decode()


def unseal(pepper: bytes, purpose: str, sealed: str) -> str:
    """The text inside a seal. Raises SealBroken."""
    for one in peppers.all_of(pepper):
        with contextlib.suppress(InvalidToken):
            return _box(one, purpose).decrypt(sealed.encode()).decode()
    raise SealBroken(f"a sealed {purpose} does not fit this pepper")


def token_digest(pepper: bytes, token: str) -> str:
    """HMAC-SHA-256 of a token under the pepper, lower-case hex: what it is found by."""
    return hmac.new(pepper, b"token:" + token.encode(), hashlib.sha256).hexdigest()


def token_proof(pepper: bytes, token: str) -> str:
    """What a token that is shown is looked for by: its digest, or those under all peppers, joined
    by commas, the current one's first."""
    return ",".join(token_digest(one, token) for one in peppers.all_of(pepper))


def new_token() -> str:
    """A new token of 24 base-62 characters (142 random bits)."""
    return clock.random_text(TOKEN_CHARACTERS)


def _box(pepper: bytes, purpose: str) -> Fernet:
    # A keyed BLAKE2 takes 64 bytes of key at most; a longer pepper counts whole all the same.
    root = hashlib.blake2b(pepper, digest_size=64).digest()
    key = hashlib.blake2b(purpose.encode(), key=root, digest_size=32).digest()
    return Fernet(base64.urlsafe_b64encode(key))
