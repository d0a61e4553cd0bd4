{{ config(materialized='view') }}

with users as (
    select * from {{ ref('int_prompt_users_daily') }}
),

sessions as (
    select * from {{ ref('int_prompt_sessions_daily') }}
),

-- a user is one whatever the source, sessions of two sources are two
final as (
    select
        usage_date,
        'user' as kind,
        '' as source,
        prompt_key,
        user_key as visitor_key
    from users
    union all
    select
        usage_date,
        'session' as kind,
        source,
        prompt_key,
        session_id as visitor_key
    from sessions
)

select * from final
