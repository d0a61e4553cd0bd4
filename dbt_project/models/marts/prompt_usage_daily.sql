{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='append_new_columns',
        pre_hook="{{ delete_daily_changes() }}",
        post_hook=[
            "{{ remember_daily_basis() }}",
            index_by(['usage_date']),
            index_by(['prompt_id', 'usage_date']),
            "{{ analyze_changed() }}",
        ],
    )
}}

{%- set counts = [
    'usage_count', 'outcome_count', 'success_count', 'error_known_count',
    'error_count', 'rated_count', 'response_time_count', 'priced_count',
    'priced_success_count', 'unpriced_count',
] -%}
{#- null over no known value -#}
{%- set sums = {
    'rating_sum': 'double precision',
    'response_time_sum_ms': 'double precision',
    'input_tokens': 'bigint',
    'output_tokens': 'bigint',
    'total_tokens': 'bigint',
    'total_cost': 'numeric(20, 10)',
    'failure_cost': 'numeric(20, 10)',
} -%}
{#- what the spread of single uses is computed from -#}
{%- set spreads = {
    'rating_square_sum': 'double precision',
    'cost_square_sum': 'double precision',
    'response_time_log_count': 'bigint',
    'response_time_log_sum': 'double precision',
    'response_time_log_square_sum': 'double precision',
} -%}
{%- set measures = dict.fromkeys(counts, 'bigint') -%}
{%- do measures.update(sums) -%}
{%- do measures.update(spreads) -%}

with usage as (
    select * from {{ ref('int_prompt_usage_daily') }}
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

{%- if is_incremental() %}

changes as (
    select * from {{ ref('int_daily_changes') }}
    where mart = 'prompt_usage_daily'
),

renamed_prompts as (
    select prompt_keys.prompt_key
    from prompt_keys
    inner join changes on prompt_keys.prompt_id = changes.prompt_id
),

renamed_agents as (
    select agent_keys.agent_key
    from agent_keys
    inner join changes on agent_keys.agent_name = changes.agent_name
),

-- days that were built anew, and all other days of whom is called otherwise
picked as not materialized (
    select usage.*
    from usage
    inner join changes on usage.usage_date = changes.usage_date
    union all
    select usage.*
    from usage
    inner join renamed_prompts on usage.prompt_key = renamed_prompts.prompt_key
    where
        not exists (
            select 1 from changes
            where changes.usage_date = usage.usage_date
        )
    union all
    select usage.*
    from usage
    inner join renamed_agents on usage.agent_key = renamed_agents.agent_key
    where
        not exists (
            select 1 from changes
            where changes.usage_date = usage.usage_date
        )
        and not exists (
            select 1 from renamed_prompts
            where renamed_prompts.prompt_key = usage.prompt_key
        )
),
{%- else %}

picked as (
    select * from usage
),
{%- endif %}

named as not materialized (
    select
        picked.*,
        prompts.prompt_id,
        prompts.prompt_name,
        agent_keys.agent_name,
        prompt_keys.is_sole_key
        and coalesce(agent_keys.is_sole_key, true) as is_alone
    from picked
    inner join prompt_keys on picked.prompt_key = prompt_keys.prompt_key
    inner join prompts on prompt_keys.prompt_id = prompts.prompt_id
    left join agent_keys on picked.agent_key = agent_keys.agent_key
),

-- most rows are one already: summing those up, too, takes twice as long
alone as (
    select
        usage_date,
        prompt_id,
        prompt_name,
        prompt_version,
        agent_name,
        {%- for name, type in measures.items() %}
        {{ name }}::{{ type }} as {{ name }},
        {%- endfor %}
        model
    from named
    where is_alone
),

summed as (
    select
        usage_date,
        prompt_id,
        prompt_name,
        prompt_version,
        agent_name,
        {%- for name, type in measures.items() %}
        sum({{ name }})::{{ type }} as {{ name }},
        {%- endfor %}
        model
    from named
    where not is_alone
    group by
        usage_date, prompt_id, prompt_name, prompt_version, agent_name, model
),

final as (
    select * from alone
    union all
    select * from summed
)

select * from final
