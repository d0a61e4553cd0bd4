{{ config(post_hook="analyze {{ this }}") }}

{#- An older date is counted beside the marts, from the visits themselves: what the marts are
    counted from stays as it is. -#}
{%- set changes = var('marts_schema') == 'marts' %}
{%- set visitors = known_visitors() %}

with builds as (
    select * from {{ ref('int_day_builds') }}
),

basis as (
    select * from {{ ref('int_daily_basis') }}
    where mart = 'int_prompt_visitors'
),

last_days as (
    select * from {{ ref('int_prompt_last_days') }}
),

held as (
    select
        input_key::date as usage_date,
        made_from
    from basis
    where {{ 'true' if visitors else 'false' }}
),

changed as (
    select
        builds.usage_date,
        builds.built_at
    from builds
    left join held on builds.usage_date = held.usage_date
    where
        builds.usage_date <= {{ as_of_date() }}
        and builds.built_at::text is distinct from held.made_from
),

-- days after the as-of date, where that has gone back, count no longer
withdrawn as (
    select usage_date from held
    where usage_date > {{ as_of_date() }}
    union
    select last_date as usage_date from last_days
    where last_date > {{ as_of_date() }}
),

different as (
    select * from changed
    union all
    select
        usage_date,
        null::timestamptz as built_at
    from withdrawn
),

final as (
    select * from different
    where {{ 'true' if changes or not visitors else 'false' }}
)

select * from final
