{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        full_refresh=false,
        pre_hook="{{ delete_as_of_date() }}",
    )
}}

with rule_results as (
    select * from {{ ref('int_rule_results') }}
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        count(*) filter (where is_evaluated and period = rule_period)
            as evaluation_count,
        count(*) filter (where is_crossed and period = rule_period)
            as crossed_count,
        current_timestamp as evaluated_at
    from rule_results
)

select * from final
