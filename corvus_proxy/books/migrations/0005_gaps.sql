-- migrate:up
-- Events that nobody has any more and that the books were taken over.
-- Why: books restored from a backup without an archive stood still for ever. Locks: nothing, the table
-- is new. Way back: drop it.
create table gap (
    part smallint not null check (part between 0 and 63),
    -- The last event before it, and the last one in it.
    after_epoch bigint not null,
    after_seq bigint not null,
    upto_epoch bigint not null,
    upto_seq bigint not null,
    bridged_at timestamptz not null default now(),
    primary key (part, upto_epoch, upto_seq)
);
grant select, insert on gap to corvus_app;

-- migrate:down
drop table gap;
