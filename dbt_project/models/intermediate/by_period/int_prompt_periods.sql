{%- set counts = [
    'usage_count', 'outcome_count', 'success_count', 'error_known_count',
    'error_count', 'rated_count', 'response_time_count', 'priced_count',
    'priced_success_count',
] -%}
{%- set sums = [
    'rating_sum', 'response_time_sum_ms', 'total_tokens', 'total_cost',
] -%}
{%- set previous_counts = [
    'usage_count', 'outcome_count', 'success_count', 'rated_count',
    'response_time_count',
] -%}

with periods as (
    select * from {{ ref('int_periods') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

sections as (
    select * from {{ ref('int_prompt_sections') }}
),

keyed as (
    select
        prompt_keys.prompt_id,
        sections.*
    from sections
    inner join prompt_keys on sections.prompt_key = prompt_keys.prompt_key
),

current_sums as (
    select
        periods.period,
        keyed.prompt_id,
        {%- for name in counts + sums %}
        sum(keyed.{{ name }}) as {{ name }},
        {%- endfor %}
        max(keyed.last_used_at) as last_used_at
    from keyed
    inner join periods on keyed.section_start >= periods.period_start
    group by periods.period, keyed.prompt_id
),

previous_sums as (
    select
        {%- for name in previous_counts + sums %}
        sum(keyed.{{ name }}) as {{ name }},
        {%- endfor %}
        periods.period,
        keyed.prompt_id
    from keyed
    inner join periods
        on
            keyed.section_start >= periods.previous_start
            and keyed.section_start < periods.period_start
    group by periods.period, keyed.prompt_id
),

final as (
    select
        periods.as_of_date,
        periods.period,
        periods.period_start,
        periods.period_end,
        prompts.prompt_id,
        {%- for name in counts %}
        coalesce(current_sums.{{ name }}, 0)::bigint as {{ name }},
        {%- endfor %}
        {%- for name in sums %}
        current_sums.{{ name }},
        {%- endfor %}
        {%- for name in previous_counts %}
        case
            when periods.previous_start is not null
                then coalesce(previous_sums.{{ name }}, 0)::bigint
        end as previous_{{ name }},
        {%- endfor %}
        {%- for name in sums %}
        previous_sums.{{ name }} as previous_{{ name }},
        {%- endfor %}
        current_sums.last_used_at
    from periods
    cross join prompts
    left join current_sums
        on
            periods.period = current_sums.period
            and prompts.prompt_id = current_sums.prompt_id
    left join previous_sums
        on
            periods.period = previous_sums.period
            and prompts.prompt_id = previous_sums.prompt_id
)

select * from final
