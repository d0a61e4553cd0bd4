{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='sync_all_columns',
        full_refresh=false,
        tags=['rollup'],
        indexes=[{'columns': ['usage_date']}],
        pre_hook="{{ delete_touched_days() }}",
        post_hook=[
            "{{ drop_indexes_over('user_key') }}",
            "{{ analyze_changed() }}",
        ],
    )
}}

with usage as (
    select * from {{ ref('int_touched_usage') }}
),

final as (
    select
        usage_date,
        prompt_key,
        user_key,
        count(*) as usage_count
    from usage
    where user_key is not null
    group by usage_date, prompt_key, user_key
)

select * from final
