-- migrate:up
-- Orders and payments, mail, links, sessions, sub-keys, alarms.
-- Why: a visitor becomes a customer here. Locks: wallet, key and outbox, for as long as a new column with
-- a constant default takes (no rewrite). Way back: below.

-- Keys under a main key: they spend from the same wallet, up to a cap. A cap of null is none.
alter table key add column main boolean not null default true;
alter table key add column cap_nanos bigint check (cap_nanos >= 0);
alter table key add column cap_period text not null default 'total'
    check (cap_period in ('total', 'day', 'week', 'month'));
-- Milliseconds since 1970, 0: never.
alter table key add column expires_ms bigint not null default 0;
alter table key add column revoked_at timestamptz;
-- '', 'owner', 'recovery' or 'operator': who stopped the key, and so who may let it go on.
alter table key add column frozen_by text not null default '';

-- Who may undo what a thief with the key does: the holder of the recovery code, or of the mailbox.
alter table wallet add column recovery_digest text not null default '';
create unique index wallet_recovery on wallet (recovery_digest) where recovery_digest <> '';
alter table wallet add column email text not null default '';
-- '', 'owner', 'operator' or 'chargeback': who stopped the wallet, and so who may open it again.
alter table wallet add column frozen_by text not null default '';
-- What a reversed payment left to pay after the balance was taken.
alter table wallet add column receivable_nanos bigint not null default 0 check (receivable_nanos >= 0);

-- A reversal takes what is free and leaves the rest as a receivable.
alter table outbox drop constraint outbox_kind_check;
alter table outbox add constraint outbox_kind_check
    check (kind in ('key', 'credit', 'debit', 'reversal'));

create table shop_order (
    order_id text primary key,
    -- Addresses of pages are secrets: found by digest, told by seal.
    token_digest text not null unique,
    token_sealed text not null,
    -- The browser that ordered; only it is shown the key without a further step.
    browser_digest text not null default '',
    -- One form sent twice is one order.
    form_digest text unique,
    provider text not null,
    provider_ref text,
    pay_url text not null default '',
    -- On-chain: where to pay, what, and until when at this rate.
    destination text not null default '',
    asset text not null default 'USD',
    asset_amount text not null default '',
    status text not null check (status in
        ('awaiting_payment', 'payment_seen', 'paid_confirmed', 'expired', 'invalid')),
    exception text not null default '' check (exception in
        ('', 'underpaid', 'overpaid', 'late', 'manual')),
    fulfilment text not null default 'none' check (fulfilment in
        ('none', 'credited', 'delivered', 'claimed')),
    refund text not null default '' check (refund in
        ('', 'requested', 'approved', 'sent', 'refused')),
    disputed boolean not null default false,
    amount_nanos bigint not null check (amount_nanos > 0),
    fee_nanos bigint not null default 0 check (fee_nanos >= 0),
    tax_nanos bigint not null default 0 check (tax_nanos >= 0),
    total_nanos bigint not null check (total_nanos = amount_nanos + fee_nanos + tax_nanos),
    credited_nanos bigint not null default 0 check (credited_nanos >= 0),
    refunded_nanos bigint not null default 0 check (refunded_nanos between 0 and credited_nanos),
    -- Null until a new key's wallet is made, at its first confirmed payment.
    wallet text references wallet,
    key_id text references key,
    new_key boolean not null,
    -- The buyer has shown to own the key that is topped up: its balance may be told.
    by_owner boolean not null default false,
    email text not null default '',
    -- The delivery copies of a new key and its recovery code, until claimed or seven days old.
    secret_sealed text not null default '',
    recovery_sealed text not null default '',
    reason text not null default '',
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    -- Until then the provider is asked about it, for late payments.
    watched_until timestamptz not null,
    -- Questions to the provider, numbered: an answer to an earlier one than the last that was taken
    -- is stale.
    asked bigint not null default 0,
    answered bigint not null default 0,
    checked_at timestamptz,
    check_problem text not null default '',
    -- When the worker asks next; null: not any more.
    next_check_at timestamptz,
    -- What is still due, in the asset.
    due text not null default '',
    confirmed_at timestamptz,
    unique (provider, provider_ref)
);
create index shop_order_due on shop_order (next_check_at) where next_check_at is not null;
create index shop_order_unopened on shop_order (expires_at) where provider_ref is null;
create index shop_order_created on shop_order (created_at desc);
create index shop_order_wallet on shop_order (wallet, created_at desc);
create index shop_order_sealed on shop_order (confirmed_at) where secret_sealed <> '';

create table payment (
    payment_id text primary key,
    order_id text not null references shop_order,
    provider text not null,
    -- The provider's own name of this one payment (payment intent, transaction and output).
    reference text not null,
    state text not null check (state in ('seen', 'confirmed', 'reversed', 'invalid')),
    asset text not null,
    asset_amount text not null,
    rate text not null default '1',
    value_nanos bigint not null check (value_nanos >= 0),
    -- What it became once it was confirmed: balance, fee and tax add up to what it counts for.
    counted boolean not null default false,
    credited_nanos bigint not null default 0 check (credited_nanos >= 0),
    fee_nanos bigint not null default 0 check (fee_nanos >= 0),
    tax_nanos bigint not null default 0 check (tax_nanos >= 0),
    -- How often it was taken back, and how much of the balance the last time.
    reversals smallint not null default 0,
    reversed_nanos bigint not null default 0 check (reversed_nanos >= 0),
    destination text not null default '',
    transaction text not null default '',
    confirmations integer not null default 0,
    confirmations_needed integer not null default 0,
    late boolean not null default false,
    seen_at timestamptz not null default now(),
    confirmed_at timestamptz,
    reversed_at timestamptz,
    unique (provider, reference)
);
create index payment_order on payment (order_id);

