{#- Of the newest date, the last visits are known and counted; of an older one, which is built
    beside, they are found among all visits. -#}
{%- set is_newest = var('marts_schema') == 'marts' %}
{#- outside the condition: the same dependencies, and so the same order, whichever is built -#}
{%- set visits = ref('int_prompt_visits') -%}
{%- set visitors = ref('int_prompt_visitors') -%}
{%- set last_days = ref('int_prompt_last_days') %}

with periods as (
    select * from {{ ref('int_periods') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

-- all periods end on the as-of date: whoever came last within a period counts, and there are
-- far fewer days than visitors to hold against every period
{%- if is_newest %}

last_visits as not materialized (
    select * from {{ visitors }}
),

key_days as (
    select * from {{ last_days }}
),
{%- else %}

visits as (
    select * from {{ visits }}
    where usage_date <= {{ as_of_date() }}
),

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

key_days as (
    select
        prompt_key,
        kind,
        last_date,
        count(*) as visitor_count
    from last_visits
    group by prompt_key, kind, last_date
),
{%- endif %}

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
