{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        tags=['visitors'],
        indexes=[
            {'columns': ['prompt_key', 'visitor_key', 'kind', 'source']},
            {'columns': ['kind', 'prompt_key', 'last_date']},
            {'columns': ['last_date']},
        ],
        pre_hook="{{ delete_touched_visitors() }}",
        post_hook="analyze {{ this }}",
    )
}}

{%- if is_incremental() %}

with touched_visitors as (
    select * from {{ ref('int_touched_visitors') }}
),

final as (
    select
        kind,
        source,
        prompt_key,
        visitor_key,
        last_date
    from touched_visitors
    where last_date is not null
)
{%- else %}

with visits as (
    select * from {{ ref('int_prompt_visits') }}
),

final as (
    select
        kind,
        source,
        prompt_key,
        visitor_key,
        max(usage_date) as last_date
    from visits
    group by kind, source, prompt_key, visitor_key
)
{%- endif %}

select * from final
