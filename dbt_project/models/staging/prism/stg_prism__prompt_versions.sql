with source as (
    select * from {{ source('raw', 'prompt_versions') }}
),

renamed as (
    select
        -- ids
        source,
        prompt_id,
        version as prompt_version,
        batch_id,
        -- texts
        system_prompt,
        user_prompt_template,
        -- times
        created_at
    from source
    where deleted_at is null
)

select * from renamed
