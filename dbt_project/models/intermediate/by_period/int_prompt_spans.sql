{{ config(materialized='view') }}

with spans as (
    select * from {{ ref('int_spans') }}
),

days as (
    select * from {{ ref('int_prompt_totals_daily') }}
),

months as (
    select * from {{ ref('int_prompt_totals_monthly') }}
),

final as (
    select
        spans.section_start,
        days.breakdown,
        days.prompt_key,
        days.source,
        days.prompt_version,
        days.agent_key,
        days.model,
        {%- for name in usage_counts() + usage_sums().keys() | list %}
        days.{{ name }},
        {%- endfor %}
        days.first_used_at,
        days.last_used_at
    from spans
    inner join days on spans.starts_on = days.usage_date
    where spans.grain = 'day'
    union all
    select
        spans.section_start,
        months.breakdown,
        months.prompt_key,
        months.source,
        months.prompt_version,
        months.agent_key,
        months.model,
        {%- for name in usage_counts() + usage_sums().keys() | list %}
        months.{{ name }},
        {%- endfor %}
        months.first_used_at,
        months.last_used_at
    from spans
    inner join months on spans.starts_on = months.month_start
    where spans.grain = 'month'
)

select * from final
