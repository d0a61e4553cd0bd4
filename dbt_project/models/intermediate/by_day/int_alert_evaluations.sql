{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        full_refresh=false,
        pre_hook="{{ delete_as_of_date() }}",
        indexes=[{'columns': ['as_of_date']}],
    )
}}

with rule_results as (
    select * from {{ ref('int_rule_results') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

percentiles as (
    select * from {{ ref('int_prompt_percentiles') }}
),

final as (
    select
        rule_results.as_of_date,
        rule_results.rule,
        rule_results.prompt_id,
        prompts.prompt_name,
        prompts.domain,
        rule_results.period,
        rule_results.metric,
        rule_results.severity,
        rule_results.observed_value,
        rule_results.threshold,
        rule_results.sample_size,
        percentiles.p50_response_time_ms,
        percentiles.p95_response_time_ms
    from rule_results
    inner join prompts on rule_results.prompt_id = prompts.prompt_id
    left join percentiles
        on
            rule_results.period = percentiles.period
            and rule_results.prompt_id = percentiles.prompt_id
    where
        rule_results.is_crossed
        and rule_results.period = rule_results.rule_period
)

select * from final
