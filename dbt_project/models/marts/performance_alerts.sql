with episodes as (
    select * from {{ ref('int_alert_episodes') }}
),

rules as (
    select * from {{ ref('alert_rules') }}
),

standings as (
    select * from {{ ref('int_alert_standing') }}
),

newest as (
    select
        *,
        next_evaluated_on as resolved_on
    from episodes
    where evaluated_on = last_detected_on
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        newest.alert_id,
        newest.prompt_id,
        newest.prompt_name,
        newest.domain,
        newest.rule,
        newest.severity,
        newest.period,
        newest.observed_value,
        newest.threshold,
        newest.sample_size,
        newest.first_detected_on,
        newest.last_detected_on,
        newest.last_detected_on - newest.first_detected_on + 1 as days_open,
        newest.resolved_on,
        {{ alert_state('newest', 'standings') }} as state,
        standings.assigned_to,
        standings.due_on,
        {{ alert_message('newest') }} as message,
        coalesce(rules.recommendation, 'The rule is no longer in use.')
            as recommendation
    from newest
    left join rules on newest.rule = rules.rule
    left join standings on newest.alert_id = standings.alert_id
)

select * from final
