with source as (
    select * from {{ source('raw', 'sealed_days') }}
),

renamed as (
    select
        -- days
        sealed_through,
        -- times
        sealed_at
    from source
)

select * from renamed
