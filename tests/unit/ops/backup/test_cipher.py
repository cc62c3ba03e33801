"""Encrypted files of a backup: whole and by the right key, or not at all."""

import io

import pytest

from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ops.backup import cipher

KEY = b"k" * 32


def sealed(text: bytes, *, piece: int = 700_001) -> bytes:
    sealer = cipher.Sealer(KEY)
    out = sealer.head
    for at in range(0, len(text), piece):
        out += sealer.add(text[at : at + piece])
    return out + sealer.end()


def read(file: bytes, key: bytes = KEY) -> bytes:
    return b"".join(cipher.opened(io.BytesIO(file), key, "books.dump"))


@pytest.mark.parametrize(
    "size", [0, 1, cipher.FRAME_BYTES - 1, cipher.FRAME_BYTES, cipher.FRAME_BYTES + 1, 2_500_000]
)
def test_what_was_sealed_opens(size: int) -> None:
    """Whatever its size is to that of a frame; nothing of it can be read in the file."""
    text = bytes(range(256)) * (size // 256 + 1)
    file = sealed(text[:size])
    assert read(file) == text[:size]
    assert text[:64] not in file
    assert file != sealed(text[:size])


def test_what_is_not_whole_does_not_open() -> None:
    """A byte changed, the end cut off at a frame or within, frames changed round, another key."""
    file = sealed(b"x" * (2 * cipher.FRAME_BYTES + 10))
    head, frame = len(cipher.MARK) + 16, cipher.FRAME_BYTES + 16
    broken = {
        "changed": file[:-1] + bytes([file[-1] ^ 1]),
        "cut at a frame": file[: head + 2 * frame],
        "cut within": file[: head + frame + 5],
        "longer": file + b"x",
        "changed round": file[:head]
        + file[head + frame : head + 2 * frame]
        + file[head : head + frame]
        + file[head + 2 * frame :],
        "no frame": file[:head],
    }
    for what, one in broken.items():
        with pytest.raises(ConfigurationError, match="not whole"):
            pytest.fail(f"{what}: {len(read(one))}")
    with pytest.raises(ConfigurationError, match="another"):
        read(file, b"l" * 32)
    with pytest.raises(ConfigurationError, match="not a file that this program encrypted"):
        read(b"PGDMP" + bytes(100))
