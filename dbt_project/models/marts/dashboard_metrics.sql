{{ config(tags=['analytics']) }}

{%- set measures = [
    'usage_count', 'success_rate', 'average_rating',
    'average_response_time_ms', 'total_tokens', 'total_cost',
] -%}

with periods as (
    select * from {{ ref('int_periods') }}
),

prompt_periods as (
    select * from {{ ref('int_prompt_periods') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
    where is_listed
),

agents as (
    select * from {{ ref('stg_prism__agents') }}
),

mappings as (
    select * from {{ ref('int_agent_prompts') }}
),

alerts as (
    select * from {{ ref('performance_alerts') }}
    where state <> 'resolved'
),

targets as (
    select * from {{ ref('targets') }}
    where scope = 'all'
),

library as (
    select
        count(*) as total_prompts,
        count(*) filter (where status = 'active') as active_prompts,
        count(*) filter (where suite is not null) as suite_prompts
    from prompts
),

total_agents as (
    select count(*) as total_agents from agents
),

agent_mappings as (
    select count(*) as mapping_count
    from mappings
    group by agent_id
),

total_mappings as (
    select
        count(*) as mapped_agents,
        coalesce(sum(mapping_count), 0)::bigint as total_mappings
    from agent_mappings
),

open_alerts as (
    select
        count(*) as open_alerts,
        count(*) filter (where severity = 'high') as high_alerts,
        count(*) filter (where severity = 'medium') as medium_alerts,
        count(*) filter (where severity = 'low') as low_alerts
    from alerts
),

goals as (
    select
        max(target) filter (where metric = 'success_rate')
            as target_success_rate,
        max(target) filter (where metric = 'average_rating')
            as target_average_rating,
        max(target) filter (where metric = 'average_response_time_ms')
            as target_average_response_time_ms
    from targets
),

sums as (
    select
        {%- for before in ['', 'previous_'] %}
        count(*) filter (where {{ before }}usage_count > 0)
            as {{ before }}used_prompts,
        sum({{ before }}usage_count)::bigint as {{ before }}usage_count,
        {{ ratio(
            'sum(' ~ before ~ 'success_count)',
            'sum(' ~ before ~ 'outcome_count)'
        ) }} as {{ before }}success_rate,
        {{ ratio(
            'sum(' ~ before ~ 'rating_sum)', 'sum(' ~ before ~ 'rated_count)'
        ) }} as {{ before }}average_rating,
        {{ ratio(
            'sum(' ~ before ~ 'response_time_sum_ms)',
            'sum(' ~ before ~ 'response_time_count)'
        ) }} as {{ before }}average_response_time_ms,
        sum({{ before }}total_tokens)::bigint as {{ before }}total_tokens,
        sum({{ before }}total_cost)::numeric(20, 10)
            as {{ before }}total_cost,
        {%- endfor %}
        period
    from prompt_periods
    group by period
),

final as (
    select
        -- the grain
        periods.as_of_date,
        periods.period,
        periods.period_start,
        periods.period_end,
        -- the library, as it is now
        library.total_prompts,
        library.active_prompts,
        coalesce(sums.used_prompts, 0) as used_prompts,
        library.suite_prompts,
        total_agents.total_agents,
        total_mappings.mapped_agents,
        total_mappings.total_mappings,
        {{ ratio(
            'total_mappings.total_mappings', 'total_mappings.mapped_agents'
        ) }} as average_mappings_per_agent,
        -- the period
        coalesce(sums.usage_count, 0) as usage_count,
        {%- for name in measures[1:] %}
        sums.{{ name }},
        {%- endfor %}
        -- the alerts that are open on the as-of date
        open_alerts.open_alerts,
        open_alerts.high_alerts,
        open_alerts.medium_alerts,
        open_alerts.low_alerts,
        -- the period before
        case
            when periods.previous_start is not null
                then coalesce(sums.previous_used_prompts, 0)
        end as previous_used_prompts,
        case
            when periods.previous_start is not null
                then coalesce(sums.previous_usage_count, 0)
        end as previous_usage_count,
        {%- for name in measures[1:] %}
        sums.previous_{{ name }},
        {%- endfor %}
        -- what good looks like
        goals.target_success_rate,
        goals.target_average_rating,
        goals.target_average_response_time_ms
    from periods
    cross join library
    cross join total_agents
    cross join total_mappings
    cross join open_alerts
    cross join goals
    left join sums on periods.period = sums.period
)

select * from final
