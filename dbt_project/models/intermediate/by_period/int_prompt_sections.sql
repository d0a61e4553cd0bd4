{{ config(post_hook="analyze {{ this }}") }}

with spans as (
    select * from {{ ref('int_prompt_spans') }}
    where breakdown = 'prompt'
),

final as (
    select
        section_start,
        prompt_key,
        {%- for name in usage_counts() %}
        sum({{ name }})::bigint as {{ name }},
        {%- endfor %}
        {%- for name, type in usage_sums().items() %}
        sum({{ name }})::{{ type }} as {{ name }},
        {%- endfor %}
        min(first_used_at) as first_used_at,
        max(last_used_at) as last_used_at
    from spans
    group by section_start, prompt_key
)

select * from final
