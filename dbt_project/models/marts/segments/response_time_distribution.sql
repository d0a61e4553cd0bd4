with periods as (
    select * from {{ ref('int_periods') }}
    where period = 'quarter'
),

buckets as (
    select * from {{ ref('int_response_time_periods') }}
    where scope = 'prompt' and quarter_count > 0
),

-- where the buckets begin, in milliseconds
scale as (
    select array[0, 250, 500, 1000, 2000, 5000, 10000, 30000]::double precision[]
        as lows
),

counted as (
    select
        periods.as_of_date,
        buckets.segment as prompt_id,
        width_bucket({{ bucket_value('buckets.bucket') }}, scale.lows) as bucket,
        sum(buckets.quarter_count) as usage_count
    from buckets
    cross join scale
    cross join periods
    group by
        periods.as_of_date,
        buckets.segment,
        width_bucket({{ bucket_value('buckets.bucket') }}, scale.lows)
),

final as (
    select
        counted.as_of_date,
        counted.prompt_id,
        counted.bucket,
        scale.lows[counted.bucket] as bucket_low_ms,
        scale.lows[counted.bucket + 1] as bucket_high_ms,
        counted.usage_count::bigint as usage_count
    from counted
    cross join scale
)

select * from final
