{%- set counts = [
    'usage_count', 'timed_count', 'outcome_count', 'success_count',
    'rated_count', 'response_time_count', 'priced_count',
    'priced_success_count', 'response_time_log_count',
] -%}
{#- what the spread of single uses is computed from -#}
{%- set spreads = [
    'rating_square_sum', 'response_time_log_sum',
    'response_time_log_square_sum', 'cost_square_sum',
] -%}
{%- set sums = ['rating_sum', 'response_time_sum_ms', 'total_cost'] + spreads -%}
{%- set measures = counts | reject('eq', 'timed_count') | list + sums %}
{%- set compared = [
    'success_rate', 'average_rating', 'average_response_time_ms',
    'cost_per_use',
] %}

with prompts as (
    select * from {{ ref('int_prompts') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

stated as (
    select * from {{ ref('int_prompt_spans') }}
    where breakdown = 'prompt_version' and prompt_version is not null
),

-- which of the versions it was is a matter of the day
unstated as (
    select * from {{ ref('int_prompt_totals_daily') }}
    where
        breakdown = 'prompt_version'
        and prompt_version is null
        and usage_date <= {{ as_of_date() }}
),

versions as (
    select * from {{ ref('stg_prism__prompt_versions') }}
    where
        created_at is null
        or {{ day_of('created_at') }} <= {{ as_of_date() }}
),

-- the same version in two sources is one, and its text that of the elder
known as (
    select distinct on (versions.prompt_id, versions.prompt_version)
        versions.prompt_id,
        versions.prompt_version,
        versions.created_at,
        versions.system_prompt,
        versions.user_prompt_template
    from versions
    inner join prompts on versions.prompt_id = prompts.prompt_id
    order by
        versions.prompt_id asc,
        versions.prompt_version asc,
        versions.created_at asc nulls last,
        versions.source asc
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

timed as (
    select
        {%- for name in measures %}
        unstated.{{ name }},
        {%- endfor %}
        unstated.first_used_at,
        unstated.last_used_at,
        prompt_keys.prompt_id,
        spans.prompt_version as version_used,
        case
            when spans.prompt_id is not null then unstated.usage_count else 0
        end as timed_count
    from unstated
    inner join prompt_keys on unstated.prompt_key = prompt_keys.prompt_key
    left join spans
        on
            prompt_keys.prompt_id = spans.prompt_id
            and unstated.usage_date
            between spans.first_date and spans.last_date
),

dated as (
    select
        prompt_keys.prompt_id,
        stated.prompt_version as version_used,
        0 as timed_count,
        {%- for name in measures %}
        stated.{{ name }},
        {%- endfor %}
        stated.first_used_at,
        stated.last_used_at
    from stated
    inner join prompt_keys on stated.prompt_key = prompt_keys.prompt_key
    union all
    select
        prompt_id,
        version_used,
        timed_count,
        {%- for name in measures %}
        {{ name }},
        {%- endfor %}
        first_used_at,
        last_used_at
    from timed
),

used as (
    select
        prompt_id,
        version_used as prompt_version,
        {%- for name in counts %}
        sum({{ name }})::bigint as {{ name }},
        {%- endfor %}
        {%- for name in sums %}
        sum({{ name }}) as {{ name }},
        {%- endfor %}
        min(first_used_at) as first_used_at,
        max(last_used_at) as last_used_at
    from dated
    group by prompt_id, version_used
),

-- the version made just before, where both times are known
changes as (
    select
        prompt_id,
        prompt_version,
        lag(prompt_version) over line as previous_version,
        coalesce(system_prompt, '') as system_prompt,
        coalesce(user_prompt_template, '') as user_prompt_template,
        coalesce(lag(system_prompt) over line, '') as previous_system_prompt,
        coalesce(lag(user_prompt_template) over line, '')
            as previous_user_prompt_template
    from known
    where created_at is not null
    window
        line as (
            partition by prompt_id
            order by created_at, length(prompt_version), prompt_version
        )
),

-- a line counts as often as it stands there, wherever it stands
described as (
    select
        prompt_id,
        prompt_version,
        previous_version,
        concat_ws(
            ', ',
            case
                when system_prompt <> previous_system_prompt
                    then 'system_prompt'
            end,
            case
                when user_prompt_template <> previous_user_prompt_template
                    then 'user_prompt_template'
            end
        ) as changed_fields,
        {{ lines_more_in('', 'previous_') }} as lines_added,
        {{ lines_more_in('previous_', '') }} as lines_removed
    from changes
    where previous_version is not null
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

measured as (
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
        used.last_used_at,
        {{ day_of('used.first_used_at') }} as first_used_on,
        {{ day_of('used.last_used_at') }} as last_used_on,
        -- what comparisons are computed from
        coalesce(used.response_time_log_count, 0) as response_time_log_count,
        {%- for name in spreads %}
        used.{{ name }},
        {%- endfor %}
        used.rating_sum
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
),

final as (
    select
        measured.*,
        described.previous_version,
        described.changed_fields,
        {%- for name in compared %}
        previous.{{ name }} as previous_{{ name }},
        {%- endfor %}
        described.lines_added,
        described.lines_removed
    from measured
    left join described
        on
            measured.prompt_id = described.prompt_id
            and measured.prompt_version = described.prompt_version
    left join measured as previous
        on
            described.prompt_id = previous.prompt_id
            and described.previous_version = previous.prompt_version
)

select * from final
