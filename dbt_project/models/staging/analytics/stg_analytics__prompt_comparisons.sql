{{ config(tags=['analytics']) }}

with source as (
    select * from {{ source('analytics', 'prompt_comparisons') }}
),

renamed as (
    select
        -- ids
        as_of_date,
        comparison_id,
        prompt_id,
        -- what is compared
        kind,
        experiment,
        compares,
        control,
        variant,
        metric,
        -- days
        starts_on,
        ends_on,
        -- numbers
        control_count,
        variant_count,
        control_value,
        variant_value,
        difference,
        difference_low,
        difference_high,
        confidence,
        log_e_value,
        -- words
        is_relative,
        verdict
    from source
)

select * from renamed
