-- migrate:up
-- Recovery: events that could not be booked, partitions that the operator wants rebuilt, debits that
-- are repeated until Redis has them.
-- Why: one bad event must not stop the others. Locks: outbox, for the check. Way back: below.

create table quarantine (
    part smallint not null,
    epoch bigint not null,
    seq bigint not null,
    wallet text not null,
    raw jsonb not null,
    why text not null,
    found_at timestamptz not null default now(),
    -- Set when an operator has booked it, or decided that it is not to be booked.
    released_at timestamptz,
    primary key (part, epoch, seq)
);
create index quarantine_wallet on quarantine (wallet) where released_at is null;

create table rebuild_request (
    part smallint primary key check (part between 0 and 63),
    asked_at timestamptz not null default now()
);

alter table outbox drop constraint outbox_kind_check;
alter table outbox add constraint outbox_kind_check check (kind in ('key', 'credit', 'debit'));

grant select, insert, update on quarantine to corvus_app;
grant select, insert, delete on rebuild_request to corvus_app;

-- migrate:down
alter table outbox drop constraint outbox_kind_check;
alter table outbox add constraint outbox_kind_check check (kind in ('key', 'credit'));
drop table rebuild_request, quarantine;
