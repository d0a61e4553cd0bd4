with mappings as (
    select * from {{ ref('stg_prism__agent_prompts') }}
),

prompts as (
    select * from {{ ref('stg_prism__prompts') }}
),

agents as (
    select * from {{ ref('stg_prism__agents') }}
),

-- one id in two sources is one prompt, named by whoever changed it last
prompt_ids as (
    select distinct on (prompt_id)
        prompt_id,
        prompt_name,
        created_at,
        source
    from prompts
    order by prompt_id asc, updated_at desc nulls last, source asc
),

-- two of one name: the elder, as for the uses that name it
prompt_names as (
    select distinct on (prompt_name)
        prompt_name,
        prompt_id
    from prompt_ids
    order by
        prompt_name asc, created_at asc nulls last, source asc, prompt_id asc
),

agent_ids as (
    select distinct agent_id from agents
),

agent_names as (
    select distinct on (agent_name)
        agent_name,
        agent_id
    from agents
    order by
        agent_name asc, created_at asc nulls last, source asc, agent_id asc
),

-- by id and by name, or in two sources, the same mapping is one
final as (
    select distinct
        coalesce(agent_ids.agent_id, agent_names.agent_id, mappings.agent_id)
            as agent_id,
        coalesce(
            prompt_ids.prompt_id, prompt_names.prompt_id, mappings.prompt_id
        ) as prompt_id
    from mappings
    left join agent_ids on mappings.agent_id = agent_ids.agent_id
    left join agent_names on mappings.agent_id = agent_names.agent_name
    left join prompt_ids on mappings.prompt_id = prompt_ids.prompt_id
    left join prompt_names on mappings.prompt_id = prompt_names.prompt_name
)

select * from final
