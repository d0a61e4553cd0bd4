{#- How far back: more points than these nobody reads, and a night's work stays bounded. -#}
{%- set day_blocks, week_blocks = 60, 53 %}

-- read once a scope, each time just what is of it: kept aside they would be written out whole
with totals as not materialized (
    select * from {{ ref('int_prompt_totals_daily') }}
    where
        breakdown in ('all', 'model', 'agent', 'prompt')
        and usage_date <= {{ as_of_date() }}
        and usage_date > {{ as_of_date() }} - 7 * {{ week_blocks }}
),

times as not materialized (
    select * from {{ ref('int_response_times_daily') }}
    where
        usage_date <= {{ as_of_date() }}
        and usage_date > {{ as_of_date() }} - 7 * {{ week_blocks }}
),

prompt_keys as (
    select
        keys.prompt_key,
        prompts.domain
    from {{ ref('int_prompt_keys') }} as keys
    inner join {{ ref('int_prompts') }} as prompts
        on keys.prompt_id = prompts.prompt_id
),

agent_keys as (
    select * from {{ ref('int_agent_keys') }}
),

lengths as (
    select *
    from (
        values
        ('day', 1, {{ day_blocks }}),
        ('week', 7, {{ week_blocks }})
    ) as lengths (grain, days, blocks)
),

-- whole blocks, counted back from the as-of date
blocks as (
    select
        lengths.grain,
        {{ as_of_date() }} - lengths.days * (numbers.n + 1) + 1 as starts_on,
        {{ as_of_date() }} - lengths.days * numbers.n as ends_on
    from lengths
    cross join generate_series(0, {{ day_blocks }} - 1) as numbers (n)
    where numbers.n < lengths.blocks
),

-- a join of days and blocks by equality, which reads no day twice
days as (
    select
        blocks.grain,
        blocks.ends_on,
        blocks.ends_on - numbers.n as usage_date
    from blocks
    cross join generate_series(0, 6) as numbers (n)
    where blocks.ends_on - numbers.n >= blocks.starts_on
),

-- by day first, which makes few rows of many, and then by block
counted_days as (
    {{ segments_of('totals', 'usage_date', segment_sums()) }}
),

counted as (
    select
        days.grain,
        days.ends_on,
        counted_days.scope,
        counted_days.segment,
        {{ segment_sums() }}
    from counted_days
    inner join days on counted_days.usage_date = days.usage_date
    group by
        days.grain, days.ends_on, counted_days.scope, counted_days.segment
),

bucket_days as (
    {{ segments_of(
        'times', 'usage_date, bucket', 'sum(usage_count) as usage_count'
    ) }}
),

buckets as (
    select
        days.grain,
        days.ends_on,
        bucket_days.scope,
        bucket_days.segment,
        bucket_days.bucket,
        sum(bucket_days.usage_count) as usage_count
    from bucket_days
    inner join days on bucket_days.usage_date = days.usage_date
    -- dates and numbers first: millions of rows are sorted by them
    group by
        days.ends_on,
        bucket_days.bucket,
        bucket_days.segment,
        bucket_days.scope,
        days.grain
),

ranked as (
    select
        *,
        sum(usage_count) over (
            partition by ends_on, segment, scope, grain
            order by bucket
            rows between unbounded preceding and current row
        ) as last_rank,
        sum(usage_count) over (partition by ends_on, segment, scope, grain)
            as total_count
    from buckets
),

-- materialized: inside of a nested loop it would be made anew for every row
percentiles as materialized (
    select
        grain,
        ends_on,
        scope,
        segment,
        {{ ranked_percentile('0.50') }} as p50_response_time_ms,
        {{ ranked_percentile('0.95') }} as p95_response_time_ms
    from ranked
    group by grain, ends_on, scope, segment
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        counted.grain,
        counted.ends_on - lengths.days + 1 as starts_on,
        counted.ends_on,
        counted.scope,
        counted.segment,
        {{ segment_metrics() }}
    from counted
    inner join lengths on counted.grain = lengths.grain
    left join percentiles
        on
            counted.grain = percentiles.grain
            and counted.ends_on = percentiles.ends_on
            and counted.scope = percentiles.scope
            and counted.segment is not distinct from percentiles.segment
)

select * from final
