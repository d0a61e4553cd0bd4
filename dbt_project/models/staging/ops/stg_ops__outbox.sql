with source as (
    select * from {{ source('ops', 'outbox') }}
),

renamed as (
    select
        -- ids
        outbox_id as mail_id,
        copy as copy_number,
        -- text
        report,
        split_part(recipient, '@', 2) as recipient_domain,
        state,
        -- what the server said may name the recipient; its codes do not
        substring(
            last_reply
            from '^[2-5][0-9]{2}(?:[ -][2-5]\.[0-9]{1,3}\.[0-9]{1,3})?'
        ) as reply_code,
        -- days and times
        as_of_date as report_date,
        created_at as queued_at
    from source
)

select * from renamed
