with forecasts as (
    select * from {{ ref('stg_analytics__usage_forecasts') }}
    where as_of_date = {{ as_of_date() }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

final as (
    select
        forecasts.as_of_date,
        -- the grain
        case when forecasts.prompt_id is null then 'all' else 'prompt' end
            as scope,
        forecasts.prompt_id,
        prompts.prompt_name,
        prompts.domain,
        forecasts.metric,
        forecasts.forecast_date,
        forecasts.forecast_date - forecasts.as_of_date as days_ahead,
        -- the forecast
        forecasts.value,
        forecasts.low,
        forecasts.high,
        -- how far it can be trusted
        forecasts.method,
        forecasts.backtest_error,
        forecasts.naive_error,
        forecasts.interval_coverage,
        forecasts.history_days
    from forecasts
    left join prompts on forecasts.prompt_id = prompts.prompt_id
)

select * from final
