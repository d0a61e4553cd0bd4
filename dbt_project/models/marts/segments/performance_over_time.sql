with blocks as (
    select * from {{ ref('int_blocks') }}
),

counted as (
    select * from {{ ref('int_segment_blocks') }}
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        blocks.grain,
        blocks.starts_on,
        blocks.ends_on,
        counted.scope,
        counted.segment,
        {{ segment_metrics(percentiles='counted') }}
    from blocks
    inner join counted
        on blocks.grain = counted.grain and blocks.ends_on = counted.ends_on
)

select * from final
