-- read once a scope, each time just what is of it: kept aside they would be written out whole
with totals as not materialized (
    select * from {{ ref('int_prompt_spans') }}
),

times as not materialized (
    select * from {{ ref('int_response_time_spans') }}
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

periods as (
    select * from {{ ref('int_periods') }}
),

-- every section is read once, however many periods hold it
sections as (
    {{ segments_of('totals', 'section_start', segment_sums()) }}
),

counted as (
    select
        periods.as_of_date,
        periods.period,
        sections.scope,
        sections.segment,
        {{ segment_sums() }}
    from sections
    inner join periods on sections.section_start >= periods.period_start
    group by
        periods.as_of_date,
        periods.period,
        sections.scope,
        sections.segment
),

section_times as (
    {{ segments_of(
        'times', 'section_start, bucket', 'sum(usage_count) as usage_count'
    ) }}
),

buckets as (
    select
        periods.period,
        section_times.scope,
        section_times.segment,
        section_times.bucket,
        sum(section_times.usage_count) as usage_count
    from section_times
    inner join periods on section_times.section_start >= periods.period_start
    group by
        periods.period,
        section_times.scope,
        section_times.segment,
        section_times.bucket
),

ranked as (
    select
        *,
        sum(usage_count) over (
            partition by period, scope, segment
            order by bucket
            rows between unbounded preceding and current row
        ) as last_rank,
        sum(usage_count) over (partition by period, scope, segment)
            as total_count
    from buckets
),

-- materialized: inside of a nested loop it would be made anew for every row
percentiles as materialized (
    select
        period,
        scope,
        segment,
        {{ ranked_percentile('0.50') }} as p50_response_time_ms,
        {{ ranked_percentile('0.95') }} as p95_response_time_ms
    from ranked
    group by period, scope, segment
),

final as (
    select
        counted.as_of_date,
        counted.period,
        counted.scope,
        counted.segment,
        {{ segment_metrics() }}
    from counted
    left join percentiles
        on
            counted.period = percentiles.period
            and counted.scope = percentiles.scope
            and counted.segment is not distinct from percentiles.segment
)

select * from final
