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
),

bucketed as (
    select
        *,
        {{ histogram_bucket('response_time_ms') }} as bucket
    from usage
    where response_time_ms is not null
),

final as (
    select
        usage_date,
        source,
        prompt_key,
        prompt_version,
        agent_key,
        model,
        bucket,
        count(*) as usage_count
    from bucketed
    group by
        usage_date, source, prompt_key, prompt_version, agent_key, model, bucket
)

select * from final
