"""Keys under a main key, and whose the wallet is: a thief with the key against the code's
holder."""

from datetime import timedelta

import pytest

from corvus_proxy import clock, secret
from corvus_proxy.books import wallets
from corvus_proxy.books.db import Books
from corvus_proxy.books.people import alarms
from corvus_proxy.service import keys, owner
from corvus_proxy.service.stores import Stores
from corvus_proxy.till.client import Till
from corvus_proxy.till.reply import Denied, Look

pytestmark = pytest.mark.anyio
PEPPER = b"p" * 32


@pytest.fixture
async def stores(valkey_till: Till, books: Books) -> Stores:
    return Stores(valkey_till, books, PEPPER)


async def look(stores: Stores, wallet: str, text: str) -> Look | Denied:
    found = await stores.till.look(wallet, secret.digest(text, PEPPER))
    assert isinstance(found, Look | Denied)
    return found


async def status(stores: Stores, made: keys.Created, text: str = "") -> str:
    """What Redis says of a secret: the key's status, or why it opens none."""
    found = await look(stores, made.wallet, text or made.secret)
    return found.status if isinstance(found, Look) else found.reason


async def sub(stores: Stores, made: keys.Created, **more: object) -> keys.Created:
    more = {"label": "ci", "cap_nanos": 10**9, "period": "day", "actor": made.key_id} | more
    return await keys.create_sub(stores, made.wallet, **more)  # type: ignore[arg-type]


async def add_access(stores: Stores, made: keys.Created) -> None:
    """A log-in, a read-only token, a link under way and an address, as a thief may have made."""
    async with stores.books.transaction() as connection:
        for text in (
            "insert into session (session_id, wallet, key_id, kind) values ('s', $1, $2, 'key')",
            "insert into read_token (digest, token_id, wallet, key_id, masked)"
            " values ('d', 't', $1, $2, 'm')",
            "insert into link (token_digest, kind, wallet, key_id, expires_at)"
            " values ('l', 'login', $1, $2, now() + interval '1 day')",
        ):
            await connection.execute(text, made.wallet, made.key_id)
        await connection.execute(
            "update wallet set email = 'thief@example.org' where wallet = $1", made.wallet
        )


async def access(stores: Stores, wallet: str) -> tuple[int, int, int, str]:
    """Open sessions, tokens and links of a wallet, and its address."""
    async with stores.books.connection() as connection:
        return tuple(
            await connection.fetchrow(
                """
                select (select count(*) from session where wallet = $1 and ended_at is null),
                       (select count(*) from read_token where wallet = $1 and revoked_at is null),
                       (select count(*) from link where wallet = $1 and used_at is null),
                       (select email from wallet where wallet = $1)""",
                wallet,
            )
        )


async def test_a_thief_with_the_key_cannot_lock_out_the_holder_of_the_code(
    stores: Stores,
) -> None:
    """They change the secret, make sub-keys, freeze, try for the code; then they are out."""
    made = await keys.create(stores, credit_nanos=5_000_000_007)
    mine = await sub(stores, made)
    thief = await keys.rotate(stores, made.key_id, grace_s=0, actor=made.key_id)
    assert await status(stores, made) == "expired"
    spare = await keys.rotate(stores, made.key_id, grace_s=3600, actor=made.key_id)
    theirs = await sub(stores, made, label="theirs", cap_nanos=None)
    await add_access(stores, made)
    for guess in (thief, secret.new_code(), "", "rc-", made.recovery_code[:-1] + "!"):
        code = await owner.change_code(stores, made.wallet, guess, actor=made.key_id)
        assert code is None
        assert await owner.unfreeze(stores, made.wallet, guess) is None
        assert await owner.recover(stores, guess) is None
    with pytest.raises(keys.NotAllowed):
        await keys.revoke(stores, made.key_id, actor=made.key_id)
    await owner.freeze(stores, made.key_id, actor=made.key_id)
    assert await status(stores, theirs) == "frozen"

    typed = made.recovery_code.upper().replace("-", " ").replace("0", "o")
    found = await owner.recover(stores, typed)
    assert found is not None
    assert (found.key_id, found.recovery_code, found.still_frozen_by) == (made.key_id, "", "")
    assert set(found.frozen) == {mine.key_id, theirs.key_id}
    assert found.sessions == 1
    now = await look(stores, made.wallet, found.secret)
    assert isinstance(now, Look)
    assert (now.status, now.balance_nanos) == ("active", 5_000_000_007)
    for dead in (made.secret, thief, spare):
        assert await status(stores, made, dead) == "expired"
    assert await status(stores, mine) == await status(stores, theirs) == "frozen"
    assert await access(stores, made.wallet) == (0, 0, 0, "")
    # The owner looks at each of them.
    await keys.set_frozen(stores, mine.key_id, frozen=False, actor=made.key_id)
    await keys.revoke(stores, theirs.key_id, actor=made.key_id)
    assert await status(stores, mine) == "active"
    assert await status(stores, theirs) == "revoked"
    with pytest.raises(keys.NotAllowed, match="revoked"):
        await keys.set_frozen(stores, theirs.key_id, frozen=False)


