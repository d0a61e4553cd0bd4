{#- How far back: more points than these nobody reads, and a night's work stays bounded.
    No year touches more calendar weeks than 53. -#}
{%- set day_blocks, week_blocks = 60, 53 %}

with days as (
    select
        'day' as grain,
        {{ as_of_date() }} - numbers.n as starts_on,
        {{ as_of_date() }} - numbers.n as ends_on
    from generate_series(0, {{ day_blocks }} - 1) as numbers (n)
),

mondays as (
    select
        date_trunc('week', {{ as_of_date() }})::date - 7 * numbers.n as starts_on
    from generate_series(0, {{ week_blocks }} - 1) as numbers (n)
),

final as (
    select * from days
    union all
    select
        'week' as grain,
        starts_on,
        -- the last one has only come so far
        least(starts_on + 6, {{ as_of_date() }}) as ends_on
    from mondays
)

select * from final
