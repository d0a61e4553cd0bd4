with periods as (
    select * from {{ ref('int_periods') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

users as (
    select * from {{ ref('int_prompt_users_daily') }}
    where usage_date <= {{ as_of_date() }}
),

sessions as (
    select * from {{ ref('int_prompt_sessions_daily') }}
    where usage_date <= {{ as_of_date() }}
),

-- all periods end on the as-of date: whoever came last within a period counts
last_visits as (
    select
        prompt_keys.prompt_id,
        'user' as kind,
        max(users.usage_date) as last_date
    from users
    inner join prompt_keys on users.prompt_key = prompt_keys.prompt_key
    group by prompt_keys.prompt_id, users.user_key
    union all
    select
        prompt_keys.prompt_id,
        'session' as kind,
        max(sessions.usage_date) as last_date
    from sessions
    inner join prompt_keys on sessions.prompt_key = prompt_keys.prompt_key
    group by prompt_keys.prompt_id, sessions.source, sessions.session_id
),

final as (
    select
        periods.period,
        last_visits.prompt_id,
        count(*) filter (where last_visits.kind = 'user') as user_count,
        count(*) filter (where last_visits.kind = 'session') as session_count
    from last_visits
    inner join periods on last_visits.last_date >= periods.period_start
    group by periods.period, last_visits.prompt_id
)

select * from final
