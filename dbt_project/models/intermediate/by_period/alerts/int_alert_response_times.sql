{{ config(post_hook="analyze {{ this }}") }}

with rules as (
    select * from {{ ref('alert_rules') }}
    where enabled and metric in {{ alert_metric_names(kind='time') }}
),

windows as (
    select * from {{ ref('int_alert_windows') }}
    where period in (select rules.period from rules)
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

days as not materialized (
    select * from {{ ref('int_response_times_daily') }}
),

kept as not materialized (
    select * from {{ ref('int_response_times_by_grain') }}
),

extent as (
    select
        period_start as first_date,
        period_end as last_date
    from {{ ref('int_periods') }}
    where period = 'all'
),

edges as (
    select baseline_start as edge from windows
    union
    select period_start as edge from windows
    union
    select as_of_date + 1 as edge from windows
),

spans as (
    {{ spans(grains(), 'kept') | indent }}
),

-- every span is read once, however many windows hold it
sections as (
    select
        spans.section_start,
        prompt_keys.prompt_id,
        times.bucket,
        sum(times.usage_count) as usage_count
    from spans
    {{ response_times_of_spans('prompt') }}
    inner join prompt_keys on times.prompt_key = prompt_keys.prompt_key
    group by spans.section_start, prompt_keys.prompt_id, times.bucket
),

buckets as (
    select
        windows.as_of_date,
        windows.period,
        sections.section_start < windows.period_start as is_before,
        sections.prompt_id,
        sections.bucket,
        sum(sections.usage_count) as usage_count
    from sections
    inner join windows
        on
            sections.section_start
            between windows.baseline_start and windows.as_of_date
    group by
        windows.as_of_date,
        windows.period,
        sections.section_start < windows.period_start,
        sections.prompt_id,
        sections.bucket
),

ranked as (
    select
        *,
        {{ bucket_value('bucket') }} as response_time_ms,
        sum(usage_count) over (
            partition by as_of_date, period, is_before, prompt_id
            order by bucket
            rows between unbounded preceding and current row
        ) as last_rank,
        sum(usage_count) over (
            partition by as_of_date, period, is_before, prompt_id
        ) as total_count
    from buckets
),

-- nearest ranks; the interval of a percentile lies between two of them, as the rank
-- of the true one is binomial
final as (
    select
        as_of_date,
        period,
        prompt_id,
        min(response_time_ms) filter (
            where not is_before and last_rank >= 0.50 * total_count
        ) as p50_response_time_ms,
        {%- for shift, name in [(0, 'p95'), (-1.96, 'p95_low'), (1.96, 'p95_high')] %}
        min(response_time_ms) filter (
            where
            not is_before
            and last_rank >= least(
                0.95 * total_count
                + {{ shift }} * sqrt(0.0475 * total_count),
                total_count
            )
        ) as {{ name }}_response_time_ms,
        {%- endfor %}
        min(response_time_ms) filter (
            where is_before and last_rank >= 0.95 * total_count
        ) as before_p95_response_time_ms,
        sum(usage_count * response_time_ms) filter (where not is_before)
            as response_time_sum_ms,
        sum(usage_count * power(response_time_ms, 2))
        filter (where not is_before)
            as response_time_square_sum
    from ranked
    group by as_of_date, period, prompt_id
)

select * from final
