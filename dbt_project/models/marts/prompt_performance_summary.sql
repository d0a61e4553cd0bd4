with prompt_periods as (
    select * from {{ ref('int_prompt_periods') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

percentiles as (
    select * from {{ ref('int_response_time_percentiles') }}
    where scope = 'prompt'
),

reach as (
    select * from {{ ref('int_prompt_reach') }}
),

health as (
    select * from {{ ref('int_prompt_health') }}
),

final as (
    select
        -- the grain
        sums.as_of_date,
        sums.period,
        sums.period_start,
        sums.period_end,
        sums.prompt_id,
        -- the prompt
        prompts.prompt_name,
        prompts.display_name,
        prompts.domain,
        prompts.complexity_level,
        prompts.status,
        prompts.suite,
        -- use and outcome
        sums.usage_count,
        sums.outcome_count,
        sums.success_count,
        {{ ratio('sums.success_count', 'sums.outcome_count') }}
            as success_rate,
        {{ wilson('sums.success_count', 'sums.outcome_count', 'low') }}
            as success_rate_low,
        {{ wilson('sums.success_count', 'sums.outcome_count', 'high') }}
            as success_rate_high,
        sums.error_known_count,
        sums.error_count,
        {{ ratio('sums.error_count', 'sums.error_known_count') }}
            as error_rate,
        sums.rated_count,
        {{ ratio('sums.rating_sum', 'sums.rated_count') }} as average_rating,
        -- response time
        sums.response_time_count,
        {{ ratio('sums.response_time_sum_ms', 'sums.response_time_count') }}
            as average_response_time_ms,
        percentiles.p50_response_time_ms,
        percentiles.p95_response_time_ms,
        percentiles.p99_response_time_ms,
        -- tokens and cost
        sums.total_tokens::bigint as total_tokens,
        sums.priced_count,
        sums.total_cost::numeric(20, 10) as total_cost,
        {{ ratio('sums.total_cost', 'sums.priced_count') }} as cost_per_use,
        {{ ratio('sums.total_cost', 'sums.priced_success_count') }}
            as cost_per_success,
        -- reach
        coalesce(reach.user_count, 0) as user_count,
        coalesce(reach.session_count, 0) as session_count,
        sums.last_used_at,
        -- the period before
        sums.previous_usage_count,
        {{ ratio(
            'sums.previous_success_count', 'sums.previous_outcome_count'
        ) }} as previous_success_rate,
        {{ ratio('sums.previous_rating_sum', 'sums.previous_rated_count') }}
            as previous_average_rating,
        {{ ratio(
            'sums.previous_response_time_sum_ms',
            'sums.previous_response_time_count'
        ) }} as previous_average_response_time_ms,
        sums.previous_total_cost::numeric(20, 10) as previous_total_cost,
        -- the verdict
        health.health
    from prompt_periods as sums
    inner join prompts on sums.prompt_id = prompts.prompt_id
    left join percentiles
        on
            sums.period = percentiles.period
            and sums.prompt_id = percentiles.segment
    left join reach
        on
            sums.period = reach.period
            and sums.prompt_id = reach.prompt_id
    left join health
        on
            sums.period = health.period
            and sums.prompt_id = health.prompt_id
)

select * from final
