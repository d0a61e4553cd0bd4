{{ config(meta={'dagster': {'ref': {'name': 'performance_alerts'}}}) }}

-- Business reason: a prompt that is called healthy on one page and has an alert on
-- another would make both unbelievable.
with alerts as (
    select * from {{ ref('performance_alerts') }}
    where
        resolved_on is null
        and last_detected_on = as_of_date
        and rule <> 'low_usage'
),

summary as (
    select * from {{ ref('prompt_performance_summary') }}
)

select
    alerts.alert_id,
    summary.health
from alerts
inner join summary
    on
        alerts.prompt_id = summary.prompt_id
        and alerts.period = summary.period
where summary.health <> 'at_risk'
