{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        tags=['visitors'],
        indexes=[
            {'columns': ['prompt_key', 'visitor_key', 'kind', 'source']},
        ],
        pre_hook="{{ move_touched_visitors() }}",
        post_hook=[
            "{{ drop_indexes_over('last_date') }}",
            "{{ count_last_days() }}",
            "{{ remember_visitor_days() }}",
            "{{ analyze_changed() }}",
        ],
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
    where known_date is null and last_date is not null
)
{%- else %}

with visits as (
    select * from {{ ref('int_prompt_visits') }}
    where usage_date <= {{ as_of_date() }}
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
    order by prompt_key, visitor_key, kind, source
)
{%- endif %}

select * from final
