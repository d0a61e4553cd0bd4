-- depends_on: {{ ref('int_prompt_usage_daily') }}
-- depends_on: {{ ref('int_prompt_totals_monthly') }}
-- depends_on: {{ ref('int_response_times_by_grain') }}
-- depends_on: {{ ref('int_prompt_users_daily') }}
-- depends_on: {{ ref('int_prompt_sessions_daily') }}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='sync_all_columns',
        full_refresh=false,
        tags=['rollup'],
        pre_hook="{{ delete_touched_days() }}",
    )
}}

with touched_days as (
    select * from {{ ref('int_touched_days') }}
),

final as (
    select
        usage_date,
        current_timestamp as built_at
    from touched_days
)

select * from final
