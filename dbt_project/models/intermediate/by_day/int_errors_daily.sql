{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='sync_all_columns',
        full_refresh=false,
        tags=['rollup'],
        indexes=[{'columns': ['usage_date']}],
        pre_hook="{{ delete_touched_days() }}",
        post_hook="{{ analyze_changed() }}",
    )
}}

with usage as (
    select * from {{ ref('int_touched_usage') }}
    where is_error
),

-- a type may be a whole message: what is alike in its beginning is one
final as (
    select
        usage_date,
        source,
        prompt_key,
        left(error_type, 200) as error_type,
        count(*) as error_count
    from usage
    group by usage_date, source, prompt_key, left(error_type, 200)
)

select * from final
