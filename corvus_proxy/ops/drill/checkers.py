"""C1 to C12: what must hold whatever broke. Each checker returns its violations as sentences.

They run when all is quiet, on the whole history; C1 and C3 on every prefix of it. None of them
uses the product's arithmetic: bills are recomputed here from the providers' own log, and what was
paid from the payment services'.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from corvus_proxy.dev.providers import Served
from corvus_proxy.money.event import CHARGEBACKS, Event, Meta, decode_meta
from corvus_proxy.money.pricing import Rates
from corvus_proxy.ops.drill.client import NO_END, Answer
from corvus_proxy.ops.drill.logs import Acked, Evidence, PaidRow

REFUSAL_S = 1.0
"""A refusal comes within this time; only one for money may wait for other holds to end."""
DEFINED = frozenset({200, 429, 502, 503, 504, 529})
FREE = frozenset(
    {"zero_completion", "upstream_refused", "upstream_error_before_first_byte", "gateway_fault"}
)
"""Ends for which nobody pays."""
INPUTS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "cache_write_other")
BY_HAND = frozenset({"", "grants", "adjustments"})
"""Counters of what the operator moves; all others are of orders."""
BELIEVED_MAX = 10**9
"""No answer has more tokens of anything."""
TOLD_MAX = 5
"""Violations of one kind that are written out; the rest is counted."""


class Bounds(NamedTuple):
    """What a fault allows beyond the rule."""

    statuses: frozenset[int] = frozenset()
    """Further statuses that are right answers to what was asked."""
    broken: bool = False
    """Connections may break: a gateway was killed, or the clients' network."""
    unheard: bool = False
    """Connections may end without a byte of an answer: a gateway does not listen for a while."""
    slow: bool = False
    """Refusals may be slow: the drill has stopped the gateway itself, or its network."""
    lost_max: int = 0
    """Acknowledged charges that may be lost (both disks were destroyed), to the customer's good."""
    recharged: bool = False
    """A rebuild may charge less than was acknowledged, where the money is gone meanwhile."""


STRICT = Bounds()
"""Nothing beyond the rule."""


def no_overdraft(found: Evidence) -> list[str]:
    """C1: no balance below zero after any event, and never more held than there is."""
    problems, balance, number = [], Counter[str](), Counter[str]()
    for event in sorted(found.events, key=lambda one: (one.wallet, one.wallet_seq)):
        wallet = event.wallet
        balance[wallet] += event.delta_nanos
        number[wallet] += 1
        if balance[wallet] < 0:
            problems.append(f"{wallet} stands at {balance[wallet]} after {event.id}")
        if balance[wallet] != event.balance_nanos:
            problems.append(
                f"{wallet}: {event.id} says {event.balance_nanos}, its events sum to"
                f" {balance[wallet]}"
            )
            balance[wallet] = event.balance_nanos
        if number[wallet] != event.wallet_seq:
            problems.append(f"{wallet}: event {event.wallet_seq} follows {number[wallet] - 1}")
            number[wallet] = event.wallet_seq
    for wallet, state in found.wallets.items():
        if not 0 <= state.held_nanos <= state.balance_nanos:
            problems.append(f"{wallet}: {state.held_nanos} held of {state.balance_nanos}")
    return problems


def books_balance(found: Evidence) -> list[str]:
    """C2: what was paid in is in wallets, revenue and the counters, to the nano."""
    problems = []
    sums: Counter[str] = Counter()
    for event in found.events:
        by_hand = event.type in "CD"
        sums[event.counter if by_hand else "charged"] += event.delta_nanos
        sums["owed" if by_hand else "short"] += event.shortfall_nanos
        sums["wallets"] += event.delta_nanos
    revenue = sum(total for name, total in found.accounts.items() if name.startswith("revenue:"))
    loss = sum(total for name, total in found.accounts.items() if name.startswith("loss:"))
    clearing = [name for name in found.accounts if name.startswith("clearing:")]
    for name, there, due in (
        ("grants", found.accounts.get("grants", 0), -sums["grants"]),
        ("adjustments", found.accounts.get("adjustments", 0), -sums["adjustments"]),
        ("revenue", revenue, sums["short"] - sums["charged"]),
        ("loss", loss, -sums["short"]),
        *((name, found.accounts.get(name, 0), 0) for name in (*clearing, CHARGEBACKS)),
        ("all accounts and wallets", sum(found.accounts.values()) + sums["wallets"], 0),
    ):
        if there != due:
            problems.append(f"{name}: {there} in the postings, {due} by the events")
    in_redis = sum(state.balance_nanos for state in found.wallets.values())
    if in_redis != sums["wallets"]:
        problems.append(f"Redis holds {in_redis} in all wallets, the events give {sums['wallets']}")
    return problems


