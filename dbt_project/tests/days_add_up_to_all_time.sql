{{ config(meta={'dagster': {'ref': {'name': 'usage_daily_totals'}}}) }}

-- Business reason: the daily mart feeds every chart, the summary every table; a page that
-- shows both must show the same numbers.
with usage_daily as (
    select * from {{ ref('usage_daily_totals') }}
    where scope = 'prompt'
),

summary as (
    select * from {{ ref('prompt_performance_summary') }}
    where period = 'all'
),

sums as (
    select
        prompt_id,
        sum(usage_count) as usage_count,
        sum(success_count) as success_count,
        sum(total_cost) as total_cost
    from usage_daily
    group by prompt_id
)

select
    summary.prompt_id,
    summary.usage_count,
    sums.usage_count as sum_of_days
from summary
left join sums on summary.prompt_id = sums.prompt_id
where
    (summary.usage_count, summary.success_count, summary.total_cost)
    is distinct from (
        coalesce(sums.usage_count, 0),
        coalesce(sums.success_count, 0),
        sums.total_cost
    )
