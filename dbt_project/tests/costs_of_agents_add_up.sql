{{ config(meta={'dagster': {'ref': {'name': 'dashboard_metrics'}}}) }}

-- Business reason: the bill divided among agents must be the bill.
with costs as (
    select * from {{ ref('agent_costs') }}
),

dashboard as (
    select * from {{ ref('dashboard_metrics') }}
),

sums as (
    select
        period,
        sum(usage_count) as usage_count,
        sum(total_cost) as total_cost
    from costs
    group by period
),

spoilt_shares as (
    select period
    from costs
    group by period, domain
    having abs(sum(cost_share) - 1) > 1e-9
)

select
    dashboard.period,
    dashboard.total_cost,
    sums.total_cost as sum_of_costs
from dashboard
left join sums on dashboard.period = sums.period
where
    dashboard.usage_count <> coalesce(sums.usage_count, 0)
    or dashboard.total_cost is distinct from sums.total_cost
    or dashboard.period in (select spoilt_shares.period from spoilt_shares)
