with source as (
    select * from {{ source('raw', 'agents') }}
),

renamed as (
    select
        -- ids
        source,
        agent_id,
        -- texts
        name as agent_name,
        -- times
        created_at
    from source
    where deleted_at is null
)

select * from renamed
