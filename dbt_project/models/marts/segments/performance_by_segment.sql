with usage as (
    select * from {{ ref('int_prompt_usage_daily') }}
),

histogram as (
    select * from {{ ref('int_response_time_histogram_daily') }}
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
    select
        *,
        row_number() over (order by days nulls last) as length_rank
    from {{ ref('int_periods') }}
),

-- each day belongs to the shortest period that holds it, so that days are read once
-- whatever the number of periods
days as (
    select
        dates.usage_date,
        min(periods.length_rank) as length_rank
    from (select distinct usage_date from usage) as dates
    inner join periods
        on
            dates.usage_date
            between periods.period_start and periods.period_end
    group by dates.usage_date
),

banded as (
    select
        days.length_rank,
        {{ segment_scope() }} as scope,
        {{ segment_name() }} as segment,
        {{ segment_sums() }}
    from usage
    inner join days on usage.usage_date = days.usage_date
    inner join prompt_keys on usage.prompt_key = prompt_keys.prompt_key
    left join agent_keys on usage.agent_key = agent_keys.agent_key
    group by {{ segment_sets('days.length_rank') }}
),

counted as (
    select
        periods.as_of_date,
        periods.period,
        banded.scope,
        banded.segment,
        {{ segment_sums() }}
    from banded
    inner join periods on banded.length_rank <= periods.length_rank
    group by periods.as_of_date, periods.period, banded.scope, banded.segment
),

banded_times as (
    select
        days.length_rank,
        histogram.bucket,
        {{ segment_scope() }} as scope,
        {{ segment_name() }} as segment,
        sum(histogram.usage_count) as usage_count
    from histogram
    inner join days on histogram.usage_date = days.usage_date
    inner join prompt_keys on histogram.prompt_key = prompt_keys.prompt_key
    left join agent_keys on histogram.agent_key = agent_keys.agent_key
    group by {{ segment_sets('days.length_rank, histogram.bucket') }}
),

buckets as (
    select
        periods.period,
        banded_times.scope,
        banded_times.segment,
        banded_times.bucket,
        sum(banded_times.usage_count) as usage_count
    from banded_times
    inner join periods on banded_times.length_rank <= periods.length_rank
    group by
        periods.period,
        banded_times.scope,
        banded_times.segment,
        banded_times.bucket
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

percentiles as (
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
