"""A real server beside the oracle of its scripts: every call is answered by both.

`World` knows how to ask over a raw socket, many calls in one write, how to compare the whole state,
and what may happen to a server: killed, flushed, a lagging replica promoted, a key of a wrong type.
The books are kept here as the product keeps them, from the events alone, and are what a partition
is rebuilt from.
"""

import json
import os
import pickle
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import hiredis

from corvus_proxy.ops import embedded
from corvus_proxy.till.scripts import NAMES, SCRIPTS
from tests.oracle.till_oracle import Partition, Reply

OPEN_KEYS = ("m", "h", "d", "dz", "c", "l")
HEADER = {
    name: dict(re.findall(r"^-- (KEYS|ARGV) +(.*(?:\n--        .*)*)", SCRIPTS[name].text, re.M))
    for name in NAMES
}
KEYS = {name: tuple(head["KEYS"].split()) for name, head in HEADER.items()}
ARGUMENTS = {
    name: tuple(word for word in head["ARGV"].split() if word != "--")
    for name, head in HEADER.items()
}
OF_A_WALLET = {"look", "load", "extend", "settle", "expire"}
"""Scripts whose oracle has to be told the wallet: it stands in their KEYS alone."""


class Call(NamedTuple):
    """One call of a script in a partition; `args` begin with the epoch, except of `init`."""

    part: int
    name: str
    args: tuple[str, ...]
    wallet: str = ""
    wallets: tuple[str, ...] = ()

    def keys(self) -> list[str]:
        tag = f"{{p{self.part:02d}}}"
        named = [f"w:{self.wallet}" if name == "w" else name for name in KEYS[self.name]]
        return [f"{tag}:{name}" for name in (*named, *(f"w:{one}" for one in self.wallets))]

    def words(self) -> tuple[str, ...]:
        keys = self.keys()
        return ("EVALSHA", SCRIPTS[self.name].sha, str(len(keys)), *keys, *self.args)

    def changed(self, argument: str, value: str) -> "Call":
        """The same call with another value of one argument of the script's ARGV line."""
        at = ARGUMENTS[self.name].index(argument)
        return self._replace(args=(*self.args[:at], value, *self.args[at + 1 :]))


class Wire:
    """Blocking RESP: many commands in one write, their answers as text or exceptions."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._reader = hiredis.Reader(encoding="utf-8")

    def send(self, commands: Iterable[tuple[str, ...]]) -> None:
        self._socket.sendall(b"".join(hiredis.pack_command(words) for words in commands))

    def read(self, count: int) -> list[Any]:
        """So many answers; fewer where the server is gone."""
        found: list[Any] = []
        while len(found) < count:
            answer = self._reader.gets()
            if answer is not False:
                found.append(answer)
                continue
            try:
                some = self._socket.recv(1 << 20)
            except ConnectionError:
                return found
            if not some:
                return found
            self._reader.feed(some)
        return found

    def ask(self, *commands: tuple[str, ...]) -> list[Any]:
        self.send(commands)
        found = self.read(len(commands))
        assert len(found) == len(commands), "the server went away"
        return found

    def close(self) -> None:
        self._socket.close()


class Server:
    """A server of its own in a folder, of the given program (None: the embedded one)."""

    def __init__(self, folder: Path, binary: str | None) -> None:
        self._binary, self._folder, self._count = binary, folder, 0
        self.redis = self._new()

    def _new(self) -> embedded.Redis:
        self._count += 1
        name = self._folder / f"server{self._count}"
        server = embedded.Redis(name, name.with_suffix(".log"), port=embedded.free_port())
        self._start(server)
        return server

    def _start(self, server: embedded.Redis) -> None:
        before = os.environ.pop("CORVUS_REDIS_BIN", None)
        if self._binary:
            os.environ["CORVUS_REDIS_BIN"] = self._binary
        try:
            server.start()
        finally:
            os.environ.pop("CORVUS_REDIS_BIN", None)
            if before is not None:
                os.environ["CORVUS_REDIS_BIN"] = before
        server.wait()

    def kill(self) -> None:
        os.kill(self.redis.child.pid, signal.SIGKILL)
        self.redis.child.wait()

    def restart(self) -> None:
        self._start(self.redis)

    def follower(self) -> embedded.Redis:
        """Another server that copies this one from now on."""
        server = self._new()
        wire = Wire(server.port)
        wire.ask(("REPLICAOF", "127.0.0.1", str(self.redis.port)))
        wire.close()
        return server


def replication(wire: Wire) -> dict[str, str]:
    """INFO replication."""
    text: str = wire.ask(("INFO", "replication"))[0]
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


@dataclass
class Account:
    """A wallet in the books: the fold of its events."""

    balance: int = 0
    seq: int = 0
    spent: int = 0
    key_spent: Counter[str] = field(default_factory=Counter)


@dataclass
class Books:
    """What the events of one partition say, read from the server in their order."""

    epoch: int = 1
    seq: int = 0
    accounts: dict[str, Account] = field(default_factory=dict)
    rows: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Wallet → version, status and keys as last written: the books have rows first."""
    moves: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def take(self, entry: str, fields: dict[str, str]) -> None:
        """Books one event; the chain has to be whole (T3, T4)."""
        epoch, seq = map(int, entry.split("-"))
        account = self.accounts.setdefault(fields["w"], Account())
        moved = int(fields["d"])
        assert str(moved) == fields["d"], fields["d"]
        assert (seq, epoch >= self.epoch) == (self.seq + 1, True), (entry, self.seq)
        assert int(fields["ws"]) == account.seq + 1
        assert int(fields["b"]) == account.balance + moved
        once = f"{fields['t'] if fields['t'] in 'CDL' else 'S'} {fields['id']}"
        assert once not in self.seen, f"{once} is charged twice"
        self.seen.add(once)
        self.epoch, self.seq = epoch, seq
        account.balance += moved
        account.seq += 1
        if fields["t"] in "CD":
            assert abs(moved) + int(fields["s"]) == int(fields["a"])
            self.moves[fields["id"]] = f"{fields['t']}|{abs(moved)}|{fields['s']}|{seq}"
        else:
            assert int(fields["a"]) == int(fields["s"]) - moved
            account.spent -= moved
            account.key_spent[fields["k"]] -= moved
            text = f"{fields['t']}|{-moved}|{fields['s']}|{seq}|{epoch}"
            self.ended[fields["id"]] = text
        figures = (account.spent, account.key_spent[fields["k"]])
        assert (int(fields["sw"]), int(fields["sk"])) == figures, (entry, fields, figures)
        for known in (self.moves, self.ended):
            if len(known) > 300:
                del known[next(iter(known))]


