with summary as (
    select * from {{ ref('prompt_performance_summary') }}
),

-- where the buckets begin; the last ends at the highest value possible, if there is one
scales as (
    select *
    from (
        values
        (
            'success_rate',
            array[0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
            1
        ),
        ('average_rating', array[1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5], 5),
        (
            'average_response_time_ms',
            array[0, 100, 250, 500, 1000, 2000, 5000, 10000, 30000],
            null
        ),
        (
            'cost_per_use',
            array[0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1],
            null
        )
    ) as scales (metric, lows, highest)
),

lows as (
    select
        metric,
        highest,
        unnest(lows)::double precision as bucket_low
    from scales
),

buckets as (
    select
        metric,
        bucket_low,
        (row_number() over scale)::integer as bucket,
        coalesce(lead(bucket_low) over scale, highest) as bucket_high
    from lows
    window scale as (partition by metric order by bucket_low)
),

measured as (
    select
        summary.period,
        summary.domain,
        metrics.metric,
        metrics.value,
        metrics.sample_size
    from summary
    cross join lateral (
        values
        (
            'success_rate',
            summary.success_rate,
            summary.outcome_count
        ),
        (
            'average_rating',
            summary.average_rating,
            summary.rated_count
        ),
        (
            'average_response_time_ms',
            summary.average_response_time_ms,
            summary.response_time_count
        ),
        (
            'cost_per_use',
            summary.cost_per_use,
            summary.priced_count
        )
    ) as metrics (metric, value, sample_size)
),

known as (
    select * from measured
    where value is not null
),

scoped as (
    select
        'domain' as scope,
        known.*
    from known
    union all
    select
        'all' as scope,
        period,
        null as domain,
        metric,
        value,
        sample_size
    from known
),

-- how many buckets begin at or below a value is the number of its bucket
placed as (
    select
        scope,
        period,
        domain,
        metric,
        sample_size,
        (
            select count(*) from buckets
            where
                buckets.metric = scoped.metric
                and buckets.bucket_low <= scoped.value
        ) as bucket
    from scoped
),

groups as (
    select
        scope,
        period,
        domain,
        metric,
        count(*) as prompt_count
    from placed
    group by scope, period, domain, metric
),

counted as (
    select
        scope,
        period,
        domain,
        metric,
        bucket,
        count(*) as prompt_count,
        count(*) filter (where sample_size >= 20) as sampled_prompt_count
    from placed
    group by scope, period, domain, metric, bucket
),

-- the empty buckets, too, wherever anything is known
final as (
    select
        {{ as_of_date() }} as as_of_date,
        -- the grain
        groups.period,
        groups.scope,
        groups.domain,
        groups.metric,
        buckets.bucket,
        -- the bucket
        buckets.bucket_low,
        buckets.bucket_high,
        -- the prompts in it
        coalesce(counted.prompt_count, 0) as prompt_count,
        coalesce(counted.sampled_prompt_count, 0) as sampled_prompt_count,
        {{ ratio(
            'coalesce(counted.prompt_count, 0)', 'groups.prompt_count'
        ) }} as prompt_share
    from groups
    inner join buckets on groups.metric = buckets.metric
    left join counted
        on
            groups.period = counted.period
            and groups.scope = counted.scope
            and groups.domain is not distinct from counted.domain
            and groups.metric = counted.metric
            and buckets.bucket = counted.bucket
)

select * from final