def charged_once(found: Evidence) -> list[str]:
    """C3: each request ends once, is topped up at most once, and no answer is paid twice."""
    ends = Counter(event.id for event in found.events if event.type in "SX")
    tops = Counter(event.id for event in found.events if event.type == "L")
    problems = [f"{rid} was ended {times} times" for rid, times in ends.items() if times > 1]
    problems += [f"{rid} was charged {times} times" for rid, times in tops.items() if times > 1]
    tags = {one.request_id: one.tag for one in found.served if one.tag}
    paid: dict[str, set[str]] = {}
    for event in found.events:
        if event.type in "SXL" and event.actual_nanos:
            tag = tags.get(_meta(event).upstream_request_id)
            if tag:
                paid.setdefault(tag, set()).add(event.id.removesuffix(":L"))
    problems += [f"{tag} was paid as {sorted(rids)}" for tag, rids in paid.items() if len(rids) > 1]
    return problems


def acked_kept(found: Evidence, bounds: Bounds) -> list[str]:
    """C4: each charge that Redis acknowledged, or a client was told, is in the books as it was."""
    problems: list[str] = []
    lost: dict[str, str] = {}
    by_rid = _ends(found)
    for row in found.acked:
        events = by_rid.get(row.rid, [])
        if not events:
            at = f"{row.epoch}-{row.seq}"
            lost[row.rid] = f"{row.rid}: acknowledged at {at}, not in the books"
        elif not any(_same(row, event, bounds) for event in events):
            booked = [(event.type, -event.delta_nanos, event.shortfall_nanos) for event in events]
            problems.append(
                f"{row.rid}: {row.script} of {row.charged_nanos} (short {row.shortfall_nanos})"
                f" was acknowledged, the books have {booked}"
            )
    for answer in found.answers:
        if answer.settled and answer.cost_nanos is not None and answer.request_id in by_rid:
            sum_nanos = -sum(event.delta_nanos for event in by_rid[answer.request_id])
            less = bounds.recharged and sum_nanos < answer.cost_nanos
            if sum_nanos != answer.cost_nanos and not less:
                problems.append(
                    f"{answer.request_id}: the client was told {answer.cost_nanos}, the books have"
                    f" {sum_nanos}"
                )
        elif answer.settled and answer.cost_nanos:
            rid = answer.request_id
            lost.setdefault(rid, f"{rid}: the client was told a charge, the books have none")
    return problems + (list(lost.values()) if len(lost) > bounds.lost_max else [])


def journalled_kept(found: Evidence, bounds: Bounds) -> list[str]:
    """C4, from the journals: what a process wrote down before it died is charged as it was."""
    by_rid, lost, problems = _ends(found), [], []
    for line in found.journal:
        if line.kind == "S" and (nanos := int(line.fields[3])):
            events = by_rid.get(line.rid, [])
            if not events:
                lost.append(f"{line.rid}: {nanos} in a journal, nothing in the books")
            elif sum(event.actual_nanos for event in events) != nanos:
                booked = [(event.type, event.actual_nanos) for event in events]
                problems.append(f"{line.rid}: {nanos} in a journal, the books have {booked}")
        elif line.kind == "D" and line.fields[2] != "0" and line.rid not in by_rid:
            lost.append(f"{line.rid}: a process was told {line.fields}, the books do not have it")
    return problems + (lost if len(lost) > bounds.lost_max else [])


def _same(row: Acked, event: Event, bounds: Bounds) -> bool:
    if (-event.delta_nanos, event.shortfall_nanos) == (row.charged_nanos, row.shortfall_nanos):
        return True
    actual = row.charged_nanos + row.shortfall_nanos
    return bounds.recharged and event.actual_nanos == actual and -event.delta_nanos < actual


