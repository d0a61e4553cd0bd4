with prompts as (
    select * from {{ ref('stg_prism__prompts') }}
),

versions as (
    select * from {{ ref('stg_prism__prompt_versions') }}
),

mappings as (
    select * from {{ ref('int_agent_prompts') }}
),

-- the same id in two sources is one prompt, described by whoever changed it last
described as (
    select distinct on (prompt_id) *
    from prompts
    order by prompt_id asc, updated_at desc nulls last, source asc
),

current_versions as (
    select distinct on (prompt_id)
        prompt_id,
        prompt_version
    from versions
    order by
        prompt_id asc,
        created_at desc nulls last,
        batch_id desc,
        -- version 10 comes after version 9
        length(prompt_version) desc,
        prompt_version desc
),

mapped as (
    select
        prompt_id,
        count(*) as mapped_agents
    from mappings
    group by prompt_id
),

final as (
    select
        described.source,
        described.prompt_id,
        described.prompt_name,
        described.display_name,
        described.description,
        described.domain,
        described.complexity_level,
        described.status,
        described.suite,
        described.owner,
        described.compliance_tags,
        described.created_at,
        described.updated_at,
        current_versions.prompt_version as current_version,
        coalesce(mapped.mapped_agents, 0) as mapped_agents
    from described
    left join current_versions
        on described.prompt_id = current_versions.prompt_id
    left join mapped on described.prompt_id = mapped.prompt_id
)

select * from final
