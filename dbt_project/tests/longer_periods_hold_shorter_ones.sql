{{ config(meta={'dagster': {'ref': {'name': 'prompt_performance_summary'}}}) }}

-- Business reason: all windows end on the same day, so a month that counts fewer uses
-- than its week means that a window or a join is wrong.
with summary as (
    select * from {{ ref('prompt_performance_summary') }}
),

lengthening as (
    select
        period,
        prompt_id,
        usage_count,
        user_count,
        total_cost,
        lag(usage_count) over windows as shorter_usage_count,
        lag(user_count) over windows as shorter_user_count,
        lag(total_cost) over windows as shorter_total_cost
    from summary
    window windows as (
        partition by prompt_id
        order by array_position(
            array['day', 'week', 'month', 'quarter', 'year', 'all'], period
        )
    )
)

select * from lengthening
where
    usage_count < shorter_usage_count
    or user_count < shorter_user_count
    or coalesce(total_cost, 0) < coalesce(shorter_total_cost, 0)
