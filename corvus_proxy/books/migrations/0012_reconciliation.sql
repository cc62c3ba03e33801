-- migrate:up
-- What each credential's provider reports of a UTC day, beside what the books have of it.
-- Why: money that a provider bills and nobody has charged is found here, and nowhere else. Locks: nothing, the
-- table is new; the worker asks once a day. Way back: drop it, providers can be asked again.
create table reconciled (
    day date not null,
    credential text not null,
    family text not null,
    -- Differs: by more than both limits of the settings.
    state text not null check (state in ('agrees', 'differs', 'unanswered')),
    requests bigint not null check (requests >= 0),
    charged_nanos bigint not null,
    cost_nanos bigint not null check (cost_nanos >= 0),
    -- Of requests whose tokens the books do not have: not charged, or charged by our own meter.
    uncounted_nanos bigint not null default 0 check (uncounted_nanos >= 0),
    -- Null: there was no report.
    reported_nanos bigint,
    -- {model: {class: {"ours": [24 hours], "reported": [24 hours], "billed_nanos": n}}}
    lines jsonb not null default '{}',
    problem text not null default '',
    asked_at timestamptz not null default now(),
    primary key (day, credential),
    check ((state = 'unanswered') = (reported_nanos is null))
);
grant select, insert, update on reconciled to corvus_app;

-- migrate:down
drop table reconciled;
