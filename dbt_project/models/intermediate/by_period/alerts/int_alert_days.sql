{{
    config(
        indexes=[{'columns': ['usage_date']}],
        post_hook="analyze {{ this }}",
    )
}}

{%- set counts = [
    'usage_count', 'outcome_count', 'success_count', 'error_known_count',
    'error_count', 'rated_count', 'response_time_count', 'priced_count',
] -%}
{%- set sums = [
    'rating_sum', 'rating_square_sum', 'response_time_sum_ms', 'total_cost',
    'cost_square_sum',
] %}

with windows as (
    select * from {{ ref('int_alert_windows') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

-- what the windows reach back to, however long history is
usage as (
    select * from {{ ref('int_prompt_totals_daily') }}
    where
        breakdown = 'prompt'
        and usage_date >= (select min(windows.baseline_start) from windows)
        and usage_date <= {{ as_of_date() }}
),

final as (
    select
        prompt_keys.prompt_id,
        usage.usage_date,
        {%- for name in counts %}
        sum(usage.{{ name }})::bigint as {{ name }},
        {%- endfor %}
    {%- for name in sums %}
    sum(usage.{{ name }})::double precision as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
    from usage
    inner join prompt_keys on usage.prompt_key = prompt_keys.prompt_key
    group by prompt_keys.prompt_id, usage.usage_date
)

select * from final
