{{ config(post_hook="analyze {{ this }}") }}

with windows as (
    select * from {{ ref('int_alert_windows') }}
),

rules as (
    select * from {{ ref('alert_rules') }}
    where enabled and metric in {{ alert_metric_names(kind='time') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

histogram as (
    select * from {{ ref('int_response_times_daily') }}
    where
        breakdown = 'prompt'
        and usage_date >= (select min(windows.baseline_start) from windows)
        and usage_date <= {{ as_of_date() }}
),

buckets as (
    select
        windows.as_of_date,
        windows.period,
        histogram.usage_date < windows.period_start as is_before,
        prompt_keys.prompt_id,
        histogram.bucket,
        sum(histogram.usage_count) as usage_count
    from histogram
    inner join prompt_keys on histogram.prompt_key = prompt_keys.prompt_key
    inner join windows
        on
            histogram.usage_date
            between windows.baseline_start and windows.as_of_date
    where windows.period in (select rules.period from rules)
    group by
        windows.as_of_date,
        windows.period,
        histogram.usage_date < windows.period_start,
        prompt_keys.prompt_id,
        histogram.bucket
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
