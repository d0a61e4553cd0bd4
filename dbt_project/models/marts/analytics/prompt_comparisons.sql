with comparisons as (
    select * from {{ ref('stg_analytics__prompt_comparisons') }}
    where as_of_date = {{ as_of_date() }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

final as (
    select
        comparisons.as_of_date,
        comparisons.comparison_id,
        -- what is compared
        comparisons.kind,
        comparisons.experiment,
        comparisons.prompt_id,
        prompts.prompt_name,
        prompts.domain,
        comparisons.compares,
        comparisons.control,
        comparisons.variant,
        comparisons.starts_on,
        comparisons.ends_on,
        comparisons.metric,
        -- the samples
        comparisons.control_count,
        comparisons.variant_count,
        comparisons.control_value,
        comparisons.variant_value,
        -- the difference
        comparisons.difference,
        comparisons.difference_low,
        comparisons.difference_high,
        comparisons.is_relative,
        comparisons.confidence,
        comparisons.log_e_value,
        comparisons.verdict
    from comparisons
    left join prompts on comparisons.prompt_id = prompts.prompt_id
)

select * from final
