{{ config(post_hook="analyze {{ this }}") }}

{%- set visitors = known_visitors() %}

with visitor_days as (
    select * from {{ ref('int_visitor_days') }}
),

last_days as (
    select * from {{ ref('int_prompt_last_days') }}
),

visits as not materialized (
    select * from {{ ref('int_prompt_visits') }}
    where usage_date <= {{ as_of_date() }}
),

known as not materialized (
    {%- if visitors %}
    select * from {{ visitors }}
    {%- else %}
    -- all are new: int_prompt_visitors takes them from the visits themselves
    select
        kind,
        source,
        prompt_key,
        visitor_key,
        usage_date as last_date
    from visits
    where false
    {%- endif %}
),

-- Day by day, each a range of an index: joined by the day, all visits would be read for the
-- few days that differ (the offset keeps PostgreSQL from making it that join). In the order of
-- the index that they are looked up by, so that each of its pages is read once.
came as (
    select
        visits_of_day.kind,
        visits_of_day.source,
        visits_of_day.prompt_key,
        visits_of_day.visitor_key,
        max(visits_of_day.usage_date) as last_date
    from visitor_days
    cross join
        lateral (
            select visits.*
            from visits
            where visits.usage_date = visitor_days.usage_date
            offset 0  -- noqa: AM09
        ) as visits_of_day
    where {{ 'true' if visitors else 'false' }}
    group by
        visits_of_day.kind,
        visits_of_day.source,
        visits_of_day.prompt_key,
        visits_of_day.visitor_key
    order by
        visits_of_day.prompt_key,
        visits_of_day.visitor_key,
        visits_of_day.kind,
        visits_of_day.source
),

compared as (
    select
        came.*,
        known.last_date as known_date
    from came
    left join known
        on
            came.prompt_key = known.prompt_key
            and came.visitor_key = known.visitor_key
            and came.kind = known.kind
            and came.source = known.source
),

found as (
    select
        prompt_key,
        kind,
        known_date,
        count(*) as visitor_count
    from compared
    group by prompt_key, kind, known_date
),

-- who did not come on a day that was their last and that differs: the counts tell whether
-- there is anyone, so that nearly always nobody is looked for
short as (
    select
        last_days.prompt_key,
        last_days.kind,
        last_days.last_date
    from last_days
    inner join visitor_days on last_days.last_date = visitor_days.usage_date
    left join found
        on
            last_days.prompt_key = found.prompt_key
            and last_days.kind = found.kind
            and last_days.last_date = found.known_date
    where last_days.visitor_count > coalesce(found.visitor_count, 0)
),

absent as (
    select
        known.kind,
        known.source,
        known.prompt_key,
        known.visitor_key,
        known.last_date as known_date
    from known
    inner join short
        on
            known.prompt_key = short.prompt_key
            and known.kind = short.kind
            and known.last_date = short.last_date
    where
        not exists (
            select 1 from came
            where
                came.prompt_key = known.prompt_key
                and came.visitor_key = known.visitor_key
                and came.kind = known.kind
                and came.source = known.source
        )
),

moved_back as (
    select
        compared.kind,
        compared.source,
        compared.prompt_key,
        compared.visitor_key,
        compared.known_date
    from compared
    inner join visitor_days on compared.known_date = visitor_days.usage_date
    where compared.known_date > compared.last_date
    union all
    select * from absent
),

-- Their last day may be any that still stands. All visits are read once, and only if there is
-- anyone to look up (`is true` keeps PostgreSQL from joining, for which it would sort them all).
looked_up as (
    select
        kind,
        source,
        prompt_key,
        visitor_key,
        max(usage_date) as last_date
    from visits
    where
        exists (select 1 from moved_back)
        and (
            (kind, source, prompt_key, visitor_key) in (
                select
                    moved_back.kind,
                    moved_back.source,
                    moved_back.prompt_key,
                    moved_back.visitor_key
                from moved_back
            )
        ) is true
    group by kind, source, prompt_key, visitor_key
),

last_visits as (
    select
        compared.kind,
        compared.source,
        compared.prompt_key,
        compared.visitor_key,
        compared.known_date,
        greatest(compared.known_date, compared.last_date) as last_date
    from compared
    left join visitor_days on compared.known_date = visitor_days.usage_date
    where
        visitor_days.usage_date is null
        or compared.known_date <= compared.last_date
    union all
    select
        moved_back.*,
        looked_up.last_date
    from moved_back
    left join looked_up
        on
            moved_back.prompt_key = looked_up.prompt_key
            and moved_back.visitor_key = looked_up.visitor_key
            and moved_back.kind = looked_up.kind
            and moved_back.source = looked_up.source
),

final as (
    select * from last_visits
    where last_date is distinct from known_date
)

select * from final
