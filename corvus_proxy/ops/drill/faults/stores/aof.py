"""Redis's append-only file, as a drill damages it: where its writes begin and end, which digits of
an amount stand where.

The file is the commands themselves, each of our scripts as one transaction (MULTI … EXEC).
"""

from pathlib import Path
from typing import NamedTuple

from corvus_proxy.errors import CorvusError
from corvus_proxy.ops.drill import resp

FOLDER = "appendonlydir"


class Span(NamedTuple):
    """A piece of the file: `data[begin:end]`."""

    begin: int
    end: int


class Command(NamedTuple):
    """One command of the file."""

    words: list[bytes]
    span: Span


def newest(redis_folder: Path) -> Path:
    """The file that is written to. Raises CorvusError when there is none."""
    folder = redis_folder / FOLDER
    found = {}
    for line in (folder / "appendonly.aof.manifest").read_text().splitlines():
        words = line.split()
        fields = dict(zip(words[::2], words[1::2], strict=True))
        if fields["type"] == "i":
            found[int(fields["seq"])] = folder / fields["file"]
    if not found:
        raise CorvusError(f"{folder} has no append-only file")
    return found[max(found)]


def commands(data: bytes, at: int = 0) -> list[Command]:
    """Every whole command from `at` on, which must be where one begins."""
    found = []
    while (one := resp.read(data, at)) is not None:
        found.append(Command(one.value, Span(at, one.end)))
        at = one.end
    return found


def transactions(data: bytes, at: int = 0) -> list[Span]:
    """Every whole write from `at` on: a transaction, or a command outside of one."""
    found, begin = [], -1
    for one in commands(data, at):
        name = one.words[0].upper()
        if name == b"MULTI":
            begin = one.span.begin
        elif name == b"EXEC":
            found.append(Span(begin, one.span.end))
            begin = -1
        elif begin < 0:
            found.append(one.span)
    return found


def word(data: bytes, command: Command, number: int) -> Span:
    """Where a word of a command stands."""
    at = data.index(b"\r\n", command.span.begin) + 2
    for one in command.words[:number]:
        at = data.index(b"\r\n", at) + 2 + len(one) + 2
    at = data.index(b"\r\n", at) + 2
    return Span(at, at + len(command.words[number]))


def field(data: bytes, command: Command, name: bytes) -> Span:
    """Where a field's value stands in an HSET or XADD. Raises ValueError."""
    first = 2 if command.words[0].upper() == b"HSET" else 3
    return word(data, command, first + 1 + 2 * command.words[first::2].index(name))
