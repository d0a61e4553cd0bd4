with source as (
    select * from {{ source('raw', 'load_days') }}
),

renamed as (
    select
        -- ids
        batch_id,
        -- days
        usage_date
    from source
)

select * from renamed
