with builds as (
    select * from {{ ref('int_day_builds') }}
    where usage_date <= {{ as_of_date() }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

agent_keys as (
    select * from {{ ref('int_agent_keys') }}
),

final as (
    select
        'day' as kind,
        usage_date::text as input_key,
        built_at::text as made_from,
        null::text as shown_as
    from builds
    union all
    select
        'prompt' as kind,
        prompt_keys.prompt_key as input_key,
        prompt_keys.prompt_id as made_from,
        prompts.prompt_name as shown_as
    from prompt_keys
    inner join prompts on prompt_keys.prompt_id = prompts.prompt_id
    union all
    select
        'domain' as kind,
        prompt_keys.prompt_key as input_key,
        coalesce(prompts.domain, '') as made_from,
        null::text as shown_as
    from prompt_keys
    inner join prompts on prompt_keys.prompt_id = prompts.prompt_id
    union all
    select
        'agent' as kind,
        agent_key as input_key,
        agent_name as made_from,
        null::text as shown_as
    from agent_keys
)

select * from final
