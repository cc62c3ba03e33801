-- migrate:up
-- What each upstream credential has cost the operator, by UTC day.
-- Why: a credential's budget has to be known without summing a month of requests each second. Locks: nothing,
-- the table is new; requests are read once. Way back: drop it, requests have every cost.
create table credential_cost (
    day date not null,
    credential text not null,
    cost_nanos bigint not null check (cost_nanos >= 0),
    primary key (day, credential)
) with (fillfactor = 50);
insert into credential_cost
    select (ended_at at time zone 'utc')::date, credential, sum(cost_nanos)
    from request where cost_nanos > 0 group by 1, 2;
grant select, insert, update on credential_cost to corvus_app;

-- migrate:down
drop table credential_cost;
