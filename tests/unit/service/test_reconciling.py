"""Books beside reports: alarms, sentences, days that are due, what is kept."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from corvus_proxy import clock
from corvus_proxy.books import entries
from corvus_proxy.books import reconciling as kept
from corvus_proxy.books.db import Books
from corvus_proxy.books.reconciling import Number, Row, Sums
from corvus_proxy.catalogue import book
from corvus_proxy.dev.providers import Served, serve
from corvus_proxy.errors import ConfigurationError
from corvus_proxy.ledger.writer import Writer
from corvus_proxy.money.event import Event, Meta, encode_meta
from corvus_proxy.money.pricing import charge
from corvus_proxy.money.usage import Usage
from corvus_proxy.service import keys, reconciling
from corvus_proxy.service.reconciling import comparing, telling
from corvus_proxy.service.stores import Stores
from corvus_proxy.settings import Credential, PricingSettings, ReconcileSettings, Settings, Upstream
from corvus_proxy.till import reply
from corvus_proxy.till.client import Till
from corvus_proxy.upstream.reports import Billed, Counted, Report

DAY = date(2026, 11, 25)
NOW = datetime(2026, 11, 26, 9, tzinfo=UTC)
USD = 10**9
LIMITS = ReconcileSettings()
MODEL = "gpt-5.5"
BOOK = book.load(PricingSettings(), DAY)


@pytest.mark.parametrize(
    ("ours", "reported", "alarm"),
    [
        (1000 * USD, 1005 * USD, False),  # both limits exactly
        (1000 * USD, 1005 * USD + 6 * USD, True),
        (1000 * USD, 994 * USD, True),
        (10_000 * USD, 10_040 * USD, False),  # 40 USD are 0.4 %
        (10 * USD, 14 * USD, False),  # 40 % are 4 USD
        (0, 6 * USD, True),
        (6 * USD, 0, True),
        (0, 0, False),
    ],
)
def test_an_alarm_passes_both_limits(ours: int, reported: int, alarm: bool) -> None:
    assert comparing.is_alarm(ours, reported, LIMITS) is alarm


def test_a_model_is_known_by_its_name_without_a_date() -> None:
    known = ["gpt-5.5", "gpt-5.5-mini", "claude-x-20250929"]
    names = {
        "gpt-5.5": "gpt-5.5",
        "gpt-5.5-2026-03-01": "gpt-5.5",
        "gpt-5.5-mini-2026-03-01": "gpt-5.5-mini",
        "claude-x": "claude-x-20250929",
        "claude-x-latest": "claude-x-20250929",
        "o9-20270101": "o9",
        "": "",
    }
    assert {name: comparing.canonical(name, known) for name in names} == names


def rates(usage_class: str) -> int:
    """The vendor's price, in picos."""
    model = BOOK.find(MODEL)
    assert model is not None
    return int(getattr(model.official.base, usage_class))


