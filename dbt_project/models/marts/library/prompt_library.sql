with library as (
    select * from {{ ref('int_library_prompts') }}
),

entries as (
    select * from {{ ref('stg_prism__prompts') }}
),

mappings as (
    select * from {{ ref('int_agent_prompts') }}
),

agents as (
    select distinct on (agent_id)
        agent_id,
        agent_name
    from {{ ref('stg_prism__agents') }}
    order by agent_id asc, source asc
),

mapped as (
    select
        mappings.prompt_id,
        string_agg(
            coalesce(agents.agent_name, mappings.agent_id), e'\n'
            order by coalesce(agents.agent_name, mappings.agent_id)
        ) as mapped_agent_names
    from mappings
    left join agents on mappings.agent_id = agents.agent_id
    group by mappings.prompt_id
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        library.prompt_id,
        library.prompt_name,
        library.current_version as prompt_version,
        entries.system_prompt,
        entries.user_prompt_template,
        entries.prompt_starter,
        mapped.mapped_agent_names
    from library
    -- the entry that describes the prompt, where two sources have it
    inner join entries
        on
            library.source = entries.source
            and library.prompt_id = entries.prompt_id
    left join mapped on library.prompt_id = mapped.prompt_id
)

select * from final