@pytest.mark.parametrize("keep_email", [True, False])
async def test_a_recovery_takes_away_where_alarms_call(stores: Stores, keep_email: bool) -> None:
    """A thief may have set them; another wallet's stay, and so does the mail of an alarm."""
    made, other = [await keys.create(stores, credit_nanos=0) for _ in range(2)]
    async with stores.books.transaction() as connection:
        for at, (name, wallet, email) in enumerate(
            [
                ("both", made.wallet, True),
                ("hook", made.wallet, False),
                ("else", other.wallet, False),
            ]
        ):
            row = alarms.AlarmRow(
                name, wallet, "balance", at + 1, email, "https://thief.example", "sealed", False
            )
            await alarms.insert(connection, row)
            await alarms.insert_notice(connection, f"n-{name}", row, "{}")
    await owner.recover_wallet(stores, made.wallet, actor="code", keep_email=keep_email)
    async with stores.books.transaction() as connection:
        left = [
            (one.alarm_id, one.webhook_url, one.webhook_secret_sealed)
            for wallet in (made.wallet, other.wallet)
            for one in await alarms.alarms(connection, wallet)
        ]
        queued = await alarms.due(connection, limit=9, lease_s=1)
    assert left == [("both", "", ""), ("else", "https://thief.example", "sealed")]
    assert [one.notice_id for one in queued] == ["n-else"]


async def test_the_code_is_changed_by_the_code(stores: Stores) -> None:
    made, other = [await keys.create(stores, credit_nanos=0) for _ in range(2)]
    change = owner.change_code
    assert await change(stores, made.wallet, other.recovery_code, actor="x") is None
    code = await change(stores, made.wallet, made.recovery_code, actor=made.key_id)
    assert code is not None
    assert await owner.owner_of(stores, made.recovery_code) is None
    assert await owner.owner_of(stores, code) == made.wallet
    assert await owner.recover(stores, made.recovery_code) is None
    async with stores.books.connection() as connection:
        rows = await connection.fetch("select * from wallet, audit")
    assert code.replace("-", "") not in repr(rows).replace("-", "")


async def test_who_was_proven_by_mail_keeps_the_mailbox_and_may_have_a_code(
    stores: Stores,
) -> None:
    made = await keys.create(stores, credit_nanos=0)
    await add_access(stores, made)
    found = await owner.recover_wallet(
        stores, made.wallet, actor="mail", fresh_code=True, keep_email=True
    )
    assert found is not None
    assert await access(stores, made.wallet) == (0, 0, 0, "thief@example.org")
    assert await owner.owner_of(stores, made.recovery_code) is None
    assert await owner.owner_of(stores, found.recovery_code) == made.wallet


