-- migrate:up
-- Why Redis refused a credit or debit of the outbox: it is not tried again, and the operator is told.
-- Why: a credit beyond the wallet's cap was sent and logged twice a second for ever.
-- Locks: outbox, for as long as a new column with a constant default takes (no rewrite) and an index
-- over no row. Way back: below.
alter table outbox add column refused text not null default '';
create index outbox_refused on outbox (wallet) where refused <> '';

-- migrate:down
drop index outbox_refused;
alter table outbox drop column refused;
