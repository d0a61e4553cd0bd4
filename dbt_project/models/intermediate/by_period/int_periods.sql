with usage as (
    select * from {{ ref('int_prompt_totals_daily') }}
    where breakdown = 'all'
),

lengths as (
    select *
    from (
        values
        {%- for period, days in period_lengths().items() %}
        ('{{ period }}', {{ days or 'null' }}::integer){{ ',' if not loop.last }}
        {%- endfor %}
    ) as lengths (period, days)
),

first_use as (
    select min(usage_date) as first_date
    from usage
    where usage_date <= {{ as_of_date() }}
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        lengths.period,
        lengths.days,
        case
            when lengths.period = 'all' then first_use.first_date
            else {{ as_of_date() }} - lengths.days + 1
        end as period_start,
        {{ as_of_date() }} as period_end,
        {{ as_of_date() }} - 2 * lengths.days + 1 as previous_start
    from lengths
    cross join first_use
)

select * from final
