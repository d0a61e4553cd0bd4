with usage as (
    select distinct agent_key
    from {{ ref('int_prompt_totals_monthly') }}
    where breakdown = 'agent' and agent_key is not null
),

agents as (
    select * from {{ ref('stg_prism__agents') }}
),

ids as (
    select distinct on (agent_id)
        agent_id,
        agent_name
    from agents
    order by agent_id asc, created_at asc nulls last, source asc
),

names as (
    select distinct agent_name from agents
),

resolved as (
    select
        usage.agent_key,
        coalesce(ids.agent_name, names.agent_name, usage.agent_key)
            as agent_name
    from usage
    left join ids on usage.agent_key = ids.agent_id
    left join names on usage.agent_key = names.agent_name
),

final as (
    select
        agent_key,
        agent_name,
        count(*) over (partition by agent_name) = 1 as is_sole_key
    from resolved
)

select * from final
