{{ config(meta={'dagster': {'ref': {'name': 'int_prompt_totals_monthly'}}}) }}

-- Business reason: periods are put together from single days and longer stretches; one
-- that is not the sum of its days is wrong in every period that holds it.
with touched_days as (
    select * from {{ ref('int_touched_days') }}
),

usage_daily as (
    select * from {{ ref('int_prompt_usage_daily') }}
),

-- read by many, each time just what is of it: kept aside it would be written out whole
totals_daily as not materialized (
    select * from {{ ref('int_prompt_totals_daily') }}
),

totals_monthly as (
    select * from {{ ref('int_prompt_totals_monthly') }}
),

times_daily as (
    select * from {{ ref('int_response_times_daily') }}
),

times_by_grain as (
    select * from {{ ref('int_response_times_by_grain') }}
),

touched_months as (
    select distinct date_trunc('month', usage_date)::date as month_start
    from touched_days
),

days as (
    select
        'day' as grain,
        usage_daily.usage_date as starts_on,
        sum(usage_daily.usage_count) as usage_count,
        sum(usage_daily.response_time_count) as response_time_count,
        sum(usage_daily.total_cost) as total_cost
    from usage_daily
    inner join touched_days on usage_daily.usage_date = touched_days.usage_date
    group by usage_daily.usage_date
),

months as (
    select
        'month' as grain,
        touched_months.month_start as starts_on,
        sum(totals_daily.usage_count) as usage_count,
        sum(totals_daily.response_time_count) as response_time_count,
        sum(totals_daily.total_cost) as total_cost
    from touched_months
    inner join totals_daily
        on
            touched_months.month_start <= totals_daily.usage_date
            and touched_months.month_start + interval '1 month'
            > totals_daily.usage_date
            and totals_daily.breakdown = 'prompt'
    group by touched_months.month_start
),

expected as (
    select * from days
    union all
    select * from months
),

newest as (
    select max(usage_date) as usage_date from totals_daily
    where breakdown = 'all'
),

-- those that are over and hold a touched day, or ended before one
stretches as (
    {%- for grain in grains() %}
    {%- set start = start_of_grain(grain, '(touched_days.usage_date - shifts.shift)') %}
    select distinct
        '{{ grain }}' as grain,
        {{ start }} as starts_on
    from touched_days
    cross join (values (0), (1)) as shifts (shift)
    inner join newest
        on {{ start }} < {{ start_of_grain(grain, 'newest.usage_date') }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

expected_times as (
    select
        grain,
        starts_on,
        response_time_count
    from days
    {%- for grain in grains() %}
    union all
    select
        stretches.grain,
        stretches.starts_on,
        sum(totals_daily.response_time_count) as response_time_count
    from stretches
    inner join totals_daily
        on
            stretches.starts_on
            = {{ start_of_grain(grain, 'totals_daily.usage_date') }}
            and totals_daily.breakdown = 'all'
    where stretches.grain = '{{ grain }}'
    group by stretches.grain, stretches.starts_on
    {%- endfor %}
),

found as (
    select
        'day' as grain,
        totals_daily.usage_date as starts_on,
        totals_daily.breakdown,
        sum(totals_daily.usage_count) as usage_count,
        sum(totals_daily.total_cost) as total_cost
    from totals_daily
    inner join touched_days on totals_daily.usage_date = touched_days.usage_date
    group by totals_daily.usage_date, totals_daily.breakdown
    union all
    select
        'month' as grain,
        totals_monthly.month_start as starts_on,
        totals_monthly.breakdown,
        sum(totals_monthly.usage_count) as usage_count,
        sum(totals_monthly.total_cost) as total_cost
    from totals_monthly
    inner join touched_months
        on totals_monthly.month_start = touched_months.month_start
    group by totals_monthly.month_start, totals_monthly.breakdown
),

found_times as (
    select
        'day' as grain,
        times_daily.usage_date as starts_on,
        times_daily.breakdown,
        sum(times_daily.usage_count) as response_time_count
    from times_daily
    inner join touched_days on times_daily.usage_date = touched_days.usage_date
    group by times_daily.usage_date, times_daily.breakdown
    union all
    select
        stretches.grain,
        stretches.starts_on,
        times_by_grain.breakdown,
        sum(times_by_grain.usage_count) as response_time_count
    from stretches
    inner join times_by_grain
        on
            stretches.grain = times_by_grain.grain
            and stretches.starts_on = times_by_grain.starts_on
    group by
        stretches.grain, stretches.starts_on, times_by_grain.breakdown
)

select
    coalesce(expected.grain, found.grain) as grain,
    coalesce(expected.starts_on, found.starts_on) as starts_on,
    found.breakdown,
    expected.usage_count,
    found.usage_count as found_usage_count
from expected
full join found
    on
        expected.grain = found.grain
        and expected.starts_on = found.starts_on
where
    (expected.usage_count, expected.total_cost)
    is distinct from (found.usage_count, found.total_cost)

union all

select
    coalesce(expected_times.grain, found_times.grain) as grain,
    coalesce(expected_times.starts_on, found_times.starts_on) as starts_on,
    found_times.breakdown,
    expected_times.response_time_count,
    found_times.response_time_count as found_usage_count
from expected_times
full join found_times
    on
        expected_times.grain = found_times.grain
        and expected_times.starts_on = found_times.starts_on
where
    coalesce(expected_times.response_time_count, 0)
    <> coalesce(found_times.response_time_count, 0)
