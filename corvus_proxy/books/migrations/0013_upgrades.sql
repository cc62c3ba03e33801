-- migrate:up
-- Upgrades and rotation: which code may run on which schema, and under which pepper a secret was hashed.
-- Why: the release before runs on beside the next one, and refuses a schema that nobody says it may use; an old
-- pepper is no longer needed once no secret rests on it. Locks: key_secret for a moment; existing rows take the
-- default of this very session, which is empty, from the catalogue. Way back: below.

-- A migration that is not in this table is for code alone that knows it.
create table schema_support (
    version text primary key,
    -- The newest migration that code must know at least to run on the schema with this one.
    runs_from text not null
);

-- The id of the pepper, as the session that inserts tells it; empty: not known.
alter table key_secret add column pepper text not null default coalesce(current_setting('corvus.pepper', true), '');

grant select on schema_support, schema_migrations to corvus_app;

-- migrate:down
alter table key_secret drop column pepper;
drop table schema_support;
