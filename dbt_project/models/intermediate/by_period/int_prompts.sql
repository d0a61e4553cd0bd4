{{ config(post_hook="analyze {{ this }}") }}

with library as (
    select * from {{ ref('int_library_prompts') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

sections as (
    select * from {{ ref('int_prompt_sections') }}
),

uses as (
    select
        prompt_keys.prompt_id,
        min(sections.first_used_at) as first_used_at,
        max(sections.last_used_at) as last_used_at
    from sections
    inner join prompt_keys on sections.prompt_key = prompt_keys.prompt_key
    group by prompt_keys.prompt_id
),

listed as (
    select
        library.prompt_id,
        library.prompt_name,
        library.display_name,
        library.description,
        library.domain,
        library.complexity_level,
        library.status,
        library.suite,
        library.owner,
        library.compliance_tags,
        library.source,
        true as is_listed,
        library.current_version,
        library.mapped_agents,
        library.created_at,
        library.updated_at
    from library
),

unlisted as (
    select
        prompt_keys.prompt_id,
        prompt_keys.prompt_key as prompt_name,
        prompt_keys.prompt_key as display_name,
        null::text as description,
        'unlisted' as domain,
        null::text as complexity_level,
        null::text as status,
        null::text as suite,
        null::text as owner,
        null::text as compliance_tags,
        null::text as source,
        false as is_listed,
        null::text as current_version,
        0::bigint as mapped_agents,
        null::timestamptz as created_at,
        null::timestamptz as updated_at
    from prompt_keys
    inner join uses on prompt_keys.prompt_id = uses.prompt_id
    where not prompt_keys.is_listed
),

all_prompts as (
    select * from listed
    union all
    select * from unlisted
),

final as (
    select
        all_prompts.*,
        uses.first_used_at,
        uses.last_used_at
    from all_prompts
    left join uses on all_prompts.prompt_id = uses.prompt_id
)

select * from final