class World:
    """A server, its oracle, and the books."""

    def __init__(self, server: Server, parts: Sequence[int]) -> None:
        self.server = server
        self.parts = tuple(parts)
        self.oracle = {part: Partition(now_ms=int(time.time() * 1000)) for part in parts}
        self.books = {part: Books() for part in parts}
        self.seen: Counter[tuple[str, str]] = Counter()
        self.happened: Counter[str] = Counter()
        self.operations = 0
        self.drift_nanos = 0
        self.connect()

    def connect(self) -> None:
        """To the server as it is now: its identity is learnt, its scripts are loaded."""
        self.wire = Wire(self.server.redis.port)
        self.replid = replication(self.wire)["master_replid"]
        self.load_scripts()

    def load_scripts(self) -> None:
        shas = self.wire.ask(*(("SCRIPT", "LOAD", SCRIPTS[name].text) for name in NAMES))
        assert shas == [SCRIPTS[name].sha for name in NAMES]

    # -- calls ----------------------------------------------------------------------------------

    def expect(self, call: Call) -> Reply:
        """What the oracle answers; its state moves on."""
        more: dict[str, Any] = {}
        if call.name in OF_A_WALLET:
            more = {"wallet": call.wallet} if call.wallet else {"wallets": list(call.wallets)}
        answer: Reply = getattr(self.oracle[call.part], call.name)(self.replid, *call.args, **more)
        if call.name == "key" and answer[0] == "OK":
            self.books[call.part].rows[call.wallet] = (call.args[2], call.args[3], call.args[4])
        return answer

    def agree(self, call: Call, answer: Any, expected: Reply) -> None:
        """One reply: the same as the oracle's; counted by script and kind."""
        assert not isinstance(answer, Exception), (_brief(call), answer)
        assert _timeless(answer) == _timeless(expected), (_brief(call), answer, expected)
        self.seen[call.name, _kind(call, expected)] += 1
        self.operations += 1

    def call(self, *calls: Call) -> list[Reply]:
        """Calls in one write, in their order."""
        expected = [self.expect(call) for call in calls]
        self.told(calls, expected)
        return expected

    def told(self, calls: Sequence[Call], expected: Sequence[Reply]) -> None:
        """Calls of which the oracle has told the answers."""
        answers = self.wire.ask(*(call.words() for call in calls))
        for call, answer, reply in zip(calls, answers, expected, strict=True):
            self.agree(call, answer, reply)

    # -- the whole state ------------------------------------------------------------------------

    def read(self, part: int) -> dict[str, Any]:
        """Every key of a partition as the server has it, as `Partition.render`."""
        tag = f"{{p{part:02d}}}"
        wallets = list(self.oracle[part].wallets)
        found = self.wire.ask(
            *(("HGETALL", f"{tag}:{name}") for name in ("m", "h", "d", "c")),
            ("ZRANGE", f"{tag}:dz", "0", "-1", "WITHSCORES"),
            ("XRANGE", f"{tag}:l", "-", "+"),
            *(("HGETALL", f"{tag}:w:{name}") for name in wallets),
        )
        for answer in found:
            assert not isinstance(answer, Exception), answer
        whole: dict[str, Any] = {
            name: _pairs(row) for name, row in zip(("m", "h", "d", "c"), found[:4], strict=True)
        }
        whole["dz"] = {name: int(score) for name, score in _pairs(found[4]).items()}
        whole["l"] = {entry: _pairs(fields) for entry, fields in found[5]}
        for name, row in zip(wallets, found[6:], strict=True):
            whole[f"w:{name}"] = _pairs(row)
        return whole

    def compare(self) -> None:
        """All of the server against the oracle, and its balances against the books."""
        names: set[str] = set(self.wire.ask(("KEYS", "*"))[0])
        for part in self.parts:
            oracle, have = self.oracle[part], self.read(part)
            oracle.check()
            want = oracle.render()
            for name, value in want.items():
                assert have[name] == value, (part, name, _difference(have[name], value))
            names -= {f"{{p{part:02d}}}:{name}" for name in want}
            self.drain(part)
            for name, account in self.books[part].accounts.items():
                if f"w:{name}" in have and oracle.state == "OPEN":
                    self.drift_nanos += abs(int(have[f"w:{name}"]["bal"]) - account.balance)
        assert names == set()
        assert self.drift_nanos == 0

    def drain(self, part: int) -> None:
        """Books what the stream has beyond the books; they are never ahead of it."""
        books = self.books[part]
        rows = self.wire.ask(("XRANGE", f"{{p{part:02d}}}:l", f"({books.epoch}-{books.seq}", "+"))
        for entry, fields in rows[0]:
            books.take(entry, _pairs(fields))

    # -- what may happen ------------------------------------------------------------------------

    def wrong_type(self, call: Call, at: int) -> None:
        """With a text in place of its key number `at` a call fails and changes nothing, or it
        does not need that key and answers as ever."""
        name, aside = call.keys()[at], f"{{p{call.part:02d}}}:aside"
        # One write, so one sync of the disk; RENAME fails where there is nothing to put aside.
        answer = self.wire.ask(
            ("RENAME", name, aside), ("SET", name, "x"), call.words(), ("DEL", name),
            ("RENAME", aside, name),
        )[2]  # fmt: skip
        self.happened["wrong types"] += 1
        if isinstance(answer, Exception):
            assert re.search("WRONGTYPE|wrong kind", str(answer)), (_brief(call), answer)
            self.happened["wrong types refused"] += 1
        else:
            self.agree(call, answer, self.expect(call))
        have, want = self.read(call.part), self.oracle[call.part].render()
        for key, value in want.items():
            assert have[key] == value, (_brief(call), name, key, _difference(have[key], value))

    def forget_scripts(self, calls: Sequence[Call], expected: Sequence[Reply]) -> None:
        """SCRIPT FLUSH: every call is answered NOSCRIPT, and nothing ran."""
        assert self.wire.ask(("SCRIPT", "FLUSH")) == ["OK"]
        for answer in self.wire.ask(*(call.words() for call in calls)):
            assert str(answer).startswith("NOSCRIPT"), answer
        self.load_scripts()
        self.told(calls, expected)
        self.happened["script flushes"] += 1

    def kill(
        self, calls: Sequence[Call], before: bytes, expected: Sequence[Reply], n: int, wait_s: float
    ) -> int:
        """Kills the server while `calls` run, `wait_s` after `n` answers, and starts it again.

        `before` is the oracle (`snapshot`) without them. What is on disk has to be the state after
        a prefix of the calls, no shorter than what was answered; the oracle is put there. Returns
        how many calls were answered.
        """
        self.wire.send(call.words() for call in calls)
        answers = self.wire.read(n)
        time.sleep(wait_s)  # it may be killed before, while and after it syncs its log
        self.server.kill()
        answers += self.wire.read(len(calls) - n)
        self.wire.close()
        for call, answer, told in zip(calls, answers, expected, strict=False):
            self.agree(call, answer, told)
        self.server.restart()
        replid, done = self.replid, len(answers)
        self.connect()
        self.restore(before)
        now, self.replid = self.replid, replid
        for call in calls[:done]:
            self.expect(call)
        have = {part: self.read(part) for part in self.parts}
        differ = {part for part in self.parts if have[part] != self.oracle[part].render()}
        for call in calls[done:]:
            if not differ:
                break
            self.happened["calls done whose reply was lost"] += 1
            self.expect(call)
            alike = have[call.part] == self.oracle[call.part].render()
            (differ.discard if alike else differ.add)(call.part)
        assert not differ, f"after a kill {differ} are no prefix of the calls"
        self.replid = now
        self.happened["kills"] += 1
        self.happened["replies lost"] += len(calls) - done
        return done

    def snapshot(self) -> bytes:
        return pickle.dumps(self.oracle)

    def restore(self, snapshot: bytes) -> None:
        self.oracle = pickle.loads(snapshot)

    def reopen(self, part: int) -> None:
        """The quick path: nothing is lost, so the partition is stamped anew; first in vain."""
        one = self.oracle[part]
        seen = (one.epoch, one.state, str(one.seq), one.stamp)
        wrong = Call(part, "open", (*seen[:2], str(one.seq + 1), one.stamp, self.replid, "OPEN"))
        other = Call(part, "open", (*seen, "0" * 40, "OPEN"))
        self.call(wrong, other, Call(part, "open", (*seen, self.replid, "OPEN")))
        assert one.state == "OPEN"

    def flush(self) -> None:
        """FLUSHALL: all that the server knew is gone, the scripts are not."""
        self.wire.ask(("FLUSHALL",))
        for part, one in self.oracle.items():
            self.oracle[part] = Partition(now_ms=one.now_ms)
        self.happened["flushes"] += 1

    def follow(self) -> embedded.Redis:
        """Attaches a replica and waits until it has everything. The first one changes the
        server's identity, which fences everybody until `reopen`."""
        self.wire.ask(("CONFIG", "SET", "repl-diskless-sync-delay", "0"))
        replica = self.server.follower()
        wire, deadline = Wire(replica.port), time.monotonic() + 30
        while True:
            ours, theirs = replication(self.wire), replication(wire)
            level = ours["master_repl_offset"] == theirs.get("slave_repl_offset")
            if theirs.get("master_link_status") == "up" and level:
                break
            assert time.monotonic() < deadline, theirs
            time.sleep(0.02)
        wire.close()
        if ours["master_replid"] != self.replid:
            self.replid = ours["master_replid"]
            for part in self.parts:
                self.reopen(part)
        return replica

    def detach(self, replica: embedded.Redis) -> bytes:
        """Stops copying when all is copied: what `promote` goes back to."""
        wire, deadline = Wire(replica.port), time.monotonic() + 30
        while (
            replication(wire)["slave_repl_offset"] != replication(self.wire)["master_repl_offset"]
        ):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert wire.ask(("REPLICAOF", "NO", "ONE")) == ["OK"]
        wire.close()
        return self.snapshot()

    def promote(self, replica: embedded.Redis, snapshot: bytes) -> None:
        """The server dies and `replica` takes its place, as it was when it was detached."""
        self.wire.close()
        self.server.kill()
        self.server.redis = replica
        self.restore(snapshot)
        self.connect()
        self.happened["promotions"] += 1


