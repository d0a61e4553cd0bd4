{{ config(meta={'dagster': {'ref': {'name': 'int_prompt_totals_monthly'}}}) }}

-- Business reason: periods are put together from whole months and single days; a month
-- that is not the sum of its days is wrong in every period that holds it.
with touched_days as (
    select * from {{ ref('int_touched_days') }}
),

usage_daily as (
    select * from {{ ref('int_prompt_usage_daily') }}
),

totals_daily as (
    select * from {{ ref('int_prompt_totals_daily') }}
),

totals_monthly as (
    select * from {{ ref('int_prompt_totals_monthly') }}
),

times_daily as (
    select * from {{ ref('int_response_times_daily') }}
),

times_monthly as (
    select * from {{ ref('int_response_times_monthly') }}
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
        'month' as grain,
        times_monthly.month_start as starts_on,
        times_monthly.breakdown,
        sum(times_monthly.usage_count) as response_time_count
    from times_monthly
    inner join touched_months
        on times_monthly.month_start = touched_months.month_start
    group by times_monthly.month_start, times_monthly.breakdown
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
    coalesce(expected.grain, found_times.grain) as grain,
    coalesce(expected.starts_on, found_times.starts_on) as starts_on,
    found_times.breakdown,
    expected.response_time_count,
    found_times.response_time_count as found_usage_count
from expected
full join found_times
    on
        expected.grain = found_times.grain
        and expected.starts_on = found_times.starts_on
where
    coalesce(expected.response_time_count, 0)
    <> coalesce(found_times.response_time_count, 0)
