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

-- there are far fewer days than visitors to hold against every period
last_days as (
    select
        prompt_id,
        last_date,
        count(*) filter (where kind = 'user') as user_count,
        count(*) filter (where kind = 'session') as session_count
    from last_visits
    group by prompt_id, last_date
),

final as (
    select
        periods.period,
        last_days.prompt_id,
        sum(last_days.user_count)::bigint as user_count,
        sum(last_days.session_count)::bigint as session_count
    from last_days
    inner join periods on last_days.last_date >= periods.period_start
    group by periods.period, last_days.prompt_id
)

select * from final
