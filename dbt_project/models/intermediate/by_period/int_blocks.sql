{#- How far back: more points than these nobody reads, and a night's work stays bounded. -#}
{%- set day_blocks, week_blocks = 60, 53 %}

with lengths as (
    select *
    from (
        values
        ('day', 1, {{ day_blocks }}),
        ('week', 7, {{ week_blocks }})
    ) as lengths (grain, days, blocks)
),

-- whole blocks, counted back from the as-of date
final as (
    select
        lengths.grain,
        {{ as_of_date() }} - lengths.days * (numbers.n + 1) + 1 as starts_on,
        {{ as_of_date() }} - lengths.days * numbers.n as ends_on
    from lengths
    cross join generate_series(
        0, {{ [day_blocks, week_blocks] | max }} - 1
    ) as numbers (n)
    where numbers.n < lengths.blocks
)

select * from final
