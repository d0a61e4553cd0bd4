{#- A table, though each of its rows stands in raw: six rollups read it, and there a day lies
    all over the pages of its batches, which are in the order of their keys. -#}

with touched_days as (
    select * from {{ ref('int_touched_days') }}
),

uses as (
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
        usage.source,
        usage.usage_id,
        usage.prompt_key,
        usage.prompt_version,
        usage.agent_key,
        usage.user_key,
        usage.session_id,
        usage.model,
        usage.is_success,
        usage.is_error,
        usage.error_type,
        usage.rating,
        usage.response_time_ms,
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens,
        usage.cost,
        usage.used_at,
        usage.loaded_at,
        -- what was used before its source was first loaded is history, not late;
        -- what was rated or changed later keeps the time of its first load
        coalesce(
            usage.used_at >= first_loads.first_loaded_at
            and usage.loaded_at > usage.used_at + interval '1 day',
            false
        ) as is_late,
        usage.cost is null and greatest(
            usage.total_tokens, usage.input_tokens, usage.output_tokens, 0
        ) > 0 as is_unpriced
    from touched_days
    -- day by day, each a range of the index: joined by the day, all that raw holds would be
    -- read for the one that was touched. The offset keeps PostgreSQL from making it that join.
    cross join
        lateral (
            select uses.*
            from uses
            where
                touched_days.scan_from <= uses.used_at
                and touched_days.scan_until > uses.used_at
                and touched_days.usage_date = {{ day_of('uses.used_at') }}
            offset 0  -- noqa: AM09
        ) as usage
    left join first_loads on usage.source = first_loads.source
)

select * from final
