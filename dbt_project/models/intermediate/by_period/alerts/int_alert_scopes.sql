{{ config(materialized='view') }}

-- where to look for what is behind an alert: its window, and the 90 days before it
with states as (
    select * from {{ ref('int_alert_states') }}
    where
        as_of_date = {{ as_of_date() }}
        and severity is not null
        and scope = 'prompt'
),

evaluations as (
    select * from {{ ref('int_alert_evaluations') }}
),

alerts as (
    select
        states.alert_id,
        states.subject_id as prompt_id,
        states.first_detected_on,
        states.as_of_date,
        evaluations.metric,
        evaluations.period,
        evaluations.threshold
    from states
    inner join evaluations
        on
            states.last_detected_on = evaluations.as_of_date
            and states.rule = evaluations.rule
            and states.subject_id
            = coalesce(evaluations.subject_id, evaluations.prompt_id)
            and coalesce(evaluations.scope, 'prompt') = 'prompt'
),

periods as (
    select * from {{ ref('int_periods') }}
),

-- of a rule without a window of its own, and of one over all days, the last month
final as (
    select
        alerts.alert_id,
        alerts.prompt_id,
        alerts.metric,
        alerts.threshold,
        alerts.first_detected_on,
        alerts.as_of_date,
        alerts.as_of_date - coalesce(periods.days, 30) + 1 as window_start,
        alerts.as_of_date - coalesce(periods.days, 30) - 89 as baseline_start,
        coalesce(periods.days, 30) as days
    from alerts
    left join periods
        on
            alerts.period = periods.period
            and alerts.metric in {{ alert_metric_names(of='window') }}
)

select * from final