@pytest.mark.parametrize("by", ["operator", "chargeback", ""])
async def test_recovery_does_not_open_what_others_have_stopped(stores: Stores, by: str) -> None:
    """An empty word is a wallet whose events are in quarantine."""
    made = await keys.create(stores, credit_nanos=0)
    async with stores.books.transaction() as connection:
        await wallets.set_status(connection, made.wallet, 0, frozen_by=by)
    await owner.freeze(stores, made.key_id, actor=made.key_id)
    still = await owner.unfreeze(stores, made.wallet, made.recovery_code)
    assert still == (by or "operator")
    found = await owner.recover(stores, made.recovery_code)
    assert found is not None
    assert found.still_frozen_by == (by or "operator")
    assert await status(stores, made, found.secret) == "frozen"


async def test_an_operator_s_freeze_of_the_key_stays(stores: Stores) -> None:
    made = await keys.create(stores, credit_nanos=0)
    await keys.set_frozen(stores, made.key_id, frozen=True)
    assert await owner.unfreeze(stores, made.wallet, made.recovery_code) == "operator"
    assert await status(stores, made) == "frozen"
    await keys.set_frozen(stores, made.key_id, frozen=False)
    assert await status(stores, made) == "active"


async def test_a_frozen_owner_can_still_stop_and_nothing_else(stores: Stores) -> None:
    """Whoever holds the key of a frozen wallet makes no keys and changes no secret."""
    made = await keys.create(stores, credit_nanos=0)
    one, two = await sub(stores, made), await sub(stores, made, label="two")
    await owner.freeze(stores, made.key_id, actor=made.key_id)
    for act in (
        sub(stores, made),
        keys.rotate(stores, made.key_id, actor=made.key_id),
        keys.change_sub(stores, made.wallet, one.key_id, cap_nanos=None, actor=made.key_id),
        keys.set_frozen(stores, one.key_id, frozen=False, actor=made.key_id),
    ):
        with pytest.raises(keys.NotAllowed, match="frozen"):
            await act
    await owner.freeze(stores, one.key_id, actor=made.key_id)
    await keys.revoke(stores, two.key_id, actor=made.key_id)
    assert await owner.unfreeze(stores, made.wallet, made.recovery_code) == ""
    assert await status(stores, made) == "active"
    assert await status(stores, one) == "frozen"
    assert await status(stores, two) == "revoked"


async def test_a_sub_key_looks_after_itself_alone(stores: Stores) -> None:
    made = await keys.create(stores, credit_nanos=0)
    one, two = await sub(stores, made), await sub(stores, made, label="two")
    for act in (
        keys.create_sub(stores, made.wallet, label="", cap_nanos=None, actor=one.key_id),
        keys.change_sub(stores, made.wallet, one.key_id, cap_nanos=None, actor=one.key_id),
        keys.rotate(stores, two.key_id, actor=one.key_id),
        keys.rotate(stores, made.key_id, actor=one.key_id),
        keys.revoke(stores, one.key_id, actor=one.key_id),
        keys.set_frozen(stores, two.key_id, frozen=True, actor=one.key_id),
        owner.freeze(stores, made.key_id, actor=one.key_id),
    ):
        with pytest.raises(keys.NotAllowed):
            await act
    text = await keys.rotate(stores, one.key_id, grace_s=0, actor=one.key_id)
    assert await status(stores, one) == "expired"
    await owner.freeze(stores, one.key_id, actor=one.key_id)
    assert await status(stores, one, text) == "frozen"
    with pytest.raises(keys.NotAllowed):
        await keys.set_frozen(stores, one.key_id, frozen=False, actor=one.key_id)
    assert await status(stores, made) == "active"


async def test_another_wallet_s_keys_are_unknown(stores: Stores) -> None:
    made, other = [await keys.create(stores, credit_nanos=0) for _ in range(2)]
    one = await sub(stores, made)
    with pytest.raises(keys.NotAllowed):
        await keys.change_sub(stores, other.wallet, one.key_id, label="x", actor=other.key_id)
    with pytest.raises(keys.NoSuchKey):
        await keys.change_sub(stores, other.wallet, one.key_id, label="x", actor="cli")
    with pytest.raises(keys.NoSuchKey):
        await keys.revoke(stores, "key_nobody", actor="cli")
    with pytest.raises(keys.NoSuchKey):
        await keys.create_sub(stores, "w_nobody", label="", cap_nanos=None, actor="cli")


