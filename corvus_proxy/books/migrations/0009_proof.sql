-- migrate:up
-- What is published of the books: totals of days over all wallets, and the results of ledger checks.
-- Why: the proof page shows what was measured, and no page may sum the whole books. Locks: nothing, the tables
-- are new; events are counted by the worker, some thousand at a time. Way back: drop them, the events have all.

-- Days are UTC days of `event.written_at`: what comes late counts on the day on which it was booked, so a day that
-- is over never changes.
create table day_total (
    day date primary key,
    requests bigint not null,
    -- Of which nothing was charged for.
    free_requests bigint not null,
    charged_nanos bigint not null,
    -- Used, and not charged for want of balance.
    shortfall_nanos bigint not null,
    input_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    output_tokens bigint not null,
    -- Credits by payments and other ones; debits by refunds, by payments that were taken back, and other ones.
    bought_nanos bigint not null,
    granted_nanos bigint not null,
    refunded_nanos bigint not null,
    reversed_nanos bigint not null,
    corrected_nanos bigint not null
) with (fillfactor = 50);

-- The last event of each partition that is counted.
create table day_cursor (
    part smallint primary key,
    epoch bigint not null default 0,
    seq bigint not null default 0
) with (fillfactor = 50);
insert into day_cursor (part) select generate_series(0, 63);

-- Until when everything that had been booked is counted.
create table day_counted (
    one boolean primary key default true check (one),
    upto timestamptz not null
);

create table ledger_check (
    at timestamptz primary key,
    -- Who asked for it: the worker, once a day, or an operator.
    by text not null check (by in ('worker', 'operator')),
    ok boolean not null,
    wallets bigint not null,
    events bigint not null,
    drift_nanos numeric not null,
    undrained bigint not null,
    problems integer not null
);
create trigger ledger_check_append_only before update or delete on ledger_check
    for each row execute function refuse_change();
create trigger ledger_check_no_truncate before truncate on ledger_check
    for each statement execute function refuse_change();

grant select, insert, update on day_total, day_cursor, day_counted to corvus_app;
grant select, insert on ledger_check to corvus_app;

-- migrate:down
drop table ledger_check, day_counted, day_cursor, day_total;
