{{ config(post_hook="analyze {{ this }}") }}

{%- set counts = [
    'usage_count', 'outcome_count', 'success_count', 'error_known_count',
    'error_count', 'rated_count', 'response_time_count', 'priced_count',
] -%}
{%- set sums = [
    'rating_sum', 'rating_square_sum', 'response_time_sum_ms', 'total_cost',
    'cost_square_sum',
] %}

with windows as (
    select * from {{ ref('int_alert_windows') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

days as (
    select * from {{ ref('int_alert_days') }}
),

used as (
    select
        windows.as_of_date,
        windows.period,
        days.prompt_id,
        {%- for name in counts + sums %}
        sum(days.{{ name }}) filter (
            where days.usage_date >= windows.period_start
        ) as {{ name }},
        sum(days.{{ name }}) filter (
            where days.usage_date < windows.period_start
        ) as before_{{ name }},
        {%- endfor %}
        -- beside a mean of costs: what one dear call can do to it
        percentile_cont(0.5) within group (
            order by days.total_cost / nullif(days.priced_count, 0)
        ) filter (where days.usage_date >= windows.period_start)
            as median_day_cost_per_use,
        max(days.total_cost / nullif(days.priced_count, 0)) filter (
            where days.usage_date >= windows.period_start
        ) as dearest_day_cost_per_use
    from windows
    inner join days
        on
            days.usage_date
            between windows.baseline_start and windows.as_of_date
    group by windows.as_of_date, windows.period, days.prompt_id
),

final as (
    select
        windows.as_of_date,
        windows.period,
        windows.days,
        windows.period_start,
        prompts.prompt_id,
        {{ day_of('prompts.first_used_at') }} as first_used_on,
        {%- for name in counts %}
        coalesce(used.{{ name }}, 0)::bigint as {{ name }},
        coalesce(used.before_{{ name }}, 0)::bigint as before_{{ name }},
        {%- endfor %}
        {%- for name in sums %}
        used.{{ name }},
        used.before_{{ name }},
        {%- endfor %}
        used.median_day_cost_per_use,
        used.dearest_day_cost_per_use
    from windows
    cross join prompts
    left join used
        on
            windows.as_of_date = used.as_of_date
            and windows.period = used.period
            and prompts.prompt_id = used.prompt_id
)

select * from final
