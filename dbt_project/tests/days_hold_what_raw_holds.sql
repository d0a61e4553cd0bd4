{{ config(meta={'dagster': {'ref': {'name': 'int_prompt_usage_daily'}}}) }}

-- Business reason: every number of every mart is a sum of days. A day that misses a use,
-- or holds it twice, is wrong everywhere. Looks at the days this run built and their
-- neighbours, less those that a load has touched again in the meantime.
with touched_days as (
    select * from {{ ref('int_touched_days') }}
),

batches as (
    select * from {{ ref('stg_prism__load_batches') }}
),

incorporated as (
    select * from {{ ref('int_incorporated_batches') }}
),

load_days as (
    select * from {{ ref('stg_prism__load_days') }}
),

uses as (
    select * from {{ ref('stg_prism__prompt_usage') }}
),

usage_daily as (
    select * from {{ ref('int_prompt_usage_daily') }}
),

histogram as (
    select * from {{ ref('int_response_time_histogram_daily') }}
),

sealed as (
    select coalesce(max(sealed_through), '-infinity'::date) as sealed_through
    from {{ ref('stg_prism__sealed_days') }}
),

unsettled as (
    select load_days.usage_date
    from load_days
    inner join batches on load_days.batch_id = batches.batch_id
    left join incorporated on batches.batch_id = incorporated.batch_id
    where incorporated.batch_id is null
),

days as (
    select distinct touched_days.usage_date + shifts.shift as usage_date
    from touched_days
    cross join (values (-1), (0), (1)) as shifts (shift)
    inner join sealed
        on touched_days.usage_date + shifts.shift > sealed.sealed_through
    except
    select unsettled.usage_date from unsettled
),

islands as (
    select
        min(usage_date) as first_date,
        max(usage_date) as last_date
    from (
        select
            usage_date,
            usage_date - row_number() over (order by usage_date)::integer as island
        from days
    ) as numbered
    group by island
),

-- what raw holds of each run of days, one range of the index, as in int_touched_usage
uses_of_days as (
    select
        {{ day_of('uses_of_island.used_at') }} as usage_date,
        uses_of_island.*
    from islands
    cross join
        lateral (
            select uses.*
            from uses
            where
                uses.used_at >= {{ start_of('islands.first_date') }} - interval '1 day'
                and uses.used_at < {{ start_of('islands.last_date') }} + interval '2 days'
                and {{ day_of('uses.used_at') }}
                between islands.first_date and islands.last_date
            offset 0  -- noqa: AM09
        ) as uses_of_island
),

expected as (
    select
        days.usage_date,
        count(usage.usage_id) as usage_count,
        count(usage.is_success) as outcome_count,
        count(usage.response_time_ms) as response_time_count,
        coalesce(sum(usage.cost), 0) as total_cost
    from days
    left join uses_of_days as usage on days.usage_date = usage.usage_date
    group by days.usage_date
),

found as (
    select
        days.usage_date,
        coalesce(sum(usage_daily.usage_count), 0) as usage_count,
        coalesce(sum(usage_daily.outcome_count), 0) as outcome_count,
        coalesce(sum(usage_daily.total_cost), 0) as total_cost
    from days
    left join usage_daily on days.usage_date = usage_daily.usage_date
    group by days.usage_date
),

found_times as (
    select
        days.usage_date,
        coalesce(sum(histogram.usage_count), 0) as response_time_count
    from days
    left join histogram on days.usage_date = histogram.usage_date
    group by days.usage_date
)

select
    expected.usage_date,
    expected.usage_count,
    found.usage_count as found_usage_count
from expected
inner join found on expected.usage_date = found.usage_date
inner join found_times on expected.usage_date = found_times.usage_date
where
    (
        expected.usage_count,
        expected.outcome_count,
        expected.total_cost,
        expected.response_time_count
    ) is distinct from (
        found.usage_count,
        found.outcome_count,
        found.total_cost,
        found_times.response_time_count
    )
