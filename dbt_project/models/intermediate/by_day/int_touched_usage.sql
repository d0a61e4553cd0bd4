{{ config(materialized='view') }}

with touched_days as (
    select * from {{ ref('int_touched_days') }}
),

usage as (
    select * from {{ ref('stg_prism__prompt_usage') }}
),

batches as (
    select * from {{ ref('stg_prism__load_batches') }}
),

first_loads as (
    select
        source,
        min(started_at) as first_loaded_at
    from batches
    group by source
),

final as (
    select
        touched_days.usage_date,
        usage.*,
        -- what was used before its source was first loaded is history, not late
        coalesce(
            usage.used_at >= first_loads.first_loaded_at
            and usage.loaded_at > usage.used_at + interval '1 day'
            -- a use that was rated later came again; it was not late
            and coalesce(usage.updated_at, usage.used_at)
            <= usage.used_at + interval '1 day',
            false
        ) as is_late,
        usage.cost is null and greatest(
            usage.total_tokens, usage.input_tokens, usage.output_tokens, 0
        ) > 0 as is_unpriced
    from touched_days
    inner join usage
        on
            usage.used_at >= touched_days.scan_from
            and usage.used_at < touched_days.scan_until
            and {{ day_of('usage.used_at') }} = touched_days.usage_date
    left join first_loads on usage.source = first_loads.source
)

select * from final
