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
        -- the grain
        usage_date,
        source,
        prompt_key,
        prompt_version,
        agent_key,
        model,
        -- counts
        count(*) as usage_count,
        count(is_success) as outcome_count,
        count(*) filter (where is_success) as success_count,
        count(is_error) as error_known_count,
        count(*) filter (where is_error) as error_count,
        count(rating) as rated_count,
        count(response_time_ms) as response_time_count,
        count(cost) as priced_count,
        count(cost) filter (where is_success) as priced_success_count,
        count(*) filter (where is_unpriced) as unpriced_count,
        count(*) filter (where is_late) as late_count,
        -- sums, null over no known value
        sum(rating) as rating_sum,
        sum(response_time_ms) as response_time_sum_ms,
        sum(input_tokens)::bigint as input_tokens,
        sum(output_tokens)::bigint as output_tokens,
        sum(total_tokens)::bigint as total_tokens,
        sum(cost) as total_cost,
        sum(cost) filter (where not is_success) as failure_cost,
        -- what the spread of single uses is computed from
        sum(rating * rating) as rating_square_sum,
        sum(cost::double precision * cost::double precision) as cost_square_sum,
        count(*) filter (where response_time_ms > 0) as response_time_log_count,
        sum(ln(response_time_ms)) filter (where response_time_ms > 0)
            as response_time_log_sum,
        sum(ln(response_time_ms) * ln(response_time_ms))
        filter (where response_time_ms > 0)
            as response_time_log_square_sum,
        -- extremes
        min(used_at) as first_used_at,
        max(used_at) as last_used_at,
        max(loaded_at) as last_loaded_at
    from usage
    group by
        usage_date, source, prompt_key, prompt_version, agent_key, model
)

select * from final
