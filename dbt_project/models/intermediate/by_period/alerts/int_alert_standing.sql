-- A night's state must not depend on when it is built: what was done by the morning
-- after the as-of date counts, when the nightly run looks.
with ids as (
    select * from {{ ref('int_alert_ids') }}
),

-- what was done about an alert that is one with another by now was done about that one
actions as (
    select
        coalesce(ids.current_id, done.alert_id) as alert_id,
        done.action_id,
        done.action,
        done.severity,
        done.until_on,
        done.acted_on,
        done.acted_by,
        done.assigned_to,
        done.due_on,
        done.note
    from {{ ref('stg_ops__alert_actions') }} as done
    left join ids on done.alert_id = ids.alert_id
    where done.acted_on <= {{ as_of_date() }} + 1
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
