with periods as (
    select * from {{ ref('int_periods') }}
    where period = 'quarter'
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

histogram as (
    select * from {{ ref('int_response_time_spans') }}
    where breakdown = 'prompt'
),

-- where the buckets begin, in milliseconds
scale as (
    select array[0, 250, 500, 1000, 2000, 5000, 10000, 30000]::double precision[]
        as lows
),

counted as (
    select
        periods.as_of_date,
        prompt_keys.prompt_id,
        width_bucket({{ bucket_value('histogram.bucket') }}, scale.lows)
            as bucket,
        sum(histogram.usage_count) as usage_count
    from histogram
    cross join scale
    inner join prompt_keys on histogram.prompt_key = prompt_keys.prompt_key
    inner join periods on histogram.section_start >= periods.period_start
    group by
        periods.as_of_date,
        prompt_keys.prompt_id,
        width_bucket({{ bucket_value('histogram.bucket') }}, scale.lows)
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