def day(ours: dict[tuple[int, str], int], told: dict[tuple[int, str], int], **more: Any) -> Row:
    """A day of one model, tokens by hour and class, billed as counted."""
    percent = more.pop("percent", {})
    numbers = [Number("o1", at, MODEL, name, number) for (at, name), number in ours.items()]
    counts = [Counted(at, MODEL, name, number) for (at, name), number in told.items()]
    sums: dict[str, int] = {}
    for one in counts:
        sums[one.usage_class] = sums.get(one.usage_class, 0) + one.number
    bills = more.pop("bills", None) or [
        Billed(
            f"{MODEL}-2026-03-01", name, number * rates(name) * percent.get(name, 100) // 100_000
        )
        for name, number in sums.items()
    ]
    cost = sum(number * rates(name) // 1000 for (_, name), number in ours.items())
    report = Report(tuple(counts), tuple(bills))
    known = Sums("o1", 9, 2 * cost, cost, more.pop("uncounted", 0))
    return comparing.row(DAY, "openai", known, numbers, report, limits=LIMITS, asked_at=NOW)


def told(row: Row) -> str:
    return "\n".join(telling.told(row, BOOK, 1_000_000))


def test_a_day_that_agrees_is_told_in_one_sentence() -> None:
    same = {(3, "input"): 1_000_000, (4, "output"): 1000}
    found = day(same, same)
    assert found.state == "agrees"
    text = told(found)
    assert "they agree to the nano-dollar" in text
    assert "\n" not in text


def test_a_drift_names_model_class_and_hours() -> None:
    """Two million tokens of output too many in two hours of the afternoon."""
    ours = {(at, "output"): 100_000 for at in range(24)} | {(9, "input"): 500}
    theirs = {**ours, (14, "output"): 1_100_000, (15, "output"): 1_100_000, (20, "output"): 110_000}
    found = day(ours, theirs)
    assert found.state == "differs"
    worth = 2_010_000 * rates("output") // 1000
    text = told(found)
    assert "OpenAI counts 2,010,000 more output tokens of gpt-5.5 than the books (83.7 %)" in text
    assert f"worth {worth / USD:.2f}" in text
    assert "nearly all between 14:00 and 16:00 UTC" in text
    assert "input" not in text.replace("gpt", "")
    assert "per million" not in text


def test_a_price_that_differs_is_told_where_tokens_agree() -> None:
    same = {(3, "input"): 4_000_000, (4, "output"): 4_000_000}
    found = day(same, same, percent={"output": 150})
    assert found.state == "differs"
    text = told(found)
    assert "counts" not in text
    assert "its own 4,000,000 output tokens of gpt-5.5 at" in text
    assert "input tokens" not in text


def test_a_bill_without_models_says_nothing_about_prices() -> None:
    same = {(3, "input"): 4_000_000}
    found = day(same, same, bills=[Billed("", "other", 30 * USD)])
    assert found.state == "differs"
    assert "per million" not in told(found)


def test_what_is_billed_and_not_counted_is_told() -> None:
    same = {(3, "input"): 1_000_000}
    bills = [
        Billed(MODEL, "input", 1_000_000 * rates("input") // 1000),
        Billed(MODEL, "searches", 40 * USD),
    ]
    assert "40.00 USD for searches of gpt-5.5, of which it counts none" in told(
        day(same, same, bills=bills, uncounted=3 * USD)
    )


def test_other_hours_and_uncounted_requests_are_told() -> None:
    text = told(day({(3, "input"): 10}, {(4, "input"): 10}, uncounted=3 * USD))
    assert "lie in other hours" in text
    assert "3.00 USD of the books' cost" in text


def test_days_are_asked_about_once_they_have_settled() -> None:
    six = datetime(2026, 11, 26, 6, tzinfo=UTC)
    assert reconciling.days_of(six, lag_h=6, days=3) == [date(2026, 11, at) for at in (23, 24, 25)]
    early = six - timedelta(seconds=1)
    assert reconciling.days_of(early, lag_h=6, days=1) == [date(2026, 11, 24)]


@pytest.mark.parametrize(
    ("state", "asked_at", "due"),
    [
        (None, None, True),
        ("agrees", NOW, False),
        ("agrees", datetime(2026, 11, 26, 5, tzinfo=UTC), True),  # by hand, before the lag
        ("differs", NOW - timedelta(hours=3), False),
        ("differs", NOW - timedelta(hours=5), True),
        ("unanswered", NOW - timedelta(hours=5), True),
    ],
)
def test_a_day_is_asked_about_again_while_it_differs(
    state: str | None, asked_at: datetime | None, due: bool
) -> None:
    known = []
    if state is not None and asked_at is not None:
        known = [day({}, {})._replace(state=state, asked_at=asked_at)]
    settings = Settings(reconcile=ReconcileSettings(again_h=4))
    now = NOW if state != "agrees" else NOW + timedelta(hours=1)
    assert reconciling._is_due(known, DAY, "o1", now, settings) is due


async def request(stores: Stores, made: Any, number: int, *, model: str, usage: Usage) -> None:
    """One request that was held, settled and will be booked."""
    from corvus_proxy import secret

    parsed = secret.parse(made.secret)
    assert parsed is not None
    digest = secret.digest(parsed.text, stores.pepper)
    ask = reply.Ask(f"r{number}", made.wallet, digest, 1000, 1000, 0, "pv", model, 1)
    granted = await stores.till.reserve(ask, owner="o", lag_limit=1000)
    assert isinstance(granted, reply.Granted)
    row = BOOK.find(model)
    assert row is not None
    counts = {name: number for name, number in usage.counts().items() if number}
    meta = Meta(
        usage=counts, source="upstream", credential="o1", upstream_model=row.upstream_model,
        cost_nanos=charge(usage, row.official_price), ended_ms=clock.wall_ms(), dialect="chat",
    )  # fmt: skip
    asked = reply.Charge(
        f"r{number}", made.wallet, made.key_id, model, 500, "completed", encode_meta(meta)
    )
    assert isinstance(await stores.till.settle(asked), reply.Settled)


@pytest.mark.anyio
async def test_a_closed_day_is_asked_compared_kept_and_explained(
    valkey_till: Till, books: Books, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the worker, once; a provider that counts double is an alarm with its sentence."""
    stores = Stores(valkey_till, books, b"p" * 32)
    made = await keys.create(stores, credit_nanos=10 * USD)
    usage = Usage(input=700, cache_read=300, output=900_000)
    for number in range(4):
        await request(stores, made, number, model=MODEL, usage=usage)
    while await Writer(stores.till, stores.books, keep=10).tick(block_ms=1):
        pass
    (tmp_path / "admin").write_text("admin-k")
    today = clock.utc_now().date()
    async with serve() as (providers, url):
        credential = Credential(name="o1", admin_secret_file=str(tmp_path / "admin"))
        other = Credential(name="o2")
        settings = Settings(
            upstream=[Upstream("openai", url, credential=[credential, other])],
            reconcile=ReconcileSettings(days=9),  # more than alarms are shown for
        )
        with pytest.raises(ValueError, match="not over yet"):
            await reconciling.run(stores, settings, today)
        for _ in range(4):
            providers.served.append(
                Served(
                    clock.wall_ms(), "openai", _digest("k"), "r", "chat", MODEL,
                    usage_made={
                        "prompt_tokens": 1000, "completion_tokens": 900_000,
                        "total_tokens": 901_000, "prompt_tokens_details": {"cached_tokens": 300},
                    },
                )
            )  # fmt: skip
        later = datetime.combine(today + timedelta(days=1), time(7), UTC)
        monkeypatch.setattr(clock, "utc_now", lambda: later)
        rows = await reconciling.tick(stores, settings)
        by_day = {row.day: row for row in rows}
        assert [by_day[today - timedelta(days=back)].requests for back in (0, 1, 2)] == [4, 0, 0]
        assert by_day[today].state == "agrees"
        assert by_day[today].reported_nanos == by_day[today].cost_nanos > 100 * USD
        assert by_day[today].charged_nanos == 2000
        assert await reconciling.tick(stores, settings) == []
        providers.reports.ask({"double_every": 2})
        (wrong,) = await reconciling.run(stores, settings, today, family="openai")
        assert wrong.state == "differs"
        (explained,) = await reconciling.explain(stores, settings, today)
        assert "1,800,000 more output tokens of gpt-5.5" in " ".join(explained.sentences)
        providers.reports.ask({"status": 503})
        later += timedelta(hours=5)
        assert [row.state for row in await reconciling.tick(stores, settings)] == ["unanswered"]
        assert REGISTRY.get_sample_value("corvus_reconcile_unanswered") == 1
        assert next(row.state for row in await reconciling.status(stores, days=2)) == "unanswered"
    async with books.connection() as connection:
        gone = "insert into retention (kind, cut, gone) values ('request', $1, 1)"
        await connection.execute(gone, datetime.combine(today, time(), UTC))
    with pytest.raises(ValueError, match="lost their detail"):
        await reconciling.run(stores, settings, today - timedelta(days=1))
    with pytest.raises(LookupError, match="no admin key for o2"):
        await reconciling.run(stores, settings, today, name="o2")
    same = Credential(name="o3", admin_secret_file=str(tmp_path / "admin"))
    twice = Settings(upstream=[Upstream("openai", url, credential=[credential, same])])
    with pytest.raises(ConfigurationError, match="one admin key and one"):
        await reconciling.run(stores, twice, today)


@pytest.mark.anyio
async def test_a_request_that_was_charged_late_counts_once(books: Books) -> None:
    """Both its events name what there was when its lease ended. Booked hours after midnight, it is
    of its day all the same."""
    today = clock.utc_now().date()
    start_ms = int(datetime.combine(today, time(), UTC).timestamp()) * 1000

    def event(kind: Any, name: str, seq: int, nanos: int, output: int) -> Event:
        meta = Meta(
            usage={"output": output}, source="upstream", credential="o1", upstream_model=MODEL,
            cost_nanos=output, ended_ms=start_ms - 1000 - seq,
        )  # fmt: skip
        return Event(
            partition=7, epoch=1, seq=seq, type=kind, id=name, wallet="w_1", key="key_1",
            slug=MODEL, delta_nanos=-nanos, balance_nanos=0, wallet_seq=seq, actual_nanos=nanos,
            shortfall_nanos=0, outcome="completed", meta=encode_meta(meta),
        )  # fmt: skip

    async with books.transaction() as connection:
        made = [event("X", "r1", 1, 30, 100), event("L", "r1:L", 2, 70, 400)]
        await entries.insert(connection, [*made, event("X", "r2", 3, 5, 50)])
        sums, numbers = await kept.of_day(connection, today - timedelta(days=1), ["o1"])
    assert sums == {"o1": Sums("o1", 2, 105, 450, 0)}
    assert [one.number for one in numbers] == [450]


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[-8:]
