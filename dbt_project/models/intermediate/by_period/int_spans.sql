{{ config(post_hook="analyze {{ this }}") }}

with periods as (
    select * from {{ ref('int_periods') }}
),

extent as (
    select
        period_start as first_date,
        period_end as last_date
    from periods
    where period = 'all'
),

edges as (
    select period_start as edge from periods
    union
    select previous_start as edge from periods
),

final as (
    {{ spans(['month']) | indent }}
)

select * from final
