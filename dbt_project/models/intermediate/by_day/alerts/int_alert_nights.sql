{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='sync_all_columns',
        full_refresh=false,
        indexes=[{'columns': ['as_of_date']}],
        pre_hook="{{ delete_evaluated_nights() }}",
    )
}}

-- written when all else is there: depends on {{ ref('int_alert_ids') }}
with final as (
    select
        series.as_of_date::date as as_of_date,
        current_timestamp as evaluated_at
    from generate_series(
        {{ alerts_since() }}::timestamp, {{ as_of_date() }}, interval '1 day'
    ) as series (as_of_date)
)

select * from final
