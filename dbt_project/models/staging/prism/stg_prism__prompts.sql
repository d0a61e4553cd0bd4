with source as (
    select * from {{ source('raw', 'prompts') }}
),

renamed as (
    select
        -- ids
        source,
        prompt_id,
        -- texts
        name as prompt_name,
        coalesce(display_name, name) as display_name,
        description,
        domain,
        complexity_level,
        status,
        suite,
        owner,
        array_to_string(compliance_tags, ', ') as compliance_tags,
        system_prompt,
        user_prompt_template,
        prompt_starter,
        -- times
        created_at,
        updated_at
    from source
    where deleted_at is null
)

select * from renamed
