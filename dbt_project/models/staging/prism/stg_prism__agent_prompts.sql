with source as (
    select * from {{ source('raw', 'agent_prompts') }}
),

renamed as (
    select
        -- ids
        source,
        agent_id,
        prompt_id
    from source
    where deleted_at is null
)

select * from renamed
