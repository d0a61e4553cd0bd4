{{
    config(
        pre_hook="{{ drop_touched_usage() }}",
        post_hook="analyze {{ this }}",
    )
}}

with batches as (
    select * from {{ ref('stg_prism__load_batches') }}
),

pending as (
    select * from {{ ref('int_pending_batches') }}
),

load_days as (
    select * from {{ ref('stg_prism__load_days') }}
),

usage as (
    select * from {{ ref('stg_prism__prompt_usage') }}
),

-- days past retention stay as they are, whatever comes: their uses are gone
sealed as (
    select coalesce(max(sealed_through), '-infinity'::date) as sealed_through
    from {{ ref('stg_prism__sealed_days') }}
),

-- when no batch is incorporated, whatever raw holds is to be built; two days
-- more on each side, as another zone may have put a use there before
extent as (
    select
        {{ day_of('min(used_at)') }} - 2 as first_date,
        {{ day_of('max(used_at)') }} + 2 as last_date
    from usage
    where not exists (
        select 1 from batches
        where batches.batch_id not in (select pending.batch_id from pending)
    )
),

days as (
    select load_days.usage_date
    from load_days
    inner join pending on load_days.batch_id = pending.batch_id
    union
    select series.usage_date::date
    from extent
    cross join lateral generate_series(
        extent.first_date::timestamp, extent.last_date, interval '1 day'
    ) as series (usage_date)
),

-- a day's edges lie within 3 hours of its first and last midnight, also where
-- the clocks change at midnight; the exact day is decided row by row
final as (
    select
        days.usage_date,
        {{ start_of('days.usage_date') }} - interval '3 hours' as scan_from,
        {{ start_of("(days.usage_date + 1)") }} + interval '3 hours'
            as scan_until
    from days
    inner join sealed on days.usage_date > sealed.sealed_through
)

select * from final
