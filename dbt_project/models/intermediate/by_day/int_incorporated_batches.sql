-- depends_on: {{ ref('int_prompt_usage_daily') }}
-- depends_on: {{ ref('int_response_time_histogram_daily') }}
-- depends_on: {{ ref('int_prompt_users_daily') }}
-- depends_on: {{ ref('int_usage_hourly') }}
-- depends_on: {{ ref('int_errors_daily') }}
-- depends_on: {{ ref('int_prompt_sessions_daily') }}
-- depends_on: {{ ref('int_day_builds') }}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        full_refresh=false,
    )
}}

with pending as (
    select * from {{ ref('int_pending_batches') }}
),

final as (
    select
        batch_id,
        '{{ var("timezone") }}'::text as timezone,
        current_timestamp as incorporated_at
    from pending
)

select * from final
