with episodes as (
    select * from {{ ref('int_alert_episodes') }}
),

rules as (
    select * from {{ ref('alert_rules') }}
),

newest as (
    select *
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
        case
            when newest.next_evaluated_on is null then 'open'
            else 'resolved'
        end as state,
        {{ alert_message('newest') }} as message,
        coalesce(rules.recommendation, 'The rule is no longer in use.')
            as recommendation
    from newest
    left join rules on newest.rule = rules.rule
)

select * from final
