{{ config(tags=['analytics']) }}

with source as (
    select * from {{ source('analytics', 'usage_forecasts') }}
),

renamed as (
    select
        -- ids
        as_of_date,
        prompt_id,
        metric,
        -- days
        forecast_date,
        -- numbers
        value,
        low,
        high,
        backtest_error,
        naive_error,
        interval_coverage,
        history_days,
        -- words
        method
    from source
)

select * from renamed
