{{ config(meta={'dagster': {'ref': {'name': 'usage_trends'}}}) }}

-- Business reason: the line of all prompts stands above those of single ones; where they
-- do not add up to it, or a day is missing from a line, the picture lies.
with trends as (
    select * from {{ ref('usage_trends') }}
),

usage_daily as (
    select * from {{ ref('usage_daily_totals') }}
    where scope = 'all'
),

sums as (
    select
        usage_date,
        sum(usage_count) filter (where scope = 'prompt') as sum_of_prompts,
        sum(usage_count) filter (where scope = 'all') as usage_count,
        sum(total_cost) filter (where scope = 'prompt') as cost_of_prompts,
        sum(total_cost) filter (where scope = 'all') as total_cost
    from trends
    group by usage_date
),

days as (
    select
        usage_date,
        sum(usage_count) as usage_count
    from usage_daily
    group by usage_date
)

select
    sums.usage_date,
    sums.usage_count,
    sums.sum_of_prompts,
    days.usage_count as usage_count_of_day
from sums
left join days on sums.usage_date = days.usage_date
where
    sums.usage_count is distinct from coalesce(sums.sum_of_prompts, 0)
    or sums.usage_count <> coalesce(days.usage_count, 0)
    or sums.total_cost is distinct from sums.cost_of_prompts