async def test_keys_are_listed_and_changed(stores: Stores) -> None:
    made = await keys.create(stores, credit_nanos=0, label="all")
    soon = clock.wall_ms() + 60_000
    one = await sub(stores, made, label=" ci ", expires_ms=soon, period="week")
    main, key = await keys.list_of(stores, made.wallet)
    assert (main.key_id, main.main, main.cap_nanos, main.resets_at) == (
        made.key_id, True, None, None)  # fmt: skip
    assert (key.label, key.main, key.status, key.cap_nanos, key.period) == (
        "ci", False, "active", 10**9, "week")  # fmt: skip
    assert key.masked == secret.mask(one.secret)
    assert key.expires_ms == soon
    assert key.resets_at is not None
    assert timedelta(0) < key.resets_at - clock.utc_now() <= timedelta(days=7)
    change = keys.change_sub
    await change(stores, made.wallet, one.key_id, cap_nanos=None, actor=made.key_id)
    await change(stores, made.wallet, one.key_id, label="new", expires_ms=1, actor="cli")
    _, key = await keys.list_of(stores, made.wallet)
    assert (key.label, key.status, key.cap_nanos, key.period, key.resets_at) == (
        "new", "expired", None, "week", None)  # fmt: skip
    await keys.revoke(stores, one.key_id, actor=made.key_id)
    _, key = await keys.list_of(stores, made.wallet)
    assert key.status == "revoked"
    assert key.revoked_at is not None
    with pytest.raises(keys.NoSuchKey):
        await keys.list_of(stores, "w_nobody")


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("label", {"label": "x" * 65}), ("label", {"label": "a\x1b[2J"}),
        ("cap", {"cap_nanos": -1}), ("cap", {"cap_nanos": 10**15 + 1}),
        ("period", {"period": "year"}), ("expires", {"expires_ms": 1}),
        ("expires", {"expires_ms": -1}), ("expires", {"expires_ms": 1 << 53}),
    ],
)  # fmt: skip
async def test_no_key_has_such_a_limit(stores: Stores, field: str, more: dict[str, object]) -> None:
    made = await keys.create(stores, credit_nanos=0)
    with pytest.raises(keys.BadLimit) as caught:
        await sub(stores, made, **more)
    assert caught.value.field == field
    assert len(await keys.list_of(stores, made.wallet)) == 1


async def test_sub_keys_are_bounded(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    from corvus_proxy.service.keys import subs

    monkeypatch.setattr(subs, "SUB_KEYS_MAX", 2)
    monkeypatch.setattr(subs, "SUB_KEYS_EVER_MAX", 3)
    made = await keys.create(stores, credit_nanos=0)
    first = await sub(stores, made)
    await sub(stores, made)
    with pytest.raises(keys.NotAllowed, match="at most"):
        await sub(stores, made)
    await keys.revoke(stores, first.key_id, actor=made.key_id)
    await sub(stores, made)
    with pytest.raises(keys.NotAllowed, match="at most"):
        await sub(stores, made)


def test_a_recovery_code_is_typed_as_people_type() -> None:
    code = secret.new_code()
    assert len({secret.new_code() for _ in range(100)}) == 100
    assert len(code) == len("rc-") + 28 + 6
    for typed in (
        code, f"  {code}\n", code.upper(), code.replace("-", ""), code[3:],
        code[3:].replace("-", ""), code.replace("-", " "), code.replace("1", "I"),
        code.replace("1", "l").replace("0", "O"),
    ):  # fmt: skip
        assert secret.parse_code(typed) == code
    for at in range(3, len(code)):
        if code[at] != "-":
            wrong = code[:at] + ("x" if code[at] != "x" else "y") + code[at + 1 :]
            assert secret.parse_code(wrong) is None
        if code[at - 1] != code[at] and "-" not in code[at - 1 : at + 1]:
            wrong = code[: at - 1] + code[at] + code[at - 1] + code[at + 1 :]
            assert secret.parse_code(wrong) is None
    for wrong in ("", "rc-", code[:-1], code + "0", "é" * 28, code.replace("-", "_")):
        assert secret.parse_code(wrong) is None
