{{ config(meta={'dagster': {'ref': {'name': 'performance_distribution'}}}) }}

-- Business reason: a bar chart of shares that do not sum to one, or that leaves a prompt
-- out, misleads about all the others.
with distribution as (
    select * from {{ ref('performance_distribution') }}
),

summary as (
    select * from {{ ref('prompt_performance_summary') }}
),

sums as (
    select
        period,
        scope,
        domain,
        metric,
        sum(prompt_count) as prompt_count,
        sum(prompt_share) as prompt_share
    from distribution
    group by period, scope, domain, metric
),

totals as (
    select
        period,
        scope,
        sum(prompt_count) as prompt_count
    from sums
    group by period, scope
),

known as (
    select
        period,
        count(success_rate) + count(average_rating)
        + count(average_response_time_ms) + count(cost_per_use)
            as prompt_count
    from summary
    group by period
)

select
    period,
    scope,
    domain,
    metric,
    'shares sum to ' || prompt_share as fault
from sums
where abs(prompt_share - 1) > 1e-9

union all

select
    totals.period,
    totals.scope,
    null as domain,
    null as metric,
    totals.prompt_count || ' prompts of ' || known.prompt_count as fault
from totals
inner join known on totals.period = known.period
where totals.prompt_count <> known.prompt_count