def moves_once(found: Evidence) -> list[str]:
    """C5: each move by hand exactly once, and none that nobody made."""
    events: dict[str, list[Event]] = {}
    for event in found.events:
        if event.type in "CD" and event.counter in BY_HAND:
            events.setdefault(event.reason, []).append(event)
    problems = []
    for move in found.moves:
        made = events.pop(move.reason, [])
        if not move.least <= len(made) <= move.most:
            problems.append(
                f"{move.reason}: a {move.kind} of {move.nanos} to {move.wallet} is in the books"
                f" {len(made)} times"
            )
        for event in made:
            if (event.wallet, abs(event.delta_nanos)) != (move.wallet, move.nanos):
                problems.append(f"{move.reason}: booked as {event.delta_nanos} of {event.wallet}")
    problems += [f"{reason}: nobody moved that" for reason in events]
    return problems


def redis_is_the_fold(found: Evidence) -> list[str]:
    """C6: `corvus ledger verify` finds no difference."""
    return list(found.report.problems) if found.report else ["nothing was compared"]


def nothing_held(found: Evidence) -> list[str]:
    """C7: no request runs, so nothing is held."""
    held = {wallet: state.held_nanos for wallet, state in found.wallets.items() if state.held_nanos}
    problems = [f"{wallet} still holds {nanos}" for wallet, nanos in held.items()]
    return problems + ([f"{found.holds} holds are left"] if found.holds else [])


def fair_charges(found: Evidence) -> list[str]:
    """C8: a completed answer costs its usage at the pinned price; every other end at most what the
    provider made; who was refused pays nothing."""
    problems = []
    served = {one.request_id: one for one in found.served}
    by_tag = {one.tag: one for one in found.served if one.tag}
    answers = {one.request_id: one for one in found.answers if one.request_id}
    for event in found.events:
        if event.type not in "SXL" or not event.actual_nanos:
            continue
        meta, rid = _meta(event), event.id.removesuffix(":L")
        answer = answers.get(rid)
        if answer is not None and answer.status >= 400:
            problems.append(f"{rid}: refused with {answer.status}, charged {event.actual_nanos}")
        made = served.get(meta.upstream_request_id)
        if made is None and answer is not None:
            made = by_tag.get(answer.wish.tag)
        price = found.prices.get((event.slug, meta.price_version))
        if price is None:
            problems.append(f"{rid}: charged at price {meta.price_version!r}, which nobody set")
            continue
        rates = price.rates(0)
        if wrong := {n: p for n, p in meta.picos.items() if p != getattr(rates, n)}:
            problems.append(f"{rid}: charged at {wrong}")
        if event.type != "L":
            problems += _unfair(event, meta, made, answer, rates)
    return problems


def _unfair(
    event: Event, meta: Meta, made: Served | None, answer: Answer | None, rates: Rates
) -> list[str]:
    if made is None:
        return [f"{event.id}: charged {event.actual_nanos}, and no provider made anything"] * (
            answer is not None and event.outcome != "gateway_crash"
        )
    if event.outcome in FREE:
        return [f"{event.id}: charged {event.actual_nanos} for {event.outcome}"]
    if meta.source == "upstream":
        return _unlike_usage(event, meta, made, answer, rates)
    output = meta.usage.get("output", 0)
    if output > made.tokens_made:
        return [f"{event.id}: {output} tokens charged, {made.tokens_made} were made"]
    if answer is not None and meta.source == "estimated":
        estimate = len(answer.wish.body()) // 4
        if meta.usage.get("input", 0) > estimate:
            return [
                f"{event.id}: {meta.usage['input']} tokens of input charged, {estimate} at most"
            ]
    if meta.source == "counted" and made.usage_made is not None:
        there = sum(count for name, count in meta.usage.items() if name in INPUTS)
        if there > input_of(made.family, made.usage_made):
            return [f"{event.id}: {there} tokens of input charged, more than there were"]
    return []


def input_of(family: str, usage: dict[str, Any]) -> int:
    """All input tokens of a provider's usage object."""
    if family != "anthropic":
        return int(usage["prompt_tokens"])
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(int(usage[name]) for name in names)


def _unlike_usage(
    event: Event, meta: Meta, made: Served, answer: Answer | None, rates: Rates
) -> list[str]:
    """Where the upstream's word is charged: it has to have been said, be possible, and be charged
    as it was, save output above the limit that the upstream was given."""
    if made.usage is None or not made.usage_sent:
        return [f"{event.id}: charged by a usage that was never reported"]
    usage = made.usage
    if any(not 0 <= count <= BELIEVED_MAX for count in counts_of(usage)):
        return [f"{event.id}: charged by a usage that cannot be true: {usage}"]
    name = "output_tokens" if made.family == "anthropic" else "completion_tokens"
    if "usage_lowered" in meta.flags and answer is not None:
        limit = answer.wish.max_tokens
        if usage[name] <= limit:
            return [f"{event.id}: {usage[name]} tokens were lowered to a limit of {limit}"]
        usage = {**usage, name: limit}
    due = bill(made.family, usage, rates)
    if event.actual_nanos != due:
        return [f"{event.id}: charged {event.actual_nanos}, its usage costs {due}"]
    return []


