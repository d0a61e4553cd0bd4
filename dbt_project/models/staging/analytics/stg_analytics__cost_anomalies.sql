{{ config(tags=['analytics']) }}

with source as (
    select * from {{ source('analytics', 'cost_anomalies') }}
),

renamed as (
    select
        -- ids
        as_of_date,
        prompt_id,
        model,
        -- days
        usage_date,
        -- numbers
        priced_count,
        total_cost,
        cost_per_use,
        usual_cost_per_use,
        excess_cost,
        score
    from source
)

select * from renamed
