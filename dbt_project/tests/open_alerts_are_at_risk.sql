{{ config(meta={'dagster': {'ref': {'name': 'performance_alerts'}}}) }}

-- Business reason: a prompt that is called healthy on one page and has an alert on
-- another would make both unbelievable. An alert that only stays open until the value is
-- back by its margin, or that is of a rule without a say in health, is no contradiction.
with alerts as (
    select * from {{ ref('performance_alerts') }}
    where resolved_on is null and last_detected_on = as_of_date
),

rules as (
    select * from {{ ref('alert_rules') }}
    where affects_health
),

summary as (
    select * from {{ ref('prompt_performance_summary') }}
)

select
    alerts.alert_id,
    summary.health
from alerts
inner join rules on alerts.rule = rules.rule
inner join summary
    on
        alerts.prompt_id = summary.prompt_id
        and alerts.period = summary.period
where summary.health <> 'at_risk'