def _pairs(row: Sequence[str]) -> dict[str, str]:
    return dict(zip(row[::2], row[1::2], strict=True))


def _timeless(answer: Sequence[str]) -> tuple[str, ...]:
    """A reply without the milliseconds to wait, which run while the oracle's clock stands."""
    if answer[:2] not in (["LIMITED", "cap"], ("LIMITED", "cap")):
        return tuple(answer)
    assert (int(answer[2]) > 0) == (answer[6] != "0"), answer
    return (*answer[:2], *answer[3:])


def _kind(call: Call, answer: Reply) -> str:
    """A reply's word, with its reason or status where it has one."""
    more = {"DENIED": 1, "LIMITED": 1, "FINAL": 2, "OK": 2 if call.name == "look" else 0}.get(
        answer[0], 0
    )
    return f"{answer[0]} {answer[more]}".strip() if more else answer[0]


def _brief(call: Call) -> str:
    return str(call)[:600]


def _difference(have: dict[str, Any], want: dict[str, Any]) -> list[Any]:
    every = sorted(have.keys() | want.keys())
    return [(k, have.get(k), want.get(k)) for k in every if have.get(k) != want.get(k)][:5]


def load_rows(books: Books, wallets: Sequence[str]) -> str:
    """`rows` of the script `load`, as the books have these wallets."""
    rows = []
    for name in wallets:
        account, (version, status, keys) = books.accounts.get(name, Account()), books.rows[name]
        rows.append(
            {
                "w": name,
                "b": str(account.balance),
                "ws": str(account.seq),
                "sp": str(account.spent),
                "st": status,
                "v": version,
                "k": [key | {"sp": str(account.key_spent[key["id"]])} for key in json.loads(keys)],
            }
        )
    return json.dumps(rows)
