{{ config(meta={'dagster': {'ref': {'name': 'dashboard_metrics'}}}) }}

-- Business reason: whoever adds up the domains, models or agents of a page, or its hours,
-- must come to the number of all uses on the overview.
with segments as (
    select * from {{ ref('performance_by_segment') }}
),

hours as (
    select * from {{ ref('usage_by_hour') }}
),

dashboard as (
    select * from {{ ref('dashboard_metrics') }}
),

sums as (
    select
        period,
        scope,
        sum(usage_count) as usage_count,
        sum(total_cost) as total_cost
    from segments
    group by period, scope
    union all
    select
        period,
        'hours' as scope,
        sum(usage_count) as usage_count,
        null as total_cost
    from hours
    group by period
)

select
    dashboard.period,
    sums.scope,
    dashboard.usage_count,
    sums.usage_count as sum_of_segments
from dashboard
left join sums on dashboard.period = sums.period
where
    coalesce(sums.usage_count, 0) <> dashboard.usage_count
    or (
        sums.scope <> 'hours'
        and sums.total_cost is distinct from dashboard.total_cost
    )
