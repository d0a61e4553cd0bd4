{{ config(post_hook="analyze {{ this }}") }}

with periods as (
    select * from {{ ref('int_periods') }}
),

whole as (
    select * from periods
    where period = 'all'
),

edges as (
    select period_start as edge from periods
    union
    select previous_start as edge from periods
),

-- every day belongs to the section that begins at the last edge up to it; whatever
-- happened before the first use did not happen
days as (
    select
        series.usage_date::date as usage_date,
        date_trunc('month', series.usage_date)::date as month_start,
        (
            select max(edges.edge) from edges
            where edges.edge <= series.usage_date
        ) as section_start
    from whole
    cross join lateral generate_series(
        whole.period_start::timestamp,
        whole.period_end,
        interval '1 day'
    ) as series (usage_date)
),

months as (
    select
        month_start,
        min(section_start) as section_start
    from days
    group by month_start
    having
        min(section_start) = max(section_start)
        and max(usage_date) = month_start + interval '1 month' - interval '1 day'
),

final as (
    select
        'month' as grain,
        month_start as starts_on,
        section_start
    from months
    union all
    select
        'day' as grain,
        days.usage_date as starts_on,
        days.section_start
    from days
    where not exists (
        select 1 from months
        where months.month_start = days.month_start
    )
)

select * from final
