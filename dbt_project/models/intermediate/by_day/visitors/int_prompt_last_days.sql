{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        full_refresh=false,
        indexes=[
            {'columns': ['prompt_key', 'kind', 'last_date'], 'unique': true},
        ],
    )
}}

{#- Changed by int_prompt_visitors, in the transaction that changes the visitors. Where this
    table is not there while they are, it is counted from them. -#}
{%- set visitors = none if is_incremental() else known_visitors() %}

{%- if visitors %}

with visitors as (
    select * from {{ visitors }}
),

final as (
    select
        prompt_key,
        kind,
        last_date,
        count(*) as visitor_count
    from visitors
    group by prompt_key, kind, last_date
)
{%- else %}

with final as (
    select
        null::text as prompt_key,
        null::text as kind,
        null::date as last_date,
        null::bigint as visitor_count
    where false
)
{%- endif %}

select * from final
