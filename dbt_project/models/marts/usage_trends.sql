{{ config(indexes=[{'columns': ['prompt_id', 'usage_date']}]) }}

{%- set shown_days = 90 -%}
{#- the trend of a day is taken over four weeks up to it, what is usual of the four before -#}
{%- set history_days = 28 -%}
{%- set first_day = as_of_date() ~ ' - ' ~ (shown_days + history_days - 1) -%}
{%- set counts = [
    'usage_count', 'outcome_count', 'success_count', 'rated_count',
    'response_time_count',
] -%}
{%- set sums = ['rating_sum', 'response_time_sum_ms', 'total_cost'] %}

with usage as (
    select * from {{ ref('int_prompt_totals_daily') }}
    where
        breakdown = 'prompt'
        and usage_date between {{ first_day }} and {{ as_of_date() }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
    where first_used_at is not null
),

days as (
    select
        case
            when grouping(prompt_keys.prompt_id) = 1 then 'all'
            else 'prompt'
        end as scope,
        coalesce(prompt_keys.prompt_id, 'all') as series,
        usage.usage_date,
        {%- for name in counts %}
        sum(usage.{{ name }})::bigint as {{ name }},
        {%- endfor %}
        sum(usage.rating_sum) as rating_sum,
        sum(usage.response_time_sum_ms) as response_time_sum_ms,
        sum(usage.total_cost) as total_cost
    from usage
    inner join prompt_keys on usage.prompt_key = prompt_keys.prompt_key
    group by grouping sets (
        (prompt_keys.prompt_id, usage.usage_date), (usage.usage_date)
    )
),

used as (
    select distinct series from days
    where scope = 'prompt'
),

all_series as (
    select
        'prompt' as scope,
        prompts.prompt_id as series,
        prompts.prompt_id,
        prompts.prompt_name,
        prompts.domain,
        {{ day_of('prompts.first_used_at') }} as first_date
    from prompts
    inner join used on prompts.prompt_id = used.series
    union all
    select
        'all' as scope,
        'all' as series,
        null as prompt_id,
        null as prompt_name,
        null as domain,
        {{ day_of('min(prompts.first_used_at)') }} as first_date
    from prompts
    having count(*) > 0
),

-- a day without a use is a day of no use, from the first use on
calendar as (
    select
        all_series.*,
        dates.usage_date::date as usage_date
    from all_series
    cross join lateral generate_series(
        greatest(all_series.first_date, {{ first_day }})::timestamp,
        {{ as_of_date() }},
        interval '1 day'
    ) as dates (usage_date)
),

filled as (
    select
        calendar.*,
        {%- for name in counts %}
        coalesce(days.{{ name }}, 0) as {{ name }},
        {%- endfor %}
        days.rating_sum,
        days.response_time_sum_ms,
        days.total_cost
    from calendar
    left join days
        on
            calendar.scope = days.scope
            and calendar.series = days.series
            and calendar.usage_date = days.usage_date
),

weeks as (
    select
        *,
        {%- for name in counts + sums %}
        sum({{ name }}) over week as week_{{ name }},
        {%- endfor %}
        count(*) over week as week_days,
        count(*) over four_weeks as four_week_days,
        sum(usage_count) over four_weeks as four_week_count,
        sum(usage_count::double precision * usage_count) over four_weeks
            as four_week_squares,
        -- the same weekday, today and in the three weeks before
        usage_count
        + lag(usage_count, 7) over line
        + lag(usage_count, 14) over line
        + lag(usage_count, 21) over line as weekday_count,
        lag(usage_count, 7) over line
        + lag(usage_count, 14) over line
        + lag(usage_count, 21) over line
        + lag(usage_count, 28) over line as weekday_count_before
    from filled
    window
        line as (partition by scope, series order by usage_date),
        week as (
            partition by scope, series order by usage_date
            rows between 6 preceding and current row
        ),
        four_weeks as (
            partition by scope, series order by usage_date
            rows between 27 preceding and current row
        )
),

-- least squares with a level of its own for every weekday: each weekday is compared
-- with itself, so that only the sums of the four weeks matter, which lie 10.5 and 3.5
-- days from the middle; 1715 = 7 * 2 * (10.5^2 + 3.5^2)
sloped as (
    select
        *,
        case
            when four_week_days = 28
                then
                    (
                        10.5 * week_usage_count
                        + 3.5 * lag(week_usage_count, 7) over line
                        - 3.5 * lag(week_usage_count, 14) over line
                        - 10.5 * lag(week_usage_count, 21) over line
                    )::double precision / 1715
        end as usage_slope,
        sum(weekday_count::double precision * weekday_count) over (
            partition by scope, series order by usage_date
            rows between 6 preceding and current row
        ) / 4 as weekday_squares
    from weeks
    window line as (partition by scope, series order by usage_date)
),

-- 20 degrees of freedom are left of 28 days, 7 weekdays and the slope
judged as (
    select
        *,
        case
            when usage_slope is not null
                then
                    sqrt(
                        greatest(
                            four_week_squares
                            - weekday_squares
                            - usage_slope * usage_slope * 1715,
                            0
                        ) / 20 / 1715
                    )
        end as usage_slope_error
    from sloped
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        -- the grain
        scope,
        prompt_id,
        prompt_name,
        domain,
        usage_date,
        -- the day
        usage_count,
        weekday_count_before::double precision / 4 as usual_usage_count,
        {{ ratio('success_count', 'outcome_count') }} as success_rate,
        {{ ratio('rating_sum', 'rated_count') }} as average_rating,
        {{ ratio('response_time_sum_ms', 'response_time_count') }}
            as average_response_time_ms,
        total_cost::numeric(20, 10) as total_cost,
        -- the seven days up to it
        {{ ratio('week_usage_count', 'week_days') }} as week_usage_count,
        {{ ratio('week_success_count', 'week_outcome_count') }}
            as week_success_rate,
        {{ ratio('week_rating_sum', 'week_rated_count') }}
            as week_average_rating,
        {{ ratio(
            'week_response_time_sum_ms', 'week_response_time_count'
        ) }} as week_average_response_time_ms,
        {{ ratio('week_total_cost', 'week_days') }} as week_cost,
        -- the 28 days up to it
        usage_slope,
        usage_slope_error,
        case
            when usage_slope is null or four_week_count < 20
                then 'too little data'
            when usage_slope > 2.086 * usage_slope_error then 'rising'
            when usage_slope < -2.086 * usage_slope_error then 'falling'
            else 'steady'
        end as direction
    from judged
    where usage_date > {{ as_of_date() }} - {{ shown_days }}
)

select * from final
