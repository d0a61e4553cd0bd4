{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='sync_all_columns',
        full_refresh=false,
        tags=['rollup'],
        indexes=[{'columns': ['usage_date']}],
        pre_hook="{{ delete_touched_days() }}",
        post_hook="{{ analyze_changed() }}",
    )
}}

with usage as (
    select * from {{ ref('int_touched_usage') }}
),

final as (
    select
        -- the grain: no prompt, so that a day has 24 rows a source at most
        usage_date,
        {{ hour_of('used_at') }} as usage_hour,
        source,
        -- counts
        count(*) as usage_count,
        count(is_success) as outcome_count,
        count(*) filter (where is_success) as success_count,
        count(response_time_ms) as response_time_count,
        -- sums, null over no known value
        sum(response_time_ms) as response_time_sum_ms
    from usage
    group by usage_date, {{ hour_of('used_at') }}, source
)

select * from final
