"""Files encrypted by a key file: ChaCha20-Poly1305 over frames, so that none is held in memory.

A file begins with a mark and a random salt; its key follows from the key file and that salt. Frames
are numbered, and the last one says so: none can be left out, moved, or cut off unnoticed.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from corvus_proxy import clock
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.settings.secrets import read_file

MARK = b"corvus backup 1\n"
FRAME_BYTES = 1 << 20
_SALT, _TAG, KEY_BYTES_MIN = 16, 16, 32


def read_key(path: Path) -> bytes:
    """A key file's text. Raises ConfigurationError where it is missing or too short to be one."""
    text = read_file(path, "backup.key_file").strip()
    if len(text) < KEY_BYTES_MIN:
        raise ConfigurationError(
            f"backup.key_file: {path} needs at least {KEY_BYTES_MIN} random characters"
        )
    return text


class Sealer:
    """Encrypts one file, piece by piece."""

    def __init__(self, key: bytes) -> None:
        salt = bytes.fromhex(clock.random_hex(_SALT))
        self._box = _box(key, salt)
        self._number = 0
        self._rest = bytearray()
        self.head = MARK + salt
        """What the file begins with."""

    def add(self, piece: bytes) -> bytes:
        """The frames that a piece has completed."""
        self._rest += piece
        out = b""
        while len(self._rest) > FRAME_BYTES:  # the last frame, even a full one, is `end`'s
            out += self._frame(bytes(self._rest[:FRAME_BYTES]), last=False)
            del self._rest[:FRAME_BYTES]
        return out

    def end(self) -> bytes:
        """The last frame."""
        return self._frame(bytes(self._rest), last=True)

    def _frame(self, text: bytes, *, last: bool) -> bytes:
        self._number += 1
        return self._box.encrypt(_nonce(self._number, last=last), text, None)


def opened(source: BinaryIO, key: bytes, name: str) -> Iterator[bytes]:
    """The text of an encrypted file, frame by frame. Raises ConfigurationError where the key does
    not fit, or the file is not whole."""
    head = source.read(len(MARK) + _SALT)
    if not head.startswith(MARK) or len(head) < len(MARK) + _SALT:
        raise ConfigurationError(f"{name} is not a file that this program encrypted")
    box = _box(key, head[len(MARK) :])
    number, frame = 1, source.read(FRAME_BYTES + _TAG)
    while True:
        after = source.read(FRAME_BYTES + _TAG)
        try:
            yield box.decrypt(_nonce(number, last=not after), frame, None)
        except InvalidTag:
            raise ConfigurationError(
                f"{name} does not open: it is not whole, or the key file is another"
            ) from None
        if not after:
            return
        number, frame = number + 1, after


def _box(key: bytes, salt: bytes) -> ChaCha20Poly1305:
    root = hashlib.blake2b(key, digest_size=64).digest()
    return ChaCha20Poly1305(hashlib.blake2b(salt, key=root, digest_size=32).digest())


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")
