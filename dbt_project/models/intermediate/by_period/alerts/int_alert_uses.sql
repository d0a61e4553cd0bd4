{{ config(post_hook="analyze {{ this }}") }}

{#- What counts for a metric: how much of what is bad, among how many. -#}
{%- set success = ['outcome_count - success_count', 'outcome_count'] -%}
{%- set rating = ['5 * rated_count - rating_sum', 'rated_count'] -%}
{%- set time = ['response_time_sum_ms', 'response_time_count'] -%}
{%- set badness = {
    'success_rate': success,
    'success_rate_change': success,
    'version_quality': success,
    'error_rate': ['error_count', 'error_known_count'],
    'average_rating': rating,
    'average_rating_change': rating,
    'average_response_time_ms': time,
    'p95_response_time_ms': time,
    'cost_per_use': ['total_cost', 'priced_count'],
    'cost_spike': ['total_cost', 'priced_count'],
    'forecast_cost': ['total_cost', 'priced_count'],
    'usage_count': ['usage_count', 'usage_count'],
    'usage_count_change': ['usage_count', 'usage_count'],
} %}

with scopes as (
    select * from {{ ref('int_alert_scopes') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

agent_keys as (
    select * from {{ ref('int_agent_keys') }}
),

-- an alert that is open for longer than a quarter no longer asks what changed then
reach as (
    select
        min(
            least(
                baseline_start,
                greatest(first_detected_on, as_of_date - 90) - 44
            )
        ) as first_date
    from scopes
),

usage as (
    select * from {{ ref('int_prompt_totals_daily') }}
    where
        breakdown in ('prompt_version', 'prompt_model', 'prompt_agent_model')
        and usage_date >= (select reach.first_date from reach)
        and usage_date <= {{ as_of_date() }}
),

segments as (
    select
        usage.*,
        case usage.breakdown
            when 'prompt_version' then 'version'
            when 'prompt_model' then 'model'
            else 'agent'
        end as dimension,
        case usage.breakdown
            when 'prompt_version' then usage.prompt_version
            when 'prompt_model' then usage.model
            else agent_keys.agent_name
        end as name
    from usage
    left join agent_keys on usage.agent_key = agent_keys.agent_key
),

final as (
    select
        scopes.alert_id,
        segments.usage_date,
        segments.dimension,
        segments.name,
        sum(segments.usage_count) as usage_count,
        sum(
            case scopes.metric
                {%- for metric, (bad, _) in badness.items() %}
                when '{{ metric }}' then {{ bad }}
                {%- endfor %}
            end::double precision
        ) as bad,
        sum(
            case scopes.metric
                {%- for metric, (_, all) in badness.items() %}
                when '{{ metric }}' then {{ all }}
                {%- endfor %}
            end
        ) as looked_at
    from scopes
    inner join prompt_keys on scopes.prompt_id = prompt_keys.prompt_id
    inner join segments on prompt_keys.prompt_key = segments.prompt_key
    group by
        scopes.alert_id, segments.usage_date, segments.dimension, segments.name
)

select * from final
