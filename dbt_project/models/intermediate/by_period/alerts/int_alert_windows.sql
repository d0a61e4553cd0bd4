{{ config(post_hook="analyze {{ this }}") }}

-- every window is compared with the 90 days before it, which are the prompt's own past
with periods as (
    select * from {{ ref('int_periods') }}
),

rules as (
    select * from {{ ref('alert_rules') }}
    where enabled and metric in {{ alert_metric_names(of='window') }}
),

nights as (
    select as_of_date
    from {{ evaluated_nights() }} as nights
    where as_of_date between {{ alerts_since() }} and {{ as_of_date() }}
),

final as (
    select
        nights.as_of_date,
        periods.period,
        periods.days,
        coalesce(
            nights.as_of_date - periods.days + 1, '-infinity'::date
        ) as period_start,
        coalesce(
            nights.as_of_date - periods.days + 1, '-infinity'::date
        ) - 90 as baseline_start
    from nights
    cross join periods
    where periods.period in (select rules.period from rules)
)

select * from final
