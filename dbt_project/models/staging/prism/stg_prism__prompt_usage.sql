with source as (
    select * from {{ source('raw', 'prompt_usage') }}
),

renamed as (
    select
        -- ids
        source,
        usage_id,
        batch_id,
        prompt_key,
        prompt_version,
        agent_key,
        user_key,
        session_id,
        -- texts
        model,
        -- outcomes
        success as is_success,
        coalesce(is_error, not success) as is_error,
        error_type,
        rating,
        -- measures
        response_time_ms,
        input_tokens,
        output_tokens,
        total_tokens,
        cost,
        -- times
        used_at,
        updated_at,
        loaded_at
    from source
    where deleted_at is null
)

select * from renamed
