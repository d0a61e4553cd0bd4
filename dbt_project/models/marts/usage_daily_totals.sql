{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='append_new_columns',
        indexes=[
            {'columns': ['scope', 'usage_date']},
            {'columns': ['prompt_id', 'usage_date']},
            {'columns': ['usage_date']},
        ],
        pre_hook="{{ delete_daily_changes() }}",
        post_hook=["{{ remember_daily_basis() }}", "{{ analyze_changed() }}"],
    )
}}

{%- set counts = usage_counts() | reject('eq', 'late_count') | list -%}
{%- set sums = usage_sums() -%}
{%- do sums.update(
    total_cost='numeric(20, 10)', failure_cost='numeric(20, 10)'
) %}

with totals as (
    select * from {{ ref('int_prompt_totals_daily') }}
    where
        usage_date <= {{ as_of_date() }}
        and breakdown in ('all', 'prompt', 'prompt_model')
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

{%- if is_incremental() %}

changes as (
    select * from {{ ref('int_daily_changes') }}
    where mart = 'usage_daily_totals'
),

renamed_prompts as (
    select prompt_keys.prompt_key
    from prompt_keys
    inner join changes on prompt_keys.prompt_id = changes.prompt_id
),

-- days that were built anew, and all other days of what is called otherwise
picked as not materialized (
    select totals.*
    from totals
    inner join changes on totals.usage_date = changes.usage_date
    union all
    select totals.*
    from totals
    inner join renamed_prompts on totals.prompt_key = renamed_prompts.prompt_key
    where
        not exists (
            select 1 from changes
            where changes.usage_date = totals.usage_date
        )
),
{%- else %}

picked as (
    select * from totals
),
{%- endif %}

summed as (
    select
        picked.usage_date,
        prompts.prompt_id,
        prompts.prompt_name,
        picked.model,
        {%- for name in counts %}
        sum(picked.{{ name }})::bigint as {{ name }},
        {%- endfor %}
        {%- for name, type in sums.items() %}
        sum(picked.{{ name }})::{{ type }} as {{ name }},
        {%- endfor %}
        picked.breakdown
    from picked
    left join prompt_keys on picked.prompt_key = prompt_keys.prompt_key
    left join prompts on prompt_keys.prompt_id = prompts.prompt_id
    group by
        picked.usage_date,
        picked.breakdown,
        prompts.prompt_id,
        prompts.prompt_name,
        picked.model
),

final as (
    select
        usage_date,
        case breakdown
            when 'prompt_model' then 'model'
            else breakdown
        end as scope,
        prompt_id,
        prompt_name,
        {%- for name in counts %}
        {{ name }},
        {%- endfor %}
        {%- for name in sums %}
        {{ name }},
        {%- endfor %}
        model
    from summed
)

select * from final
