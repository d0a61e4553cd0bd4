{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='sync_all_columns',
        full_refresh=false,
        tags=['rollup'],
        indexes=[{'columns': ['breakdown', 'month_start']}],
        pre_hook="{{ delete_touched_months() }}",
        post_hook="{{ analyze_changed() }}",
    )
}}

with touched_months as (
    select distinct date_trunc('month', usage_date)::date as month_start
    from {{ ref('int_touched_days') }}
),

days as (
    select * from {{ ref('int_prompt_totals_daily') }}
),

final as (
    select
        touched_months.month_start,
        days.breakdown,
        days.prompt_key,
        days.source,
        days.prompt_version,
        days.agent_key,
        days.model,
        {{ added_up('days') }}
    from touched_months
    inner join days
        on
            touched_months.month_start <= days.usage_date
            and touched_months.month_start + interval '1 month' > days.usage_date
    group by
        touched_months.month_start,
        days.breakdown,
        days.prompt_key,
        days.source,
        days.prompt_version,
        days.agent_key,
        days.model
)

select * from final
