-- migrate:up
-- The books: wallets and keys, events, double-entry postings, requests, cursors.
-- Why: the durable side of the till. Locks: nothing, all tables are new. Way back: drop them.

do $$
begin
    if not exists (select from pg_roles where rolname = 'corvus_app') then
        create role corvus_app nologin;
    end if;
    execute format('grant corvus_app to %I', current_user);
end
$$;

create table installation (
    one boolean primary key default true check (one),
    partitions integer not null check (partitions = 64),
    simulated_money boolean not null default false
);
insert into installation (partitions) values (64);

create table wallet (
    wallet text primary key,
    part smallint not null check (part between 0 and 63),
    balance_nanos bigint not null default 0 check (balance_nanos between 0 and 1000000000000000),
    wallet_seq bigint not null default 0,
    spent_nanos bigint not null default 0 check (spent_nanos >= 0),
    status smallint not null default 1 check (status in (0, 1, 2)),
    -- Grows with every change of status or keys; the till takes only a higher one.
    version bigint not null default 1,
    created_at timestamptz not null default now()
);
create index wallet_part on wallet (part);

create table key (
    key_id text primary key,
    wallet text not null references wallet,
    label text not null default '',
    status smallint not null default 1 check (status in (0, 1, 2)),
    spent_nanos bigint not null default 0,
    created_at timestamptz not null default now()
);
create index key_wallet on key (wallet);

create table key_secret (
    digest text primary key,
    key_id text not null references key,
    masked text not null,
    -- Milliseconds since 1970, 0: for ever. The grace of a rotated secret ends here.
    valid_until_ms bigint not null default 0
);
create index key_secret_key on key_secret (key_id);

create table event (
    part smallint not null,
    epoch bigint not null,
    seq bigint not null,
    type text not null check (type in ('S', 'X', 'L', 'C', 'D')),
    ext_id text not null,
    wallet text not null,
    key_id text not null,
    slug text not null,
    delta_nanos bigint not null,
    balance_nanos bigint not null check (balance_nanos >= 0),
    wallet_seq bigint not null,
    actual_nanos bigint not null check (actual_nanos >= 0),
    shortfall_nanos bigint not null check (shortfall_nanos >= 0),
    outcome text not null,
    counter text not null,
    reason text not null,
    wallet_spent_nanos bigint not null,
    key_spent_nanos bigint not null,
    meta jsonb not null,
    written_at timestamptz not null default now(),
    primary key (part, epoch, seq),
    unique (type, ext_id),
    unique (wallet, wallet_seq)
);

create table posting (
    part smallint not null,
    epoch bigint not null,
    seq bigint not null,
    line smallint not null,
    debit text not null,
    credit text not null,
    amount_nanos bigint not null check (amount_nanos > 0),
    primary key (part, epoch, seq, line),
    check (debit <> credit)
);
create index posting_debit on posting (debit);
create index posting_credit on posting (credit);

create table request (
    request_id text primary key,
    wallet text not null,
    key_id text not null,
    slug text not null,
    outcome text not null,
    charge_nanos bigint not null,
    shortfall_nanos bigint not null,
    cost_nanos bigint not null,
    input_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    output_tokens bigint not null,
    source text not null,
    credential text not null,
    upstream_request_id text not null,
    price_version text not null,
    first_byte_ms integer not null,
    total_ms integer not null,
    attempts smallint not null,
    ended_at timestamptz not null
);
create index request_wallet on request (wallet, ended_at desc);

create table cursor (
    part smallint primary key,
    epoch bigint not null default 1,
    seq bigint not null default 0
);
insert into cursor (part) select generate_series(0, 63);

create table outbox (
    id text primary key,
    kind text not null check (kind in ('key', 'credit')),
    wallet text not null,
    amount_nanos bigint not null default 0,
    counter text not null default '',
    key_id text not null default '',
    reason text not null default '',
    created_at timestamptz not null default now(),
    applied_at timestamptz
);
create index outbox_waiting on outbox (created_at) where applied_at is null;

create table node (
    process text primary key,
    node text not null,
    report jsonb not null,
    seen_at timestamptz not null default now()
);

create table audit (
    at timestamptz not null default now(),
    actor text not null,
    action text not null,
    subject text not null,
    details jsonb not null
);

-- Events and postings are facts: nobody changes them, not even by accident.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name;
end
$$;
create trigger event_append_only before update or delete on event
    for each row execute function refuse_change();
create trigger event_no_truncate before truncate on event
    for each statement execute function refuse_change();
create trigger posting_append_only before update or delete on posting
    for each row execute function refuse_change();
create trigger posting_no_truncate before truncate on posting
    for each statement execute function refuse_change();

grant select, insert, update on wallet, key, key_secret, cursor, outbox, installation to corvus_app;
grant select, insert, update, delete on node to corvus_app;
grant select, insert on event, posting, request, audit to corvus_app;

-- migrate:down
drop table audit, node, outbox, cursor, request, posting, event, key_secret, key, wallet,
    installation;
drop function refuse_change;
