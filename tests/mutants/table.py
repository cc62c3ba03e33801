"""Guards of the money, each broken in one way, and the tests that must notice.

`old` stands exactly once in `file`; every named test has to fail with `new` in its place.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    name: str
    file: str
    """Below `corvus_proxy/`."""
    old: str
    new: str
    tests: tuple[str, ...]


MODEL = "tests/model/test_random.py::test_the_scripts_are_the_oracle"
LUA = "tests/lua/test_scripts.py::test_"
HOLDS = "tests/unit/till/test_holds.py::test_"
WRITER = "tests/unit/ledger/test_writer.py::test_"
REBUILD = "tests/unit/ledger/test_rebuild.py::test_"
STUCK = "tests/unit/ledger/test_stuck.py::test_"
ENTRIES = "tests/unit/books/test_entries.py::test_"
MONEY = "tests/unit/money/test_money.py::test_"
ALLOWANCE = "tests/unit/gateway/test_allowance.py::test_"
VERDICT = "tests/unit/ledger/test_verdict.py::test_one_reason_is_enough"


def lua(name: str, script: str, old: str, new: str, *tests: str) -> Mutant:
    """A mutant of a script: the model must notice it, and so must these tables."""
    named = tuple(LUA + test for test in tests)
    return Mutant(name, f"till/scripts/{script}.lua", old, new, (MODEL, *named))


RATES_TEST = "tests/lua/test_rates.py::test_"
CAPS_TEST = "tests/lua/test_caps.py::test_"
OWNER = "tests/unit/service/test_owner.py::test_"
REVERSAL = "tests/unit/ledger/test_reversal.py::test_"


def cap(name: str, script: str, old: str, new: str, *tests: str) -> Mutant:
    """A mutant of what a script does with caps."""
    named = tuple(CAPS_TEST + test for test in tests)
    return Mutant(name, f"till/scripts/{script}.lua", old, new, named)


def rate(name: str, script: str, old: str, new: str, *tests: str) -> Mutant:
    """A mutant of what a script does with limits a minute, at once and by model."""
    named = tuple(RATES_TEST + test for test in tests)
    return Mutant(name, f"till/scripts/{script}.lua", old, new, named)


RATES = [
    rate(
        "one request a minute more than may be",
        "reserve",
        "if requests_max and requests >= requests_max then",
        "if requests_max and requests > requests_max then",
        "requests_of_a_minute_are_counted_and_refused",
    ),
    rate(
        "tokens are refused one too late",
        "reserve",
        "if tokens_max and tokens + asked > tokens_max then",
        "if tokens_max and tokens + asked > tokens_max + 1 then",
        "tokens_of_a_minute_are_counted_and_refused",
    ),
    rate(
        "one request at once more than may be",
        "reserve",
        "if #running >= running_max then",
        "if #running > running_max then",
        "as_many_run_at_once_as_may",
    ),
    rate(
        "requests that ended run for ever",
        "reserve",
        "if holds[at] then living[#living + 1] = rid end",
        "living[#living + 1] = rid",
        "as_many_run_at_once_as_may",
    ),
    rate(
        "what runs through a rebuild is forgotten",
        "adopt",
        "redis.call('HSET', w, 'a:' .. key, found[5] and found[5] .. ',' .. rid or rid)",
        "",
        "what_runs_through_a_rebuild_still_counts_among_those_at_once",
    ),
    rate(
        "a part of a model's name opens it",
        "reserve",
        "not string.find(',' .. slugs .. ',', ',' .. slug .. ',', 1, true)",
        "not string.find(slugs, slug, 1, true)",
        "a_key_may_use_the_models_of_its_list",
    ),
    rate(
        "what another minute never had is taken from this one",
        "settle",
        "if more < 0 and minute ~= digits(began) then return end",
        "",
        "a_settle_corrects_the_tokens_of_the_minute",
    ),
]

FENCE = [
    lua(
        "the fence does not compare the server", "settle",
        "part[1] ~= epoch or part[2] ~= me or part[3] ~= 'OPEN'",
        "part[1] ~= epoch or part[3] ~= 'OPEN'",
        "every_script_is_fenced_on_foreign_data",
    ),
    lua(
        "the server's id is read from the data, not from the server", "settle",
        "local me = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')",
        "local me = redis.call('HGET', m, 'rs')",
        "every_script_is_fenced_on_foreign_data",
    ),
    lua(
        "the fence does not compare the epoch", "reserve",
        "part[1] ~= epoch or part[2] ~= me or part[3] ~= 'OPEN'",
        "part[2] ~= me or part[3] ~= 'OPEN'",
    ),
    lua(
        "a closed partition serves", "reserve",
        "part[1] ~= epoch or part[2] ~= me or part[3] ~= 'OPEN'",
        "part[1] ~= epoch or part[2] ~= me",
        "a_moved_epoch_is_learnt_and_a_stale_one_is_fenced",
    ),
    lua(
        "open does not compare the last event", "open", "part[3] ~= seq or ", "",
        "every_script_is_fenced_on_foreign_data",
    ),
    lua(
        "open does not compare the server that was asked", "open", " or me ~= replid then",
        " then", "every_script_is_fenced_on_foreign_data",
    ),
    lua(
        "load runs under any epoch", "load", "part[1] ~= epoch or part[2] ~= me or part[3]",
        "part[2] ~= me or part[3]",
    ),
    lua(
        "a rebuild may repeat an epoch", "rebuild", "tonumber(part[1]) >= tonumber(epoch)",
        "tonumber(part[1]) > tonumber(epoch)",
    ),
]  # fmt: skip
ENDS = [
    lua(
        "a charge is not clamped to the balance", "settle",
        "local charged = math.min(actual, bal - hld + hold.held)", "local charged = actual",
        "settle_charges_once",
    ),
    lua(
        "a charge takes other requests' holds", "settle",
        "math.min(actual, bal - hld + hold.held)", "math.min(actual, bal)",
        "settle_never_touches_another_requests_hold",
    ),
    lua(
        "a settle needs no hold", "settle", "if not hold then return {'UNKNOWN'} end",
        "hold = hold or {held = 0, key = '', slug = '', wallet = ''}",
        "settle_without_a_hold_charges_nothing",
    ),
    lua(
        "a hold is paid by another wallet", "settle",
        "if hold.wallet ~= string.match(w, ':w:(.*)$') then return {'BAD'} end", "",
        "nobody_pays_for_another",
    ),
    lua(
        "a settle does not look for its tombstone", "settle",
        "if ended then return {'DUP', ended} end\n", "", "settle_charges_once",
    ),
    lua(
        "a hold is left after its end", "settle", "  redis.call('HDEL', h, rid)\n", "",
    ),
    lua(
        "what was held stays held", "settle", "'hld', digits(hld - hold.held)",
        "'hld', digits(hld)", "settle_charges_once",
    ),
    lua(
        "a settle writes before it adds its event", "settle", "  redis.call('XADD', l,",
        "  redis.call('HSET', m, 'sq', seq)\n  redis.call('XADD', l,",
        "a_key_of_the_wrong_type_fails_before_the_first_write",
    ),
    lua(
        "a settle does not try the order of tombstones first", "settle",
        "  redis.call('ZCARD', dz)\n", "",
        "a_key_of_the_wrong_type_fails_before_the_first_write",
    ),
    Mutant(  # not one of `lua`: in one of five runs the model's traffic does not come upon it
        "a late charge does not try the holds first", "till/scripts/late.lua",
        "  redis.call('HLEN', h) -- a wrong type has to fail before the first write\n", "",
        (LUA + "no_script_writes_before_it_knows_the_types",),
    ),
    lua(
        "events skip a number", "settle", "digits(tonumber(part[4]) + 1)",
        "digits(tonumber(part[4]) + 2)", "settle_charges_once",
    ),
    lua(
        "a wallet's events are not numbered", "settle", "'b', after, 'ws', digits(ws + 1)",
        "'b', after, 'ws', digits(ws)", "the_last_digit_survives",
    ),
    lua(
        "totals beyond 2^53 lose their carry", "settle",
        "  if low >= 1e9 then low, high = low - 1e9, high + 1 end\n", "",
        "what_was_spent_stays_exact_beyond_doubles",
    ),
    lua(
        "a key's own total is not kept", "settle", "'s:' .. hold.key, key_spent, 'h:'", "'h:'",
        "what_was_spent_stays_exact_beyond_doubles",
    ),
    lua(
        "nothing charged is written as -0", "settle", "digits(0 - charged)", "digits(-charged)",
        "nothing_moved_is_written_as_nothing",
    ),
    lua(
        "a lease ends although its owner has renewed it", "expire",
        "if hold.renewals ~= seen then", "if hold.renewals < seen then",
        "expire_charges_the_checkpoint_of_a_silent_owner",
    ),
    lua(
        "a late charge charges the checkpoint again", "late",
        "total - tonumber(charged) - tonumber(short)", "total",
    ),
    lua(
        "a late charge collects the shortfall after all", "late",
        "total - tonumber(charged) - tonumber(short)", "total - tonumber(charged)",
    ),
    lua(
        "a late charge is made twice", "late", "if done then return {'DUP', done} end\n", "",
    ),
    lua(
        "what a journal proves is charged twice", "direct",
        "if ended then return {'DUP', ended} end\n", "",
    ),
]  # fmt: skip
HELD = [
    lua(
        "a hold exceeds what is free", "reserve", "local grant = math.min(high, available)",
        "local grant = high", "reserve_never_exceeds_what_is_free",
    ),
    lua(
        "a whole answer takes all that is free", "reserve", "math.floor(available / 2)",
        "available", "reserve_never_exceeds_what_is_free",
    ),
    lua(
        "the share floor is left out", "reserve", "math.min(available, floor)", "0",
        "reserve_never_exceeds_what_is_free",
    ),
    lua(
        "an ended request holds again", "reserve", "if ended then return {'DUP', ended} end\n", "",
    ),
    lua(
        "a repeated reserve holds again", "reserve",
        "if before then return {'OK', digits(before.held), digits(available), key.id} end\n", "",
        "the_same_request_holds_once",
    ),
    lua(
        "the lag limit is one too many", "reserve", "> lag then", "> lag + 1 then",
        "backpressure_when_the_books_are_behind",
    ),
    lua(
        "a frozen key goes on", "reserve", "if key.status ~= '1' then", "if key.status == '2' then",
        "refusals_of_the_key",
    ),
    lua(
        "an expired secret opens its key", "reserve", "if until_ms ~= '0' then",
        "if until_ms == '0' then", "refusals_of_the_key",
    ),
    lua(
        "anybody extends a hold", "extend",
        "if hold.owner ~= owner then return {'NOTOWNER'} end\n", "", "extend",
    ),
    lua(
        "a slice exceeds what is free", "extend", "math.min(want - hold.held, free, left)",
        "want - hold.held", "extend",
    ),
    lua(
        "a frozen wallet gets another slice", "extend", "if reason ~= '' then more = 0 end\n", "",
        "extend",
    ),
    lua(
        "a checkpoint falls", "extend", "if spent < hold.checkpoint then", "if false then",
        "expire_charges_the_checkpoint_of_a_silent_owner",
    ),
    lua(
        "a renewal is not counted", "extend", "digits(hold.renewals + 1)", "digits(hold.renewals)",
        "expire_charges_the_checkpoint_of_a_silent_owner",
    ),
    lua(
        "an adopted hold has no owner", "adopt", "'0', owner, price,", "'0', '', price,",
    ),
    lua(
        "an adopted hold exceeds what is free", "adopt", "local grant = math.min(want, free)",
        "local grant = want",
    ),
]  # fmt: skip
CAPS = [
    cap(
        "a cap does not bound a grant", "reserve",
        "    available = math.min(available, left)\n", "",
        "a_grant_is_bounded_by_what_the_cap_leaves",
    ),
    cap(
        "a key's other holds are not counted", "reserve",
        "left = math.max(0, key.cap - spent - key.held)", "left = math.max(0, key.cap - spent)",
        "at_the_cap_it_says_how_much_and_until_when",
        "fifty_at_once_overshoot_by_nothing_but_a_shortfall",
    ),
    cap(
        "a key beyond its end goes on", "reserve",
        "if key.expires > 0 and key.expires <= now_ms then", "if false then", "a_key_ends",
    ),
    cap(
        "a slice passes the cap", "extend",
        "left = math.max(0, key.cap - spent_so_far - key_held)", "left = free",
        "a_slice_ends_at_the_cap",
    ),
    cap(
        "a period that has begun is forgotten", "reserve",
        "if mark then redis.call('HSET', w, 'b:' .. key.id, mark) end\n", "",
        "a_period_begins_with_the_first_request_admitted_in_it",
    ),
    cap(
        "an ended request is held of its cap for ever", "settle",
        "math.max(0, tonumber(found[6] or '0') - hold.held)", "tonumber(found[6] or '0')",
        "the_same_request_holds_once_of_the_cap",
    ),
    cap(
        "what is charged again counts in the period of the rebuild", "direct", "if ends then",
        "if false then", "a_rebuild_keeps_the_period",
    ),
    cap(
        "an adopted hold is not held of its cap", "adopt",
        "digits(tonumber(found[3] or '0') + grant)", "digits(tonumber(found[3] or '0'))",
        "a_rebuild_keeps_the_period",
    ),
    cap(
        "a row of the books overwrites what Redis has counted", "key",
        "if string.match(mark or '', '^%d+') ~= row.p[1] then", "if true then",
        "a_cap_that_is_set_later_knows_what_was_spent",
    ),
    cap(
        "a week begins on Sunday", "reserve", "(day + 3) % 7", "(day + 4) % 7",
        "periods_end_where_python_says",
    ),
    Mutant(
        "a secret in its grace survives a change without grace", "books/wallets.py",
        "(valid_until_ms = 0 or valid_until_ms > $2)", "valid_until_ms = 0",
        (OWNER + "a_thief_with_the_key_cannot_lock_out_the_holder_of_the_code",),
    ),
    Mutant(
        "any code changes the recovery code", "service/owner.py",
        "if await wallets.wallet_of_code(connection, digest) != wallet:", "if False:",
        (OWNER + "the_code_is_changed_by_the_code",),
    ),
    Mutant(
        "a thief's sub-key survives a recovery", "service/owner.py",
        "if not key.main and key.status == 1)", "if False)",
        (OWNER + "a_thief_with_the_key_cannot_lock_out_the_holder_of_the_code",),
    ),
    Mutant(
        "a sub-key changes others", "service/keys/shared.py",
        "if key is None or not (key.main or actor == own):", "if key is None:",
        (OWNER + "a_sub_key_looks_after_itself_alone",),
    ),
    Mutant(
        "nobody owes what a reversal could not take", "books/entries.py",
        "receivable_nanos = receivable_nanos + $2", "receivable_nanos = receivable_nanos + 0 * $2",
        (REVERSAL + "it_takes_what_is_free_and_leaves_what_is_held",),
    ),
]  # fmt: skip
MOVES = [
    lua(
        "an amount beyond 2^53 is taken", "credit",
        "return number <= 9007199254740991 and number or nil", "return number",
        "what_is_no_amount_is_refused_before_anything_is_written",
    ),
    lua(
        "what is no number is taken", "settle", "not string.match(text, '^%d+$') or ", "",
        "what_is_no_amount_is_refused_before_anything_is_written",
    ),
    lua(
        "a credit is made twice", "credit", "if done then return {'DUP', done} end\n", "",
        "credit_and_debit",
    ),
    lua(
        "a wallet passes the cap", "credit", "if after > 1e15 then", "if after > 2e15 then",
        "credit_and_debit",
    ),
    lua(
        "a debit is made twice", "debit", "if done then return {'DUP', done} end\n", "",
        "credit_and_debit",
    ),
    lua(
        "a debit takes what is held", "debit", "local taken = math.min(asked, free)",
        "local taken = math.min(asked, tonumber(found[1]))", "credit_and_debit",
    ),
    lua(
        "a debit takes a part unasked", "debit", "if asked > free and up_to ~= '1' then",
        "if false then", "credit_and_debit",
    ),
    lua(
        "the books are ahead of the till", "ack",
        "if done > tonumber(part[4]) then return {'AHEAD', part[4]} end\n", "",
        "ack_only_moves_forward_and_keeps_the_tail",
    ),
    lua(
        "an old ack takes a newer one back", "ack", "if done > tonumber(part[5]) then",
        "if true then", "ack_only_moves_forward_and_keeps_the_tail",
    ),
    lua(
        "an ack trims what is to be kept", "ack",
        "epoch .. '-' .. digits(done - spare + 1)", "epoch .. '-' .. digits(done + 1)",
        "ack_only_moves_forward_and_keeps_the_tail",
    ),
    lua(
        "an ack does not try the stream first", "ack", "redis.call('XLEN', l)\n", "",
        "no_script_writes_before_it_knows_the_types",
    ),
    lua(
        "an older row of keys overwrites a newer one", "key",
        "tonumber(known) >= tonumber(version)", "false",
        "an_older_row_never_overwrites_a_newer_one",
    ),
    Mutant(
        "a row of keys sets a balance to zero", "till/scripts/key.lua", "if not bal then",
        "if not known then", (LUA + "a_row_of_keys_never_touches_money",),
    ),
]  # fmt: skip
BOOKS = [
    Mutant(
        "the cursor is not compared", "books/entries.py",
        "where part = $1 and epoch = $4 and seq = $5",
        "where part = $1 and $4::bigint >= 0 and $5::bigint >= 0",
        (ENTRIES + "an_epoch_begins_only_at_the_cursor_that_was_seen",),
    ),
    Mutant(
        "two writers write at once", "books/entries.py",
        "where pg_try_advisory_xact_lock($1, part)", "where $1::int is distinct from part",
        (ENTRIES + "a_writer_that_finds_another_at_work_leaves",),
    ),
    Mutant(
        "many are booked from a server that was replaced", "ledger/writer.py",
        "if part not in found or states[part].stamp != self._stamps[part]:",
        "if part not in found:",
        ("tests/unit/ledger/test_together.py::test_what_is_wrong_with_one_partition_is_its_own",),
    ),
    Mutant(
        "many are booked as if nobody else had been there", "ledger/writer.py",
        "if part not in found or states[part].stamp != self._stamps[part]:",
        "if states[part].stamp != self._stamps[part]:",
        ("tests/unit/ledger/test_together.py::test_what_is_wrong_with_one_partition_is_its_own",),
    ),
    Mutant(
        "a gap in the stream is booked over", "books/entries.py",
        "if not same or event.seq != cursor.seq + 1 + at:", "if not same:",
        (ENTRIES + "events_follow_the_cursor_without_a_gap",
         REBUILD + "a_hole_that_nothing_fills_is_named"),
    ),
    Mutant(
        "an event of an old epoch is booked", "books/entries.py",
        "if not same or event.seq != cursor.seq + 1 + at:",
        "if event.seq != cursor.seq + 1 + at:",
        (ENTRIES + "an_epoch_begins_only_at_the_cursor_that_was_seen",),
    ),
    Mutant(
        "a wallet's chain is not checked", "books/entries.py",
        "!= (event.balance_nanos, event.wallet_seq):", "== (-1, -1):",
        (ENTRIES + "what_does_not_follow_from_its_wallet_is_quarantined",
         WRITER + "an_altered_balance_stops_its_wallet_and_no_other"),
    ),
    Mutant(
        "a shortfall is in nobody's account", "books/entries.py",
        "event.shortfall_nanos))\n    return", "0))\n    return",
        (WRITER + "a_shortfall_is_the_operators_loss",),
    ),
    Mutant(
        "verify does not read a wallet again that was made meanwhile", "ledger/verify.py",
        "return before is after", "return True",
        (WRITER + "verify_reads_a_wallet_again_that_is_made_meanwhile",),
    ),
    Mutant(
        "a release reads before it locks", "books/release.py",
        "    await entries.lock(connection, partition_of(wallet))\n", "",
        (WRITER + "what_comes_while_a_wallet_is_released_is_not_lost",),
    ),
    Mutant(
        "verify lets a nano pass", "ledger/verify.py", "if folded != actual:",
        "if abs(folded - actual) > 1:", (WRITER + "verify_sees_a_single_wrong_nano",),
    ),
    Mutant(
        "verify does not look at what is held", "ledger/verify.py",
        "if not 0 <= held <= actual:", "if held < 0:",
        (WRITER + "verify_sees_a_single_wrong_nano",),
    ),
    Mutant(
        "verify does not miss the holds of what is held", "ledger/verify.py",
        "by_part[one.part][one.wallet] = 0", "by_part[one.part].pop(one.wallet, 0)",
        (WRITER + "verify_sees_a_single_wrong_nano",),
    ),
    Mutant(
        "a partition opens although somebody was told of more", "ledger/verdict.py",
        "if report.done.get(part, NOWHERE) > end:", "if report.done.get(part, NOWHERE) < NOWHERE:",
        (VERDICT,),
    ),
    Mutant(
        "a partition opens although the books have more", "ledger/verdict.py",
        "if cursor > end:", "if cursor < NOWHERE:", (VERDICT,),
    ),
    Mutant(
        "a partition opens although a hold is missing", "ledger/verdict.py",
        "if report.missing.get(part):", "if report.missing.get(part, 0) < 0:", (VERDICT,),
    ),
    Mutant(
        "a partition opens before all have spoken", "ledger/verdict.py",
        "report.has_seen(part, replid)", "report.process", (VERDICT,),
    ),
    Mutant(
        "a server opens that lacks what is being booked", "ledger/coordinator.py",
        "if in_hand.get(part, NOWHERE) > Mark(", "if NOWHERE > Mark(",
        (STUCK + "books_that_are_about_to_get_ahead_of_a_server",),
    ),
    Mutant(
        "nobody hears that the books are ahead", "ledger/writer.py", 'if answer[0] == "AHEAD":',
        'if answer[0] == "ahead":', (STUCK + "a_server_that_was_put_back_while_it_was_open",),
    ),
    Mutant(
        "a rebuild forgets what was charged late", "books/recovery.py",
        'late = [(f"{rid}:L", self.late)] if self.late else []', "late = []",
        (STUCK + "what_was_charged_late_is_not_charged_late_again",),
    ),
    Mutant(
        "a new process claims nothing of a rebuild half done", "till/recovery/report.py",
        'if state.state in ("REBUILD", "REPLAY")', 'if state.state == "REBUILD"',
        (STUCK + "a_process_that_begins_while_a_rebuild_stands_half_done",),
    ),
    Mutant(
        "what was refused is sent again", "ledger/outbox.py",
        "if why := await wallets.claim(connection, row.id):", 'if why := "":',
        (WRITER + "who_was_told_no_does_not_find_the_money_moved",),
    ),
    Mutant(
        "a charge of a bridged gap is charged again", "books/recovery.py",
        "any(after < mark <= upto for after, upto in found)", "any(False for _ in found)",
        ("tests/unit/ledger/test_bridge.py::test_a_gap_that_nobody_can_fill_is_bridged",),
    ),
    Mutant(
        "a rebuild forgets what was paid since", "ledger/rebuild.py", "for row in waiting:",
        "for row in waiting[:0]:", (REBUILD + "a_flush_loses_nothing",),
    ),
    Mutant(
        "a rebuild forgets the holds of running requests", "ledger/rebuild.py",
        'kind == "A"]', 'kind == "B"]', (REBUILD + "a_flush_loses_nothing",),
    ),
]  # fmt: skip
GATEWAY = [
    Mutant(
        "an altered journal is believed", "till/journal.py",
        "if text and _chain(one, before, text) == mac", "if text",
        (HOLDS + "a_torn_or_altered_tail_is_ignored",),
    ),
    Mutant(
        "an old look takes back what was answered since", "till/journal.py",
        "done[partition] = max(at, done[partition])", "done[partition] = at",
        ("tests/unit/till/test_journal.py::"
         "test_what_was_answered_since_a_rebuild_is_not_forgotten",),
    ),
    Mutant(
        "a disk that takes short lines alone serves", "till/journal.py",
        "elif len(line) >= self._refused_bytes:", "else:",
        ("tests/unit/till/test_journal.py::test_a_disk_that_takes_short_lines_alone_is_full",),
    ),
    Mutant(
        "a hold is asked for before it is journalled", "till/holds.py",
        "if not self.journal.opened(ask):", "if False:",
        ("tests/unit/till/test_order.py::test_the_journal_has_each_line_before_its_script_runs",),
    ),
    Mutant(
        "a charge is settled before it is journalled", "till/holds.py",
        "        self.journal.settling(charge)\n", "",
        ("tests/unit/till/test_order.py::test_the_journal_has_each_line_before_its_script_runs",),
    ),
    Mutant(
        "a slice is asked for before its checkpoint is journalled", "till/holds.py",
        "        self._holds.journal.checkpoint(self.rid, self.key_id, spent, meta)\n", "",
        ("tests/unit/till/test_order.py::test_the_journal_has_each_line_before_its_script_runs",),
    ),
    Mutant(
        "a dead process's charges are not replayed", "till/recovery/replay.py",
        'if line.kind == "S":', 'if line.kind == "s":',
        (HOLDS + "a_dead_process_is_replayed_once",),
    ),
    Mutant(
        "a charge that was answered is replayed", "till/recovery/replay.py",
        "                pending.pop(line.rid, None)\n", "",
        (HOLDS + "a_dead_process_is_replayed_once",),
    ),
    Mutant(
        "an expired hold's rest is given away", "till/holds.py",
        'answer.text.startswith("X|")', 'answer.text.startswith("x|")',
        (REBUILD + "a_hold_that_expired_is_charged_the_rest_late",),
    ),
    Mutant(
        "the sweeper ends what is renewed", "till/sweeper.py",
        "if seen is None or seen.renewals != hold.renewals:", "if seen is None:",
        (HOLDS + "the_sweeper_ends_only_what_nobody_renews",),
    ),
    Mutant(
        "a lease goes on counting while the fence shuts its owner out", "till/sweeper.py",
        "                if restamped:\n", "                if not self._stamps:\n",
        ("tests/unit/till/test_journal.py::test_a_lease_is_counted_anew_after_a_restart",),
    ),
    Mutant(
        "a chunk passes before the till has said yes", "gateway/streaming/allowance.py",
        "            if self._asking is not None:\n                await self._asking\n",
        "            return True\n",
        (ALLOWANCE + "what_is_beyond_the_hold_waits_for_the_tills_yes",
         ALLOWANCE + "the_last_slice_ends_at_what_the_wallet_has"),
    ),
    Mutant(
        "the till's last word is not believed", "gateway/streaming/allowance.py",
        "self._set(reply.granted_total_nanos)", "self._set(self._nanos(want))",
        (ALLOWANCE + "the_last_slice_ends_at_what_the_wallet_has",),
    ),
    Mutant(
        "a stream goes on while the till is away", "gateway/streaming/allowance.py",
        "                self.final = self.away = True\n",
        "                self.tokens += self._slice\n",
        (ALLOWANCE + "a_till_that_is_away_pays_for_nothing_more",),
    ),
]  # fmt: skip
ARITHMETIC = [
    Mutant(
        "half a nano is nothing", "money/amount.py", "(picos + PICOS_PER_NANO // 2)", "(picos)",
        (MONEY + "the_one_rounding_is_half_up", MONEY + "charge_is_the_exact_sum_rounded_once"),
    ),
    Mutant(
        "a ceiling is rounded down", "money/pricing.py",
        "return -(-(self.picos + output_tokens * self.output_picos) // PICOS_PER_NANO)",
        "return (self.picos + output_tokens * self.output_picos) // PICOS_PER_NANO",
        (MONEY + "a_ceiling_is_never_rounded_down",),
    ),
    Mutant(
        "the long tier begins at its threshold", "money/price.py",
        "found = long if long is not None and input_total > self.long_above",
        "found = long if long is not None and input_total >= self.long_above",
        (MONEY + "the_long_tier_moves_the_whole_request",),
    ),
    Mutant(
        "cached tokens beyond the prompt are believed", "money/usage.py", "if plain < 0:",
        "if plain < -(10**9):", (MONEY + "counts_that_cannot_be_true_are_no_usage",),
    ),
]  # fmt: skip
SETTLE = "tests/unit/shop/test_settle.py::test_"
REFUNDS = "tests/unit/shop/test_refunds.py::test_"
STATES = "tests/unit/shop/test_states.py::test_"
DESK = "tests/unit/shop/test_desk.py::test_"
SHOP = [
    Mutant(
        "a payment counts each time it is seen", "shop/states.py",
        'if one.state == "confirmed" and not one.counted]', 'if one.state == "confirmed"]',
        (STATES + "no_sequence_of_answers_lowers_a_credit_or_credits_twice",
         STATES + "the_same_answer_twice_changes_nothing"),
    ),
    Mutant(
        "a payment that is taken back is forgotten", "shop/states.py",
        'state = "reversed"\n    elif known', "state = known.state\n    elif known",
        (STATES + "a_confirmed_payment_does_not_become_unseen",),
    ),
    Mutant(
        "an answer that was overtaken is taken", "shop/settle.py",
        "if order.answered > number:", "if order.answered > number + 9:",
        (SETTLE + "an_answer_that_was_overtaken_is_dropped",),
    ),
    Mutant(
        "a chargeback takes what was refunded once more", "shop/reversing.py",
        "amount = max(0, row.credited_nanos - back)", "amount = row.credited_nanos",
        (REFUNDS + "a_chargeback_after_a_refund_takes_only_the_rest",),
    ),
    Mutant(
        "a debt takes more than the payment that pays it", "shop/reversing.py",
        'order.wallet or "", row.credited_nanos)', 'order.wallet or "", 10**15)',
        (SETTLE + "what_a_wallet_owes_is_taken_from_its_next_payments",),
    ),
    Mutant(
        "a debt is taken before the payment that pays it", "books/wallets.py",
        "order by created_at, kind = 'reversal', kind desc", "order by created_at, kind desc",
        (SETTLE + "what_is_spent_before_it_is_collected_is_owed_again",),
    ),
    Mutant(
        "a won dispute pays what the wallet owed, too", "shop/reversing.py",
        '"credit", row.reversed_nanos - forgiven)', '"credit", row.reversed_nanos)',
        (SETTLE + "a_reversal_takes_what_is_free_and_freezes_and_a_won_dispute_gives_it_back",),
    ),
    Mutant(
        "refunds do not count each other", "shop/refunds.py",
        'and back.state != "refused"', 'and back.state == "refused"',
        (REFUNDS + "all_refunds_together_are_not_more_than_was_credited",),
    ),
    Mutant(
        "a link opens twice", "books/shop/links.py",
        "and used_at is null and expires_at > now()\n        returning",
        "and expires_at > now()\n        returning",
        (DESK + "a_link_is_used_once_and_in_its_time",),
    ),
    Mutant(
        "every browser sees the key", "service/orders/viewing.py",
        "return bool(browser) and any(", "return bool(digests) or any(",
        (SETTLE + "another_browser_sees_the_order_and_no_key",),
    ),
]  # fmt: skip
STRIPE = "tests/unit/shop/services/test_stripe.py::test_"
BTCPAY = "tests/unit/shop/services/test_btcpay.py::test_"
SERVICES = [
    Mutant(
        "an empty secret signs for BTCPay", "shop/services/btcpay.py",
        "in self._webhook_secrets.latest()", 'in self._webhook_secrets.latest() or ("",)',
        (BTCPAY + "without_a_secret_nothing_is_believed",),
    ),
    Mutant(
        "a message to Stripe's address may be of any age", "shop/services/stripe.py",
        "signature, one, TOLERANCE_S", "signature, one, 10**9",
        (STRIPE + "forged_messages",),
    ),
    Mutant(
        "a late payment has its old quote", "shop/services/btcpay.py",
        'late = int(row["receivedDate"]) > int(invoice["expirationTime"])',
        'late = int(row["receivedDate"]) > int(invoice["monitoringExpiration"])',
        (BTCPAY + "late_is_worth_what_it_is_worth_now",),
    ),
    Mutant(
        "an invoice marked invalid keeps its payments", "shop/services/btcpay.py",
        'if state == "confirmed" and invoice["status"] == "Invalid":',
        'if state == "confirmed" and invoice["status"] == "Void":',
        (BTCPAY + "standings",),
    ),
    Mutant(
        "our own refund counts as taken back", "shop/services/stripe.py",
        'return not any((row.get("metadata") or {}).get("refund_id") for row in found["data"])',
        'return bool(found["data"])',
        (STRIPE + "our_own_refund_is_no_reversal",),
    ),
    Mutant(
        "a dispute leaves the payment confirmed", "shop/services/stripe.py",
        'if charge.get("disputed"):', 'if charge.get("refunded"):',
        (STRIPE + "standings",),
    ),
]  # fmt: skip
QUOTED = "tests/unit/gateway/test_quoting.py::test_"
ASKED = "tests/unit/wire/test_responses.py::test_"
RESPONSES = [
    Mutant(
        "a list of texts to embed has one window", "gateway/quoting.py",
        "min(tokens, INPUT_TOKENS_MAX if embeds else model.context_tokens)",
        "min(tokens, model.context_tokens)",
        (QUOTED + "texts_to_embed_have_the_window_each_for_itself",),
    ),
    Mutant(
        "a response may be stored", "wire/openai/responses.py",
        'if body[place[1] : place[2]] == b"false":', 'if body[place[1] : place[2]] != b"null":',
        (ASKED + "nothing_is_stored_at_the_upstream",),
    ),
    Mutant(
        "a tool of the upstream's hides in a namespace", "wire/openai/responses.py",
        "return [str(tool.type), *_types_in(tool.tools)]", "return [str(tool.type)]",
        (ASKED + "what_cannot_be_priced_or_would_be_shared_is_refused_by_name",),
    ),
    Mutant(
        "a search that is asked for is taken out", "wire/openai/responses.py",
        "(not goes or all(gone) or _is_chosen(request, found[0]))", "(not goes or all(gone))",
        (ASKED + "what_cannot_be_priced_or_would_be_shared_is_refused_by_name",),
    ),
    Mutant(
        "reasoning may read its input twice", "wire/openai/responses.py",
        'request.reasoning.mode not in (None, "default", "standard")',
        'request.reasoning.mode not in (None, "default", "standard", "pro")',
        (ASKED + "what_cannot_be_priced_or_would_be_shared_is_refused_by_name",),
    ),
]  # fmt: skip
ENCODING = "tests/unit/wire/test_encoding.py::test_"
TENANCY = "tests/unit/wire/test_tenancy.py::test_"
REQUEST = "tests/unit/wire/test_request.py::test_"
UPSTREAMS_ERROR = "tests/unit/wire/test_verdict.py::test_"
TENANTS = [
    Mutant(
        "a bomb is decoded to its end", "wire/encoding.py",
        "if len(found) > most:", "if len(found) > bound.bytes_max:",
        (ENCODING + "a_bomb_goes_off_nowhere", ENCODING + "the_factor_does_not_bind_small_bodies"),
    ),
    Mutant(
        "two customers of one name are one", "wire/tenancy/names.py",
        "(wallet.encode(), member.encode(), text)", '(b"", member.encode(), text)',
        (TENANCY + "a_name_is_made_the_customers_own",),
    ),
    Mutant(
        "a tool of the provider's hides behind one of the customer's", "wire/request.py",
        "if scan.repeated:", "if False:",
        (REQUEST + "what_cannot_be_priced_or_read_is_refused_by_name",),
    ),
    Mutant(
        "an item without a type is taken for a turn", "wire/openai/responses.py",
        "or (kind is None and item.role is None)", "",
        (ASKED + "what_cannot_be_priced_or_would_be_shared_is_refused_by_name",),
    ),
    Mutant(
        "what is counted may be stored", "wire/request.py",
        "responses.check_items(bytes(request.input))", "bytes(request.input)",
        (REQUEST + "what_is_only_counted_reaches_nothing_stored_either",),
    ),
    Mutant(
        "agents of the provider work without a bound", "wire/tenancy/fields.py",
        '"multi_agent",', '"multi_agents",',
        (TENANCY + "every_member_that_the_sdks_know_has_been_looked_at",),
    ),
    Mutant(
        "a body is called what its client likes", "wire/headers.py",
        'elif name == b"content-type" and value != _JSON and not _IS_JSON.fullmatch(value):',
        "elif False:",
        ("tests/unit/wire/test_headers.py::test_a_body_is_called_what_it_was_read_as",),
    ),
    Mutant(
        "of two keys one is charged", "gateway/admission.py",
        "if len(set(texts)) > 1:", "if False:",
        ("tests/unit/gateway/test_admission.py::"
         "test_one_secret_in_whichever_headers_and_never_two",),
    ),
    Mutant(
        "a stored file is read for whoever names it", "wire/request.py",
        "if scan.stored:", "if False:",
        (TENANCY + "a_stored_file_is_refused_with_its_place",),
    ),
    Mutant(
        "a message that quotes a customer blames the account", "wire/verdict.py",
        "if opening.match(message):", "if opening.search(message):",
        (UPSTREAMS_ERROR + "a_customer_cannot_write_an_account_out_of_its_pool",),
    ),
    Mutant(
        "words about the account are passed on", "wire/verdict.py",
        'and "error" in whole and not names_us(body)', 'and "error" in whole',
        (UPSTREAMS_ERROR + "words_that_name_the_operators_account_are_never_passed_on",),
    ),
]  # fmt: skip
MUTANTS = [
    *RESPONSES,
    *FENCE,
    *ENDS,
    *HELD,
    *CAPS,
    *RATES,
    *MOVES,
    *BOOKS,
    *GATEWAY,
    *ARITHMETIC,
    *SHOP,
    *SERVICES,
    *TENANTS,
]
