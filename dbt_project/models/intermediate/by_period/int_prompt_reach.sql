{#- Of the newest date, the last visits are known; of an older one, which is built beside,
    they are found among all visits. -#}
{%- set is_newest = var('marts_schema') == 'marts' %}

with periods as (
    select * from {{ ref('int_periods') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

visits as (
    select * from {{ ref('int_prompt_visits') }}
    where usage_date <= {{ as_of_date() }}
),

-- all periods end on the as-of date: whoever came last within a period counts
{%- if is_newest %}

visitors as (
    select * from {{ ref('int_prompt_visitors') }}
),

-- who has come again since: when they came before is looked up one by one
returned as (
    select
        visitors.kind,
        visitors.source,
        visitors.prompt_key,
        visitors.visitor_key,
        (
            select max(visits.usage_date) from visits
            where
                visits.kind = visitors.kind
                and visits.source = visitors.source
                and visits.prompt_key = visitors.prompt_key
                and visits.visitor_key = visitors.visitor_key
        ) as last_date
    from visitors
    where visitors.last_date > {{ as_of_date() }}
),

last_visits as not materialized (
    select * from visitors
    where last_date <= {{ as_of_date() }}
    union all
    select * from returned
    where last_date is not null
),
{%- else %}

last_visits as (
    select
        kind,
        source,
        prompt_key,
        visitor_key,
        max(usage_date) as last_date
    from visits
    group by kind, source, prompt_key, visitor_key
),
{%- endif %}

-- there are far fewer days than visitors to hold against every period
key_days as (
    select
        prompt_key,
        kind,
        last_date,
        count(*) as visitor_count
    from last_visits
    group by prompt_key, kind, last_date
),

single_days as (
    select
        prompt_keys.prompt_id,
        key_days.kind,
        key_days.last_date,
        key_days.visitor_count
    from key_days
    inner join prompt_keys
        on
            key_days.prompt_key = prompt_keys.prompt_key
            and prompt_keys.key_count = 1
),

-- whoever used a prompt by two of its keys is one visitor
shared_visitors as (
    select
        prompt_keys.prompt_id,
        last_visits.kind,
        max(last_visits.last_date) as last_date
    from last_visits
    inner join prompt_keys
        on
            last_visits.prompt_key = prompt_keys.prompt_key
            and prompt_keys.key_count > 1
    group by
        prompt_keys.prompt_id,
        last_visits.kind,
        last_visits.source,
        last_visits.visitor_key
),

shared_days as (
    select
        prompt_id,
        kind,
        last_date,
        count(*) as visitor_count
    from shared_visitors
    group by prompt_id, kind, last_date
),

last_days as (
    select * from single_days
    union all
    select * from shared_days
),

final as (
    select
        periods.period,
        last_days.prompt_id,
        coalesce(
            sum(last_days.visitor_count) filter (where last_days.kind = 'user'), 0
        )::bigint as user_count,
        coalesce(
            sum(last_days.visitor_count)
            filter (where last_days.kind = 'session'),
            0
        )::bigint as session_count
    from last_days
    inner join periods on last_days.last_date >= periods.period_start
    group by periods.period, last_days.prompt_id
)

select * from final