create table order_step (
    order_id text not null references shop_order,
    at timestamptz not null default now(),
    step text not null,
    details jsonb not null default '{}'
);
create index order_step_order on order_step (order_id, at);

-- Double entry of money outside the wallets: what providers hold, fees, taxes, refunds, receivables.
create table cash (
    id text not null,
    line smallint not null,
    debit text not null,
    credit text not null,
    amount_nanos bigint not null check (amount_nanos > 0),
    order_id text not null default '',
    at timestamptz not null default now(),
    primary key (id, line),
    check (debit <> credit)
);
create trigger cash_append_only before update or delete on cash
    for each row execute function refuse_change();
create trigger cash_no_truncate before truncate on cash
    for each statement execute function refuse_change();

create table refund (
    refund_id text primary key,
    order_id text not null references shop_order,
    -- The payment it is sent back on.
    payment_id text not null references payment,
    amount_nanos bigint not null check (amount_nanos > 0),
    state text not null check (state in ('requested', 'approved', 'sent', 'refused')),
    provider_ref text not null default '',
    actor text not null,
    reason text not null default '',
    created_at timestamptz not null default now(),
    ended_at timestamptz
);
create index refund_order on refund (order_id);
create index refund_open on refund (created_at) where state in ('requested', 'approved');

-- Every signed message of a payment service, once: a doubled one is known by its id.
create table webhook (
    provider text not null,
    event_id text not null,
    kind text not null,
    reference text not null default '',
    received_at timestamptz not null default now(),
    primary key (provider, event_id)
);
create index webhook_reference on webhook (provider, reference);

create table mail (
    mail_id text primary key,
    kind text not null,
    order_id text not null default '',
    wallet text not null default '',
    address text not null,
    -- What the templates need, sealed: it holds links.
    view_sealed text not null,
    state text not null default 'queued' check (state in
        ('queued', 'accepted', 'deferred', 'bounced', 'off')),
    attempts smallint not null default 0,
    next_at timestamptz not null default now(),
    problem text not null default '',
    message_id text not null default '',
    created_at timestamptz not null default now(),
    ended_at timestamptz
);
create index mail_waiting on mail (next_at) where state in ('queued', 'deferred');
create index mail_order on mail (order_id) where order_id <> '';
create index mail_address on mail (address, created_at);

-- Links of a mail: used once, by POST.
create table link (
    token_digest text primary key,
    kind text not null check (kind in ('claim', 'login', 'recover')),
    order_id text not null default '',
    wallet text not null default '',
    key_id text not null default '',
    email text not null default '',
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz
);

-- Requests for a new secret, from who has neither key nor code. By a payment's proof they wait, so that the
-- owner can stop them.
create table recovery (
    recovery_id text primary key,
    token_digest text not null unique,
    stop_digest text not null unique,
    how text not null check (how in ('payment', 'mail')),
    order_id text not null default '',
    wallet text not null references wallet,
    key_id text not null,
    created_at timestamptz not null default now(),
    opens_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    stopped_at timestamptz
);
create index recovery_living on recovery (wallet) where used_at is null and stopped_at is null;

-- Log-ins that are open, so that they can be seen and ended; and read-only tokens.
create table session (
    session_id text primary key,
    wallet text not null,
    key_id text not null,
    kind text not null check (kind in ('key', 'mail', 'token', 'order')),
    device text not null default '',
    created_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    ended_at timestamptz
);
create index session_wallet on session (wallet) where ended_at is null;

create table read_token (
    digest text primary key,
    token_id text not null unique,
    wallet text not null,
    key_id text not null,
    label text not null default '',
    masked text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
create index read_token_wallet on read_token (wallet);

create table alarm (
    alarm_id text primary key,
    wallet text not null references wallet,
    kind text not null check (kind in ('balance', 'hour', 'day', 'spike')),
    -- Nanos for balance, hour and day; percent of the usual for spike.
    threshold bigint not null check (threshold > 0),
    email boolean not null default false,
    webhook_url text not null default '',
    webhook_secret_sealed text not null default '',
    -- Fires once per crossing.
    fired_at timestamptz,
    created_at timestamptz not null default now(),
    unique (wallet, kind, threshold)
);

create table notice (
    notice_id text primary key,
    alarm_id text not null,
    wallet text not null,
    url text not null,
    body jsonb not null,
    state text not null default 'queued' check (state in ('queued', 'sent', 'failed')),
    attempts smallint not null default 0,
    next_at timestamptz not null default now(),
    problem text not null default '',
    created_at timestamptz not null default now(),
    ended_at timestamptz
);
create index notice_waiting on notice (next_at) where state = 'queued';

create index request_key on request (key_id, ended_at desc);

grant select, insert, update on shop_order, payment, refund, mail, link, recovery, session, read_token, notice
    to corvus_app;
grant select, insert, update, delete on alarm to corvus_app;
grant select, insert on order_step, cash, webhook to corvus_app;

-- migrate:down
drop index request_key;
drop table notice, alarm, read_token, session, recovery, link, mail, webhook, refund, cash, order_step, payment,
    shop_order;
alter table outbox drop constraint outbox_kind_check;
alter table outbox add constraint outbox_kind_check check (kind in ('key', 'credit', 'debit'));
alter table wallet drop column receivable_nanos, drop column frozen_by, drop column email,
    drop column recovery_digest;
alter table key drop column frozen_by, drop column revoked_at, drop column expires_ms, drop column cap_period,
    drop column cap_nanos, drop column main;
