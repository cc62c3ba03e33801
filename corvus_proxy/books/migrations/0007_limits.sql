-- migrate:up
-- What a sub-key may do in a minute and at once, and on which models.
-- Why: an owner hands a key to a program that must not take everything. Locks: key, for as long as a new
-- column with a constant default takes (no rewrite). Way back: below.

-- Null is no limit, and so is a list of no models.
alter table key add column requests_per_minute integer check (requests_per_minute > 0);
alter table key add column tokens_per_minute bigint check (tokens_per_minute > 0);
alter table key add column concurrency integer check (concurrency > 0);
alter table key add column models text[] not null default '{}';

-- migrate:down
alter table key drop column requests_per_minute, drop column tokens_per_minute, drop column concurrency,
    drop column models;
