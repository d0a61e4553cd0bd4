{{ config(materialized='view') }}

with prompt_periods as (
    select * from {{ ref('int_prompt_periods') }}
),

final as (
    select
        prompt_periods.as_of_date,
        prompt_periods.period,
        prompt_periods.period_start,
        prompt_periods.prompt_id,
        metrics.metric,
        metrics.observed_value,
        metrics.sample_size
    from prompt_periods
    cross join lateral (
        values
        (
            'usage_count',
            prompt_periods.usage_count::double precision,
            prompt_periods.usage_count
        ),
        (
            'success_rate',
            {{ ratio(
                'prompt_periods.success_count', 'prompt_periods.outcome_count'
            ) }},
            prompt_periods.outcome_count
        ),
        (
            'average_rating',
            {{ ratio(
                'prompt_periods.rating_sum', 'prompt_periods.rated_count'
            ) }},
            prompt_periods.rated_count
        ),
        (
            'average_response_time_ms',
            {{ ratio(
                'prompt_periods.response_time_sum_ms',
                'prompt_periods.response_time_count'
            ) }},
            prompt_periods.response_time_count
        ),
        (
            'error_rate',
            {{ ratio(
                'prompt_periods.error_count', 'prompt_periods.error_known_count'
            ) }},
            prompt_periods.error_known_count
        )
    ) as metrics (metric, observed_value, sample_size)
)

select * from final
