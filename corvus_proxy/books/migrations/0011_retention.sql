-- migrate:up
-- Retention: what was used, by day, once the requests themselves are gone; a function that deletes what is
-- old, and how far it has come.
-- Why: personal and request data is not kept for ever. Nothing of money is lost: see docs/retention.md.
-- Locks: event against writers, for as long as a trigger takes. Way back: below; what was deleted stays so.

-- Sums over requests whose rows are deleted, by the UTC day of their end.
create table request_day (
    wallet text not null,
    at timestamptz not null,
    key_id text not null,
    slug text not null,
    outcome text not null,
    requests bigint not null,
    charge_nanos bigint not null,
    shortfall_nanos bigint not null,
    input_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    output_tokens bigint not null,
    primary key (wallet, at, key_id, slug, outcome)
);

-- What was used, whether its detail is still there or not. A late charge has a row of its own and is
-- the same request.
create view used as
    select wallet, key_id, slug, outcome, ended_at,
           case when request_id like '%:L' then 0 else 1 end::bigint as requests, charge_nanos,
           shortfall_nanos, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens
    from request
    union all
    select wallet, key_id, slug, outcome, at, requests, charge_nanos, shortfall_nanos, input_tokens,
           cache_read_tokens, cache_write_tokens, output_tokens
    from request_day;

-- How far each kind has come: everything of before `cut` is gone once it is `done`, else up to `place`.
create table retention (
    kind text primary key,
    cut timestamptz not null,
    place text not null default '',
    done boolean not null default false,
    gone bigint not null default 0,
    at timestamptz not null default now()
);

-- Of an old event, what its charge was made from may go; nothing else of it ever changes.
create function keep_event() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and old.type in ('S', 'X', 'L')
        and old.written_at < now() - interval '35 days' and new.meta = '{"gone": true}'
        and to_jsonb(new) - 'meta' = to_jsonb(old) - 'meta'
    then
        return new;
    end if;
    raise exception '% is append-only', tg_table_name;
end
$$;
drop trigger event_append_only on event;
create trigger event_append_only before update or delete on event
    for each row execute function keep_event();

create function order_is_open(o shop_order) returns boolean language sql stable as $$
    select o.status in ('awaiting_payment', 'payment_seen') or o.next_check_at is not null or o.disputed
        or o.refund in ('requested', 'approved')
        or exists (select from refund r where r.order_id = o.order_id and r.state in ('requested', 'approved'))
$$;

-- Deletes what is of before `cut`, a piece at a time: of what follows `place`, at most `most` rows are read.
-- Says how much is gone and where to go on; no place: that was all. `corvus_app` may call it and has no right
-- to delete, so that whoever has that role cannot delete what is young.
create function forget(of_kind text, cut timestamptz, place text, most integer, out gone bigint, out upto text)
language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '1s' as $$
declare
    least_days integer := case of_kind when 'request' then 35 when 'order' then 30 when 'mail' then 7
        when 'link' then 1 when 'recovery' then 7 when 'session' then 2 when 'token' then 1 when 'notice' then 1
        when 'webhook' then 30 when 'quarantine' then 35 end;
    name text := case of_kind when 'token' then 'read_token' else of_kind end;
    id text := case of_kind when 'mail' then 'mail_id' when 'link' then 'token_digest'
        when 'recovery' then 'recovery_id' when 'session' then 'session_id' when 'token' then 'digest'
        when 'notice' then 'notice_id' end;
    due text := case of_kind
        when 'mail' then 't.ended_at < $3 and not exists (select from shop_order o
            where o.order_id = t.order_id and order_is_open(o))'
        when 'link' then 'least(t.used_at, t.expires_at) < $3'
        when 'recovery' then 'least(t.used_at, t.stopped_at, t.expires_at) < $3'
        when 'session' then 'coalesce(t.ended_at, t.seen_at) < $3'
        when 'token' then 'least(t.revoked_at, t.expires_at) < $3'
        when 'notice' then 't.ended_at < $3' end;
    seen bigint;
