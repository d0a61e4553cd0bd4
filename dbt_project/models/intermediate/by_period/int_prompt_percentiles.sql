with periods as (
    select * from {{ ref('int_periods') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

histogram as (
    select * from {{ ref('int_response_time_histogram_daily') }}
),

buckets as (
    select
        periods.period,
        prompt_keys.prompt_id,
        histogram.bucket,
        sum(histogram.usage_count) as usage_count
    from histogram
    inner join prompt_keys on histogram.prompt_key = prompt_keys.prompt_key
    inner join periods
        on
            histogram.usage_date
            between periods.period_start and periods.period_end
    group by periods.period, prompt_keys.prompt_id, histogram.bucket
),

ranked as (
    select
        period,
        prompt_id,
        {{ bucket_value('bucket') }} as response_time_ms,
        -- the rank of the bucket's slowest use among all of the period's
        sum(usage_count) over (
            partition by period, prompt_id
            order by bucket
            rows between unbounded preceding and current row
        ) as last_rank,
        sum(usage_count) over (partition by period, prompt_id) as total_count
    from buckets
),

-- nearest rank: the smallest value that at least this share is not above
final as (
    select
        period,
        prompt_id,
        min(response_time_ms) filter (where last_rank >= 0.50 * total_count)
            as p50_response_time_ms,
        min(response_time_ms) filter (where last_rank >= 0.95 * total_count)
            as p95_response_time_ms,
        min(response_time_ms) filter (where last_rank >= 0.99 * total_count)
            as p99_response_time_ms
    from ranked
    group by period, prompt_id
)

select * from final
