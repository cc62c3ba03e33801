"""A pepper is changed while everything runs: no key, link or seal ends, and the old one may go."""

import os
from pathlib import Path

import pytest

from corvus_proxy import pepper as peppers
from corvus_proxy import sealing, secret
from corvus_proxy.books.db import Books
from corvus_proxy.books.people import alarms
from corvus_proxy.gateway import admission
from corvus_proxy.pepper import Pepper
from corvus_proxy.service import keys, owner, sessions
from corvus_proxy.service import peppers as service
from corvus_proxy.service.operating import operators
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import load
from corvus_proxy.till.client import Till
from corvus_proxy.till.holds import Hold, Holds
from corvus_proxy.till.journal import Node, is_foreign, read_lines
from corvus_proxy.till.recovery import finishing
from corvus_proxy.till.recovery.replay import Replay
from corvus_proxy.till.reply import Ask, Charge, Look
from corvus_proxy.till.telling import rehashing

pytestmark = pytest.mark.anyio
OLD, NEW = b"o" * 32, b"n" * 32
BOTH = {"before": Pepper(OLD, [NEW]), "after": Pepper(NEW, [OLD])}
"""What processes have while they are started again one by one, first with the one, then with the
other."""


def stores_with(till: Till, books: Books, pepper: bytes) -> Stores:
    return Stores(till, Books(books._url, pepper_id=peppers.id_of(pepper)), pepper)


async def opens(till: Till, text: str, pepper: bytes) -> bool:
    """Whether a gateway with this pepper knows the secret."""
    admission._known.cache_clear()  # a process has one pepper for all its life
    who = admission.caller([(b"x-api-key", text.encode())], pepper)
    return isinstance(await till.look(who.wallet, who.digest), Look)


async def use(till: Till, made: keys.Created, pepper: bytes, folder: Path) -> None:
    """A request as a gateway makes it, and what that gateway tells."""
    journal = Node(folder, pepper).journal("p1", sync_ms=5)
    holds = Holds(till, journal, lease_s=60, lag_limit=10**6, wait_s=0, waiters_max=1)
    proof = secret.proof(made.secret, pepper)
    hold = await holds.reserve(Ask(folder.name, made.wallet, proof, 10, 10, 0, "pv", "slug", 1))
    assert isinstance(hold, Hold)
    await hold.settle(0, "completed", b"{}", wait_s=5)
    await holds.used.tell(till, peppers.id_of(pepper))
    await holds.stop()


async def test_keys_of_either_pepper_work_all_the_time_and_the_old_one_may_go(
    valkey_till: Till, books: Books, tmp_path: Path
) -> None:
    """Before, between and after; a key's next use takes it to the new pepper, in Redis and in the
    books, and then nothing needs the old one."""
    till = valkey_till
    old = stores_with(till, books, OLD)
    before, after = (stores_with(till, books, pepper) for pepper in BOTH.values())
    made = [await keys.create(one, credit_nanos=1000, label="", reason="t") for one in
            (old, before, after)]  # fmt: skip
    for pepper in BOTH.values():
        assert [await opens(till, one.secret, pepper) for one in made] == [True] * 3
    assert [await opens(till, one.secret, OLD) for one in made] == [True, True, False]
    ids = peppers.id_of(OLD), peppers.id_of(NEW)
    assert (await service.status(after)).secrets == {ids[0]: 2, ids[1]: 1}

    await use(till, made[0], BOTH["before"], tmp_path / "one")
    assert await service.tick(after) == 0  # told by a process that is yet to be started again
    await use(till, made[0], BOTH["after"], tmp_path / "two")
    assert await service.tick(after) == 1
    assert (await service.status(after)).secrets == {ids[0]: 1, ids[1]: 2}
    assert [await opens(till, one.secret, NEW) for one in made] == [True, False, True]
    assert await opens(till, made[0].secret, BOTH["before"])
    assert not await rehashing.told(till)
    for one in (old, before, after):
        await one.books.close()


