with source as (
    select * from {{ source('ops', 'deliveries') }}
),

renamed as (
    select
        -- ids
        delivery_id,
        outbox_id as mail_id,
        -- text
        outcome,
        -- times
        attempted_at
    from source
)

select * from renamed
