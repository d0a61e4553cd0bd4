-- A night's state must not depend on when it is built: what was done by the morning
-- after the as-of date counts, when the nightly run looks.
with actions as (
    select * from {{ ref('stg_ops__alert_actions') }}
    where acted_on <= {{ as_of_date() }} + 1
),

standing as (
    select distinct on (alert_id)
        alert_id,
        action,
        severity,
        until_on,
        acted_on,
        acted_by
    from actions
    where action in ('acknowledge', 'snooze', 'resolve', 'reopen')
    order by alert_id asc, action_id desc
),

assignments as (
    select distinct on (alert_id)
        alert_id,
        assigned_to,
        due_on
    from actions
    where action = 'assign'
    order by alert_id asc, action_id desc
),

notes as (
    select distinct on (alert_id)
        alert_id,
        note
    from actions
    where note is not null
    order by alert_id asc, action_id desc
),

histories as (
    select
        alert_id,
        min(acted_on) as first_acted_on,
        count(*) as action_count
    from actions
    group by alert_id
),

final as (
    select
        histories.alert_id,
        histories.first_acted_on,
        histories.action_count,
        standing.action,
        standing.severity,
        standing.until_on,
        standing.acted_on,
        standing.acted_by,
        assignments.assigned_to,
        assignments.due_on,
        notes.note
    from histories
    left join standing on histories.alert_id = standing.alert_id
    left join assignments on histories.alert_id = assignments.alert_id
    left join notes on histories.alert_id = notes.alert_id
)

select * from final
