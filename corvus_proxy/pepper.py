"""The pepper, and those beside it: what all that the stores hold of secret texts depends on."""

import hashlib
from collections.abc import Sequence


class Pepper(bytes):
    """The current pepper; new digests and seals are made under it alone. It is what `bytes` are
    everywhere, so that only what checks or opens something asks for the others."""

    others: tuple[bytes, ...]
    """Peppers whose digests and seals hold, too: those before it, and the next one on its way."""

    def __new__(cls, current: bytes, others: Sequence[bytes] = ()) -> "Pepper":
        made = super().__new__(cls, current)
        made.others = tuple(others)
        return made


def all_of(pepper: bytes) -> tuple[bytes, ...]:
    """The pepper and the others, the current one first."""
    return (bytes(pepper), *(pepper.others if isinstance(pepper, Pepper) else ()))


def id_of(pepper: bytes) -> str:
    """A name that tells peppers apart and says nothing about them: 12 hexadecimal digits."""
    root = hashlib.blake2b(pepper, digest_size=64).digest()
    return hashlib.blake2b(b"pepper id", key=root, digest_size=6).hexdigest()