def counts_of(usage: dict[str, Any]) -> Iterator[int]:
    """Every number of a provider's usage object."""
    for inner in usage.values():
        if isinstance(inner, dict):
            yield from counts_of(inner)
        elif isinstance(inner, int):
            yield inner


def bill(family: str, usage: dict[str, Any], rates: Rates) -> int:
    """Nanos of a provider's usage object, rounded half up: the drill's own arithmetic."""
    if family == "anthropic":
        split = usage["cache_creation"]
        picos = usage["input_tokens"] * rates.input
        picos += usage["cache_read_input_tokens"] * rates.cache_read
        picos += split["ephemeral_5m_input_tokens"] * rates.cache_write_5m
        picos += split["ephemeral_1h_input_tokens"] * rates.cache_write_1h
        picos += usage["output_tokens"] * rates.output
    else:
        details = usage["prompt_tokens_details"]
        read, written = details["cached_tokens"], details.get("cache_write_tokens", 0)
        picos = (usage["prompt_tokens"] - read - written) * rates.input
        picos += read * rates.cache_read + written * rates.cache_write_other
        picos += usage["completion_tokens"] * rates.output
    return (int(picos) + 500) // 1000


def receipts_agree(found: Evidence) -> list[str]:
    """C9: each charge has a row that says the same, and is its lines' sum."""
    problems = []
    rows = {row.rid: row for row in found.receipts}
    for event in found.events:
        if event.type not in "SXL":
            continue
        row = rows.pop(event.id, None)
        if row is None:
            problems.append(f"{event.id}: an event and no row")
        elif (row.charge_nanos, row.shortfall_nanos) != (-event.delta_nanos, event.shortfall_nanos):
            problems.append(f"{event.id}: the row says {row}, its event {-event.delta_nanos}")
        meta = _meta(event)
        counts = {name: count for name, count in meta.usage.items() if name != "reasoning"}
        picos = sum(meta.picos.get(name, 0) * count for name, count in counts.items())
        if event.type != "L" and event.actual_nanos != (picos + 500) // 1000:
            problems.append(f"{event.id}: {event.actual_nanos} is not what its lines give: {picos}")
    return problems + [f"{rid}: a row and no event" for rid in rows]


def defined_answers(answers: list[Answer], bounds: Bounds) -> list[str]:
    """C11: only the defined answers, a Retry-After on each 503, and no wait before a refusal."""
    problems = []
    for answer in answers:
        rid = answer.request_id or answer.wish.tag
        if answer.broken:
            allowed = bounds.broken or (bounds.unheard and not answer.status)
            if not allowed or answer.broken.startswith(NO_END):
                problems.append(f"{rid}: status {answer.status}, {answer.broken}")
            continue
        if answer.status not in DEFINED | bounds.statuses:
            problems.append(f"{rid}: status {answer.status} {answer.code}")
        if answer.status == 503 and not answer.retry_after:
            problems.append(f"{rid}: 503 without Retry-After")
        if answer.status == 200 and not (answer.whole or answer.left or answer.code):
            problems.append(f"{rid}: a stream that just ended")
        waited_s = answer.head_s - answer.began_s
        if answer.status == 503 and waited_s > REFUSAL_S and not bounds.slow:
            problems.append(f"{rid}: refused after {waited_s:.2f} s")
    return problems