async def test_links_codes_and_seals_of_the_old_pepper_hold(
    valkey_till: Till, books: Books
) -> None:
    """A mail's link and a recovery code are found; a seal opens, and is made anew on demand."""
    old, after = (stores_with(valkey_till, books, one) for one in (OLD, BOTH["after"]))
    made = await keys.create(old, credit_nanos=0, label="", reason="t")
    async with old.books.transaction() as connection:
        link = await sessions.make_link(connection, OLD, "a@example.com")
        code = secret.new_code()
        await owner.set_code(connection, OLD, made.wallet, code)
        row = sealing.seal(OLD, service.ALARM, "whsec")
        await alarms.insert_default(connection, made.wallet, "al_1")
        await connection.execute("update alarm set webhook_secret_sealed = $1", row)
    assert await sessions.link_choices(after, link) == []  # nobody has that address: it is known
    assert await owner.owner_of(after, code) == made.wallet
    ids = peppers.id_of(OLD), peppers.id_of(NEW)
    assert (await service.status(after)).seals == {ids[0]: 1}
    assert await service.reseal(after, reason="test", actor="cli:ada") == 1
    found = await service.status(after)
    assert (found.seals, found.codes) == ({ids[1]: 1}, 1)
    assert await service.reseal(after, reason="test", actor="cli:ada") == 0
    await old.books.close()
    await after.books.close()


async def test_operators_of_the_old_pepper_log_in_and_stay(valkey_till: Till, books: Books) -> None:
    """The console's door knows a token made before the change, and its log-in goes on."""
    old, after = (stores_with(valkey_till, books, one) for one in (OLD, BOTH["after"]))
    token = await operators.add(old, "ada", actor="cli:root")
    found = await operators.log_in(after, token)
    assert found is not None
    assert await operators.still(after, *found) == found
    assert await operators.log_in(old, token) == found
    await old.books.close()
    await after.books.close()


async def test_a_journal_of_the_old_pepper_is_read(tmp_path: Path) -> None:
    """A process that died before the change: its charges are found after it, by its own key."""
    journal = Node(tmp_path, OLD).journal("p1", sync_ms=5)
    assert journal.opened(Ask("r1", "w_1", "d", 10, 10, 0, "pv", "slug", 1))
    path = journal._segments[0].path
    assert "r1" in [line.rid for line in read_lines(path, Node(tmp_path, BOTH["after"]).key)]
    assert not list(read_lines(path, Node(tmp_path, NEW).key))
    assert not is_foreign(path, Node(tmp_path, BOTH["after"]).key)


async def test_a_journal_of_a_pepper_that_is_gone_is_kept(
    valkey_till: Till, tmp_path: Path
) -> None:
    """Whoever cannot read it does not take it for an empty one: it stays, and says so."""
    journal = Node(tmp_path, OLD).journal("p1", sync_ms=5)
    journal.settling(Charge("r1", "w_1", "key_1", "slug", 700, "completed", b"{}"))
    path = journal._segments[0].path
    await journal._sync()
    os.close(journal._lock)
    with pytest.raises(ValueError, match="signed under no pepper that is configured"):
        await finishing.finish(valkey_till, tmp_path, NEW, timeout_s=1)
    node = Node(tmp_path, NEW)
    replay = Replay(node, valkey_till)
    assert not await replay.look()
    replay.prune({})
    assert (replay.done, path.exists()) == ({}, True)
    torn = tmp_path / "p2.000001.journal"
    torn.write_bytes(path.read_bytes()[:-1])
    assert not is_foreign(torn, node.key)


def test_peppers_come_from_files(tmp_path: Path) -> None:
    """The current one and the others, each at least 32 characters."""
    for name, text in (("new", NEW), ("old", OLD), ("short", b"x")):
        (tmp_path / name).write_bytes(text + b"\n")
    config = tmp_path / "c.toml"
    config.write_text(
        f'[secrets]\npepper_file = "{tmp_path / "new"}"\n'
        f'other_pepper_files = ["{tmp_path / "old"}"]\n'
    )
    assert peppers.all_of(load(config, {}).pepper()) == (NEW, OLD)
    assert peppers.id_of(NEW) != peppers.id_of(OLD)
    config.write_text(config.read_text().replace("/old", "/short"))
    with pytest.raises(Exception, match="other_pepper_files"):
        load(config, {}).pepper()
