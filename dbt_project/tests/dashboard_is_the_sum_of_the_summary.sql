{{ config(meta={'dagster': {'ref': {'name': 'dashboard_metrics'}}}) }}

-- Business reason: a reader who adds up the prompts must arrive at the dashboard.
with dashboard as (
    select * from {{ ref('dashboard_metrics') }}
),

summary as (
    select * from {{ ref('prompt_performance_summary') }}
),

sums as (
    select
        period,
        sum(usage_count) as usage_count,
        count(*) filter (where usage_count > 0) as used_prompts,
        sum(total_tokens) as total_tokens,
        sum(total_cost) as total_cost,
        sum(previous_usage_count) as previous_usage_count,
        sum(success_count) / nullif(sum(outcome_count), 0)
            as success_rate,
        sum(average_rating * rated_count) / nullif(sum(rated_count), 0)
            as average_rating
    from summary
    group by period
)

select
    dashboard.period,
    dashboard.usage_count,
    sums.usage_count as sum_of_prompts
from dashboard
left join sums on dashboard.period = sums.period
where
    (
        dashboard.usage_count,
        dashboard.used_prompts,
        dashboard.total_tokens,
        dashboard.total_cost
    ) is distinct from (
        coalesce(sums.usage_count, 0),
        coalesce(sums.used_prompts, 0),
        sums.total_tokens,
        sums.total_cost
    )
    or coalesce(dashboard.previous_usage_count, 0)
    <> coalesce(sums.previous_usage_count, 0)
    or abs(dashboard.success_rate - sums.success_rate) > 1e-9
    or abs(dashboard.average_rating - sums.average_rating) > 1e-9