begin
    if least_days is null or most is null or most < 1 then
        raise exception 'forget knows no kind % or no number %', of_kind, most;
    end if;
    if cut is null or cut > now() - make_interval(days => least_days) then
        raise exception '% is kept for at least % days', of_kind, least_days;
    end if;
    if of_kind = 'request' then
        -- Days are counted from requests: what is not counted yet stays.
        if not exists (select from day_counted d where d.upto > cut + interval '1 hour') then
            gone := 0;
            upto := place;
            return;
        end if;
        select count(*), max(w.wallet) into seen, upto
        from (select w.wallet from wallet w where w.wallet > place order by w.wallet limit 200) w;
        with old as materialized (
            select d.* from (
                select w.wallet from wallet w where w.wallet > place order by w.wallet limit 200) w
            cross join lateral (
                select r.request_id, e.part, e.epoch, e.seq from request r
                join event e on e.type in ('S', 'X', 'L') and e.ext_id = r.request_id
                where r.wallet = w.wallet and r.ended_at < cut and e.written_at < cut limit most) d
            limit most),
        taken as (delete from request r using old where r.request_id = old.request_id returning r.*),
        summed as (
            insert into request_day as had
            select wallet, date_trunc('day', ended_at, 'UTC'), key_id, slug, outcome,
                   count(*) filter (where request_id not like '%:L'), sum(charge_nanos), sum(shortfall_nanos),
                   sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(output_tokens)
            from taken group by 1, 2, 3, 4, 5
            on conflict (wallet, at, key_id, slug, outcome) do update set
                requests = had.requests + excluded.requests,
                charge_nanos = had.charge_nanos + excluded.charge_nanos,
                shortfall_nanos = had.shortfall_nanos + excluded.shortfall_nanos,
                input_tokens = had.input_tokens + excluded.input_tokens,
                cache_read_tokens = had.cache_read_tokens + excluded.cache_read_tokens,
                cache_write_tokens = had.cache_write_tokens + excluded.cache_write_tokens,
                output_tokens = had.output_tokens + excluded.output_tokens),
        reduced as (
            update event e set meta = '{"gone": true}' from old
            where e.part = old.part and e.epoch = old.epoch and e.seq = old.seq)
        select count(*) into gone from taken;
        if gone = most then
            upto := place;
        elsif seen < 200 then
            upto := null;
        end if;
        return;
    elsif of_kind = 'order' then
        with span as (
            select o.order_id from shop_order o where o.order_id > place order by o.order_id limit most),
        old as (
            select o.order_id from shop_order o join span using (order_id)
            where (o.email <> '' or o.browser_digest <> '' or o.form_digest is not null or o.pay_url <> '')
                and not order_is_open(o)
                and greatest(o.watched_until, o.confirmed_at, (
                    select max(s.at) from order_step s where s.order_id = o.order_id)) < cut
            for update of o skip locked),
        cleared as (
            update shop_order o set email = '', browser_digest = '', form_digest = null, pay_url = ''
            from old where o.order_id = old.order_id returning 1)
        select (select count(*) from cleared), (select max(order_id) from span), (select count(*) from span)
        into gone, upto, seen;
    elsif of_kind = 'webhook' then
        with span as (
            select w.provider, w.event_id, w.received_at from webhook w
            where (w.provider, w.event_id) > (split_part(place, ' ', 1), substr(place, strpos(place, ' ') + 1))
            order by 1, 2 limit most),
        deleted as (
            delete from webhook w using span s
            where w.provider = s.provider and w.event_id = s.event_id and s.received_at < cut returning 1)
        select (select count(*) from deleted), (select s.provider || ' ' || s.event_id from span s
            order by s.provider desc, s.event_id desc limit 1), (select count(*) from span)
        into gone, upto, seen;
    elsif of_kind = 'quarantine' then
        with old as (
            select q.part, q.epoch, q.seq from quarantine q
            where q.released_at < cut and q.raw <> '{}' limit most for update skip locked),
        emptied as (
            update quarantine q set raw = '{}' from old
            where q.part = old.part and q.epoch = old.epoch and q.seq = old.seq returning 1)
        select count(*), '' into gone, upto from emptied;
        seen := gone;
    else
        execute format(
            'with span as (select %1$I as id from %2$I where %1$I > $1 order by 1 limit $2),
            deleted as (delete from %2$I t using span where t.%1$I = span.id and %3$s returning 1)
            select (select count(*) from deleted), (select max(id) from span), (select count(*) from span)',
            id, name, due) into gone, upto, seen using place, most, cut;
    end if;
    if seen < most then
        upto := null;
    end if;
end
$$;
revoke execute on function forget from public;
grant execute on function forget to corvus_app;
grant select on request_day, used to corvus_app;
grant select, insert, update on retention to corvus_app;

-- migrate:down
drop function forget;
drop function order_is_open;
drop trigger event_append_only on event;
create trigger event_append_only before update or delete on event
    for each row execute function refuse_change();
drop function keep_event;
drop table retention;
drop view used;
drop table request_day;
