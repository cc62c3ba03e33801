-- migrate:up
-- The operator's desk: what is switched off, who may log in to the console, refunds that wait for a second operator,
-- and an order of the audit's rows.
-- Why: what an operator switches off outlives every restart, and each deed of the desk can be read again in its order.
-- Locks: audit for as long as its rows are written anew (it has one a deed); refund for as long as new columns with a
-- constant default take; payment, mail, shop_order and request against writers for as long as each is read once:
-- nothing is booked meanwhile, which gateways outlast by ledger.lag_limit. Way back: below.

create table stopped (
    kind text not null check (kind in ('sales', 'model', 'credential', 'draining')),
    -- A slug, or family/name of a credential; empty for the sales.
    subject text not null,
    reason text not null,
    actor text not null,
    at timestamptz not null default now(),
    primary key (kind, subject)
);

create table operator (
    name text primary key check (name ~ '^[a-z0-9][a-z0-9._-]{0,31}$'),
    -- Of the token that logs in; the token itself is kept nowhere.
    digest text not null unique,
    created_by text not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);

alter table audit add column audit_id bigint generated always as identity;
create unique index audit_order on audit (audit_id);
create index audit_subject on audit (subject, audit_id);

-- It waits until another operator than the one who asked for it says yes; nothing is taken before.
alter table refund add column waits boolean not null default false;

-- What the desk asks of all requests, orders and mails together.
create index payment_confirmed on payment (confirmed_at);
create index mail_bounced on mail (ended_at) where state = 'bounced';
create index shop_order_disputed on shop_order (order_id) where disputed;
create index payment_uncounted on payment (order_id) where state = 'confirmed' and not counted;
-- Requests come nearly in the order of their ends: a block range costs the writer next to nothing.
create index request_ended on request using brin (ended_at) with (autosummarize = on);

grant select, insert, delete on stopped to corvus_app;
grant select, insert, update on operator to corvus_app;

-- migrate:down
drop index request_ended, shop_order_disputed, payment_uncounted, mail_bounced, payment_confirmed;
alter table refund drop column waits;
drop index audit_subject, audit_order;
alter table audit drop column audit_id;
drop table operator, stopped;
