{%- set counts = [
    'usage_count', 'timed_count', 'outcome_count', 'success_count',
    'rated_count', 'response_time_count', 'priced_count',
    'priced_success_count',
] %}

with prompts as (
    select * from {{ ref('int_prompts') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

usage as (
    select * from {{ ref('int_prompt_usage_daily') }}
    where usage_date <= {{ as_of_date() }}
),

versions as (
    select * from {{ ref('stg_prism__prompt_versions') }}
    where
        created_at is null
        or {{ day_of('created_at') }} <= {{ as_of_date() }}
),

-- the same version in two sources is one
known as (
    select
        versions.prompt_id,
        versions.prompt_version,
        min(versions.created_at) as created_at
    from versions
    inner join prompts on versions.prompt_id = prompts.prompt_id
    group by versions.prompt_id, versions.prompt_version
),

-- the days on which nothing but this version can have run; on the day of a change two
-- did, but before the first there was none
spans as (
    select
        prompt_id,
        prompt_version,
        {{ day_of('created_at') }}
        + (lag(prompt_id) over line is not null)::integer as first_date,
        coalesce(
            lead({{ day_of('created_at') }}) over line - 1, 'infinity'
        ) as last_date
    from known
    where created_at is not null
    window
        line as (
            partition by prompt_id
            -- version 10 comes after version 9
            order by created_at, length(prompt_version), prompt_version
        )
),

dated as (
    select
        usage.*,
        prompt_keys.prompt_id,
        coalesce(usage.prompt_version, spans.prompt_version) as version_used,
        case
            when usage.prompt_version is null and spans.prompt_id is not null
                then usage.usage_count
            else 0
        end as timed_count
    from usage
    inner join prompt_keys on usage.prompt_key = prompt_keys.prompt_key
    left join spans
        on
            prompt_keys.prompt_id = spans.prompt_id
            and usage.prompt_version is null
            and usage.usage_date between spans.first_date and spans.last_date
),

used as (
    select
        prompt_id,
        version_used as prompt_version,
        {%- for name in counts %}
        sum({{ name }})::bigint as {{ name }},
        {%- endfor %}
        sum(rating_sum) as rating_sum,
        sum(response_time_sum_ms) as response_time_sum_ms,
        sum(total_cost) as total_cost,
        min(first_used_at) as first_used_at,
        max(last_used_at) as last_used_at
    from dated
    group by prompt_id, version_used
),

all_versions as (
    select
        prompt_id,
        prompt_version
    from known
    union
    select
        prompt_id,
        prompt_version
    from used
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        -- the grain
        all_versions.prompt_id,
        prompts.prompt_name,
        prompts.domain,
        all_versions.prompt_version,
        -- the version
        known.created_at as version_created_at,
        coalesce(all_versions.prompt_version = prompts.current_version, false)
            as is_current,
        -- use and outcome
        {%- for name in counts[:4] %}
        coalesce(used.{{ name }}, 0) as {{ name }},
        {%- endfor %}
        {{ ratio('used.success_count', 'used.outcome_count') }}
            as success_rate,
        {{ wilson('used.success_count', 'used.outcome_count', 'low') }}
            as success_rate_low,
        {{ wilson('used.success_count', 'used.outcome_count', 'high') }}
            as success_rate_high,
        coalesce(used.rated_count, 0) as rated_count,
        {{ ratio('used.rating_sum', 'used.rated_count') }} as average_rating,
        -- response time and cost
        coalesce(used.response_time_count, 0) as response_time_count,
        {{ ratio('used.response_time_sum_ms', 'used.response_time_count') }}
            as average_response_time_ms,
        coalesce(used.priced_count, 0) as priced_count,
        used.total_cost::numeric(20, 10) as total_cost,
        {{ ratio('used.total_cost', 'used.priced_count') }} as cost_per_use,
        {{ ratio('used.total_cost', 'used.priced_success_count') }}
            as cost_per_success,
        used.first_used_at,
        used.last_used_at
    from all_versions
    inner join prompts on all_versions.prompt_id = prompts.prompt_id
    left join known
        on
            all_versions.prompt_id = known.prompt_id
            and all_versions.prompt_version = known.prompt_version
    left join used
        on
            all_versions.prompt_id = used.prompt_id
            and all_versions.prompt_version
            is not distinct from used.prompt_version
)

select * from final
