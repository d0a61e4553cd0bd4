{{ config(meta={'dagster': {'ref': {'name': 'prompt_version_performance'}}}) }}

-- Business reason: a use that belongs to no version, or to two, would make the versions of
-- a prompt incomparable.
with versions as (
    select * from {{ ref('prompt_version_performance') }}
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
    from versions
    group by prompt_id
)

select
    summary.prompt_id,
    summary.usage_count,
    sums.usage_count as sum_of_versions
from summary
left join sums on summary.prompt_id = sums.prompt_id
where
    (summary.usage_count, summary.success_count, summary.total_cost)
    is distinct from (
        coalesce(sums.usage_count, 0),
        coalesce(sums.success_count, 0),
        sums.total_cost
    )
