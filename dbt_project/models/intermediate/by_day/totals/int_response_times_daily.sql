{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='sync_all_columns',
        full_refresh=false,
        tags=['rollup'],
        indexes=[
            {'columns': ['breakdown', 'usage_date']},
            {'columns': ['usage_date']},
        ],
        pre_hook="{{ delete_touched_days() }}",
        post_hook="{{ analyze_changed() }}",
    )
}}

with touched_days as (
    select * from {{ ref('int_touched_days') }}
),

histogram as (
    select * from {{ ref('int_response_time_histogram_daily') }}
),

touched as (
    select histogram.*
    from histogram
    inner join touched_days on histogram.usage_date = touched_days.usage_date
),

final as (
    select
        usage_date,
        case grouping(prompt_key, agent_key, model)
            when 3 then 'prompt'
            when 5 then 'agent'
            when 6 then 'model'
            when 7 then 'all'
        end as breakdown,
        prompt_key,
        agent_key,
        model,
        bucket,
        sum(usage_count)::bigint as usage_count
    from touched
    group by
        usage_date,
        bucket,
        grouping sets ((), (prompt_key), (agent_key), (model))
)

select * from final
