-- migrate:up
-- What about the upstream's counts was odd, on the request's own row.
-- Why: a charge that was lowered or contradicts its text is found without reading events.
-- Locks: request, for as long as a new column with a constant default takes (no rewrite). Way back:
-- below.
alter table request add column flags text[] not null default '{}';

-- migrate:down
alter table request drop column flags;
