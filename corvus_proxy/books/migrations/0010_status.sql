-- migrate:up
-- The measured status: seconds by day and component, incidents, the operator's notes on them.
-- Why: its history outlives the worker's folder, and what requests came to is asked for each half minute.
-- Locks: event against writers while its index is made, which reads the table once (an index of ranges: a
-- few pages, and next to nothing for each new row). Way back: drop them.
create table status_day (
    day date not null,
    component text not null,
    ok_s bigint not null check (ok_s >= 0),
    degraded_s bigint not null check (degraded_s >= 0),
    down_s bigint not null check (down_s >= 0),
    primary key (day, component)
) with (fillfactor = 50);

create table incident (
    incident_id text primary key,
    component text not null,
    title text not null,
    state text not null check (state in ('degraded', 'down')),
    detail text not null,
    started_at timestamptz not null,
    ended_at timestamptz
);
create index incident_ended on incident (ended_at);

create table incident_note (
    incident_id text not null references incident,
    at timestamptz not null,
    text text not null,
    primary key (incident_id, at, text)
);

create index event_written on event using brin (written_at) with (pages_per_range = 16, autosummarize = on);

grant select, insert, update on status_day, incident to corvus_app;
grant select, insert on incident_note to corvus_app;

-- migrate:down
drop index event_written;
drop table incident_note;
drop table incident;
drop table status_day;
