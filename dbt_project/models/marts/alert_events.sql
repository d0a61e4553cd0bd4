with episodes as (
    select * from {{ ref('int_alert_episodes') }}
),

steps as (
    select
        *,
        lag(severity) over nights as previous_severity,
        min(first_detected_on) over (partition by rule, prompt_id)
            as first_ever_on
    from episodes
    window nights as (partition by alert_id order by evaluated_on)
),

begun as (
    select
        *,
        evaluated_on as event_on,
        case
            when first_detected_on > first_ever_on then 'reopened'
            else 'opened'
        end as event
    from steps
    where evaluated_on = first_detected_on
),

changed as (
    select
        *,
        evaluated_on as event_on,
        case
            when
                {{ severity_rank('severity') }}
                > {{ severity_rank('previous_severity') }}
                then 'escalated'
            else 'eased'
        end as event
    from steps
    where severity <> previous_severity
),

ended as (
    select
        *,
        next_evaluated_on as event_on,
        'resolved' as event
    from steps
    where
        evaluated_on = last_detected_on
        and next_evaluated_on is not null
),

events as (
    select * from begun
    union all
    select * from changed
    union all
    select * from ended
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        events.alert_id,
        events.event_on,
        events.event,
        events.prompt_id,
        events.prompt_name,
        events.domain,
        events.rule,
        case
            when events.event = 'resolved' then events.severity
            else events.previous_severity
        end as previous_severity,
        case when events.event <> 'resolved' then events.severity end as severity,
        case
            when events.event = 'resolved'
                then 'The threshold was no longer crossed. Before: '
            else ''
        end
        || {{ alert_message('events') }} as cause
    from events
)

select * from final
