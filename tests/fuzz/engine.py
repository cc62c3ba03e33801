"""The mutator: seeded, steered by outcomes that were not seen before.

Without coverage of the compiled parts (for that, see `__main__`) what an input was taken for is the
measure: one with a new outcome joins the pool that others are made of. The same seed makes the same
inputs.
"""

import random
import signal
import time
import traceback
from collections.abc import Hashable, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from tests.fuzz.targets import CORPUS, Target

HANG_S = 2
"""An input that takes longer is a hang; none is large."""
BYTES_MAX = 8192
POOL_MAX = 4000


class Found(NamedTuple):
    """An input that broke its target."""

    data: bytes
    why: str


class Report(NamedTuple):
    """What a run has seen."""

    inputs: int
    outcomes: int
    crashes: list[Found]
    hangs: list[Found]


class _Hang(BaseException):
    """Raised inside an input that takes too long."""


def corpus(name: str) -> list[bytes]:
    """The inputs that a target ships with, in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def mutated(draw: random.Random, pool: list[bytes], words: tuple[bytes, ...]) -> bytes:
    """Another input, from one or two of the pool."""
    data = bytearray(draw.choice(pool))
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5, 8))):
        at = draw.randint(0, len(data))
        match draw.randrange(8):
            case 0:
                data[at : at + draw.randint(1, 16)] = b""
            case 1:
                data[at:at] = draw.choice(words)
            case 2:
                data[at : at + draw.randint(1, 12)] = draw.choice(words)
            case 3 if at < len(data):
                data[at] = draw.randrange(256)
            case 4 if at < len(data):
                data[at] ^= 1 << draw.randrange(8)
            case 5:
                other = draw.choice(pool)
                start = draw.randint(0, len(other))
                data[at:at] = other[start : start + draw.randint(1, 64)]
            case 6:
                piece = data[at : at + draw.randint(1, 32)]
                data[at:at] = piece * draw.choice((1, 1, 2, 30))
            case _:
                del data[at:]
                data += draw.choice(pool)[at:]
    return bytes(data[:BYTES_MAX])


def run(name: str, target: Target, *, seed: int, seconds: float = 0, inputs_max: int = 0) -> Report:
    """The corpus, then mutations of it, until the time or the number of inputs is used up. It has
    to be the main thread: a hang is ended by a signal."""
    draw, pool = random.Random(f"{name} {seed}"), corpus(name)
    seen: set[Hashable] = set()
    crashes: dict[str, Found] = {}
    hangs: list[Found] = []
    count, ends_s = 0, time.monotonic() + seconds
    old = signal.signal(signal.SIGALRM, _end)
    try:
        for data in _inputs(draw, pool, target.words):
            if (inputs_max and count >= inputs_max) or (seconds and time.monotonic() > ends_s):
                break
            count += 1
            signal.setitimer(signal.ITIMER_REAL, HANG_S)
            try:
                outcome = target.check(data)
            except _Hang:
                hangs.append(Found(data, "hang"))
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                why = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
                crashes.setdefault(
                    f"{type(error)} {where.lineno} {str(error)[:60]}", Found(data, why)
                )
            else:
                if outcome not in seen and len(pool) < POOL_MAX:
                    pool.append(data)
                seen.add(outcome)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, old)
    return Report(count, len(seen), list(crashes.values()), hangs)


def _inputs(draw: random.Random, pool: list[bytes], words: tuple[bytes, ...]) -> Iterator[bytes]:
    yield from list(pool)
    while True:
        yield mutated(draw, pool, words)


def _end(number: int, frame: FrameType | None) -> None:
    raise _Hang


def keep(name: str, found: Found, folder: Path) -> Path:
    """Writes an input that broke its target to where the next run has it first."""
    import hashlib

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"found-{name}-{hashlib.sha256(found.data).hexdigest()[:12]}"
    path.write_bytes(found.data)
    return path
