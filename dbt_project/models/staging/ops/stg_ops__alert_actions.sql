with source as (
    select * from {{ source('ops', 'alert_actions') }}
),

renamed as (
    select
        -- ids
        action_id,
        alert_id,
        -- text
        acted_by,
        action,
        severity,
        assigned_to,
        note,
        -- days and times
        until_on,
        due_on,
        {{ day_of('acted_at') }} as acted_on,
        acted_at
    from source
)

select * from renamed
