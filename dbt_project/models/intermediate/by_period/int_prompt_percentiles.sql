with periods as (
    select * from {{ ref('int_periods') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

spans as (
    select * from {{ ref('int_response_time_spans') }}
    where breakdown = 'prompt'
),

-- every span is read once, however many periods hold it
sections as (
    select
        spans.section_start,
        prompt_keys.prompt_id,
        spans.bucket,
        sum(spans.usage_count) as usage_count
    from spans
    inner join prompt_keys on spans.prompt_key = prompt_keys.prompt_key
    group by spans.section_start, prompt_keys.prompt_id, spans.bucket
),

buckets as (
    select
        periods.period,
        sections.prompt_id,
        sections.bucket,
        sum(sections.usage_count) as usage_count
    from sections
    inner join periods on sections.section_start >= periods.period_start
    group by periods.period, sections.prompt_id, sections.bucket
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
