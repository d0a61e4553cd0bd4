{{ config(meta={'dagster': {'ref': {'name': 'usage_daily_totals'}}}) }}

-- Business reason: charts are drawn from the totals, tables broken down from the single
-- shares; a day that differs between them makes both unbelievable.
with usage_daily as (
    select * from {{ ref('prompt_usage_daily') }}
    where {{ days_to_test('prompt_usage_daily') }}
),

totals as (
    select * from {{ ref('usage_daily_totals') }}
    where {{ days_to_test('prompt_usage_daily') }}
),

expected as (
    select
        usage_date,
        sum(usage_count) as usage_count,
        sum(success_count) as success_count,
        sum(total_cost) as total_cost,
        count(distinct prompt_id) as prompts
    from usage_daily
    group by usage_date
),

found as (
    select
        usage_date,
        scope,
        sum(usage_count) as usage_count,
        sum(success_count) as success_count,
        sum(total_cost) as total_cost,
        count(distinct prompt_id) as prompts
    from totals
    group by usage_date, scope
),

scopes as (
    select
        expected.*,
        scopes.scope
    from expected
    cross join (values ('all'), ('prompt'), ('model')) as scopes (scope)
)

select
    coalesce(scopes.usage_date, found.usage_date) as usage_date,
    coalesce(scopes.scope, found.scope) as scope,
    scopes.usage_count,
    found.usage_count as found_usage_count
from scopes
full join found
    on scopes.usage_date = found.usage_date and scopes.scope = found.scope
where
    (
        scopes.usage_count,
        scopes.success_count,
        scopes.total_cost,
        case scopes.scope when 'all' then 0 else scopes.prompts end
    ) is distinct from (
        found.usage_count,
        found.success_count,
        found.total_cost,
        found.prompts
    )
