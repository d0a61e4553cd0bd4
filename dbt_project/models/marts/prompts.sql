with prompts as (
    select * from {{ ref('int_prompts') }}
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        prompt_id,
        prompt_name,
        display_name,
        description,
        domain,
        complexity_level,
        status,
        suite,
        owner,
        compliance_tags,
        source,
        is_listed,
        current_version,
        mapped_agents,
        created_at,
        updated_at,
        first_used_at,
        last_used_at,
        {{ day_of('first_used_at') }} as first_used_on,
        {{ day_of('last_used_at') }} as last_used_on
    from prompts
)

select * from final
