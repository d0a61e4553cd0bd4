{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='sync_all_columns',
        full_refresh=false,
        tags=['rollup'],
        indexes=[
            {'columns': ['breakdown', 'usage_date']},
            {'columns': ['usage_date']},
        ],
        pre_hook="{{ delete_touched_days() }}",
        post_hook="{{ analyze_changed() }}",
    )
}}

{#- breakdown -> what it is by besides the day -#}
{%- set breakdowns = {
    'all': [],
    'model': ['model'],
    'agent': ['agent_key'],
    'prompt': ['prompt_key'],
    'prompt_source': ['prompt_key', 'source'],
    'prompt_version': ['prompt_key', 'prompt_version'],
    'prompt_model': ['prompt_key', 'model'],
    'prompt_agent_model': ['prompt_key', 'agent_key', 'model'],
} -%}
{%- set columns = ['prompt_key', 'source', 'prompt_version', 'agent_key', 'model'] %}

with touched_days as (
    select * from {{ ref('int_touched_days') }}
),

usage_daily as (
    select * from {{ ref('int_prompt_usage_daily') }}
),

touched as (
    select
        usage_daily.*,
        usage_daily.source as first_source,
        usage_daily.source as last_source
    from usage_daily
    inner join touched_days
        on usage_daily.usage_date = touched_days.usage_date
),

final as (
    select
        touched.usage_date,
        {{ breakdown_name(breakdowns, columns) }} as breakdown,
        -- null where the breakdown is not by it, and where it is not known
        {%- for column in columns %}
        touched.{{ column }},
        {%- endfor %}
        {{ added_up('touched') }}
    from touched
    group by grouping sets (
        {%- for by in breakdowns.values() if by %}
        (touched.usage_date, touched.{{ by | join(', touched.') }}),
        {%- endfor %}
        (touched.usage_date)
    )
)

select * from final