def paid_once(found: Evidence) -> list[str]:
    """C12: each confirmed payment is credited once, at its worth, to its order's wallet; what was
    taken back is taken back once, or owed; nothing is credited that was not paid."""
    moved: dict[str, list[Event]] = {}
    for event in found.events:
        if event.type in "CD" and event.counter not in BY_HAND:
            moved.setdefault(event.id, []).append(event)
    problems = [f"{name} was moved {len(all_)} times" for name, all_ in moved.items() if all_[1:]]
    last: dict[str, PaidRow] = {}
    ever: set[str] = set()
    for row in found.paid:
        name = f"{row.service}:{row.reference}"
        last[name] = row
        if row.state == "confirmed":
            ever.add(name)
    by_order: dict[str, list[str]] = {}
    for name, row in last.items():
        credit = moved.pop(f"pay:{name}", [])
        backs = _numbered(moved, f"rev:{name}")
        agains = _numbered(moved, f"won:{name}")
        if credit:
            by_order.setdefault(row.order_id, []).append(name)
            problems += _as_credited(name, credit[0], backs, agains)
        if credit and name not in ever:
            problems.append(f"{name} was credited and never confirmed")
        standing = len(credit) + len(agains) - len(backs)
        due = row.order_id in found.orders and row.state == "confirmed"
        if standing != due and (due or row.state in ("reversed", "invalid")):
            problems.append(f"{name} is {row.state}, and stands {standing} times")
        wallet = found.orders.get(row.order_id, "")
        strays = {one.wallet for one in (*credit, *backs, *agains)} - {wallet}
        if strays:
            problems.append(f"{name} moved money of {sorted(strays)}, its order is of {wallet!r}")
    credits_ = {one.id: one.delta_nanos for one in found.events if one.type == "C"}
    for order, names in by_order.items():
        worth = _worth([last[name] for name in names])
        came = sum(credits_[f"pay:{name}"] for name in names)
        if came != worth:
            problems.append(f"order {order}: {came} credited, {worth} paid")
    return problems + [f"{name}: nobody paid or took that" for name in moved]


def _numbered(moved: dict[str, list[Event]], prefix: str) -> list[Event]:
    """Takes out `prefix:1`, `prefix:2` …"""
    taken: list[Event] = []
    while all_ := moved.pop(f"{prefix}:{len(taken) + 1}", []):
        taken.append(all_[0])
    return taken


def _as_credited(name: str, credit: Event, backs: list[Event], agains: list[Event]) -> list[str]:
    """What was taken back or is owed is what was credited, and what came again is what was
    taken."""
    problems = []
    for back in backs:
        if back.shortfall_nanos - back.delta_nanos != credit.delta_nanos:
            problems.append(f"{name}: credited {credit.delta_nanos}, taken back {back}")
    for back, again in zip(backs, agains, strict=False):
        if again.delta_nanos != -back.delta_nanos:
            problems.append(f"{name}: {-back.delta_nanos} taken, {again.delta_nanos} given again")
    return problems


def _worth(rows: list[PaidRow]) -> int:
    """Payments of one order: what was quoted, where exactly that has come; else each at its
    rate."""
    quoted = "" if any(row.late for row in rows) else rows[0].quoted_amount
    if quoted and sum(Decimal(row.asset_amount) for row in rows) == Decimal(quoted):
        return rows[0].quoted_nanos
    return sum(row.value_nanos for row in rows)


def _ends(found: Evidence) -> dict[str, list[Event]]:
    """The events of each request."""
    by_rid: dict[str, list[Event]] = {}
    for event in found.events:
        if event.type in "SXL":
            by_rid.setdefault(event.id.removesuffix(":L"), []).append(event)
    return by_rid


def _meta(event: Event) -> Meta:
    return decode_meta(event.meta)


CHECKERS: dict[str, Callable[[Evidence, Bounds], list[str]]] = {
    "C1": lambda found, _: no_overdraft(found),
    "C2": lambda found, _: books_balance(found),
    "C3": lambda found, _: charged_once(found),
    "C4": lambda found, bounds: [*acked_kept(found, bounds), *journalled_kept(found, bounds)],
    "C5": lambda found, _: moves_once(found),
    "C6": lambda found, _: redis_is_the_fold(found),
    "C7": lambda found, _: nothing_held(found),
    "C8": lambda found, _: fair_charges(found),
    "C9": lambda found, _: receipts_agree(found),
    "C12": lambda found, _: paid_once(found),
}
"""What is checked on the whole history; C10 and C11 look at one fault's answers."""


def check(found: Evidence, bounds: Bounds) -> list[str]:
    """All violations, each with its checker's name."""
    return [
        sentence
        for name, checker in CHECKERS.items()
        for sentence in told(name, checker(found, bounds))
    ]


def told(name: str, problems: list[str]) -> list[str]:
    """The first few violations of one checker, and how many more there are."""
    lines = [f"{name}: {problem}" for problem in problems[:TOLD_MAX]]
    more = len(problems) - TOLD_MAX
    return lines + ([f"{name}: and {more} more"] if more > 0 else [])
