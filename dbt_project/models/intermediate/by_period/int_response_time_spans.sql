{{ config(materialized='view') }}

with spans as (
    select * from {{ ref('int_spans') }}
),

days as (
    select * from {{ ref('int_response_times_daily') }}
),

months as (
    select * from {{ ref('int_response_times_monthly') }}
),

final as (
    select
        spans.section_start,
        days.breakdown,
        days.prompt_key,
        days.agent_key,
        days.model,
        days.bucket,
        days.usage_count
    from spans
    inner join days on spans.starts_on = days.usage_date
    where spans.grain = 'day'
    union all
    select
        spans.section_start,
        months.breakdown,
        months.prompt_key,
        months.agent_key,
        months.model,
        months.bucket,
        months.usage_count
    from spans
    inner join months on spans.starts_on = months.month_start
    where spans.grain = 'month'
)

select * from final
