{%- set counts = [
    'usage_count', 'outcome_count', 'success_count', 'priced_count',
    'priced_success_count', 'unpriced_count',
] -%}
{%- set sums = ['total_tokens', 'total_cost', 'failure_cost'] %}

with spans as (
    select * from {{ ref('int_prompt_spans') }}
    where breakdown = 'prompt_agent_model'
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

agent_keys as (
    select * from {{ ref('int_agent_keys') }}
),

periods as (
    select * from {{ ref('int_periods') }}
),

-- every section is read once, however many periods hold it
sections as (
    select
        prompt_keys.prompt_id,
        agent_keys.agent_name,
        spans.model,
        {%- for name in counts + sums %}
        sum(spans.{{ name }}) as {{ name }},
        {%- endfor %}
        spans.section_start
    from spans
    inner join prompt_keys on spans.prompt_key = prompt_keys.prompt_key
    left join agent_keys on spans.agent_key = agent_keys.agent_key
    group by
        prompt_keys.prompt_id,
        agent_keys.agent_name,
        spans.model,
        spans.section_start
),

period_sums as (
    select
        periods.as_of_date,
        periods.period,
        sections.agent_name,
        sections.prompt_id,
        {%- for name in counts + sums %}
        sum(sections.{{ name }}) as {{ name }},
        {%- endfor %}
        sections.model
    from sections
    inner join periods on sections.section_start >= periods.period_start
    group by
        periods.as_of_date, periods.period, sections.agent_name,
        sections.prompt_id, sections.model
),

final as (
    select
        period_sums.as_of_date,
        -- the grain
        period_sums.period,
        period_sums.agent_name,
        period_sums.prompt_id,
        prompts.prompt_name,
        prompts.domain,
        period_sums.model,
        -- uses
        {%- for name in counts %}
        period_sums.{{ name }}::bigint as {{ name }},
        {%- endfor %}
        -- costs
        period_sums.total_tokens::bigint as total_tokens,
        period_sums.total_cost::numeric(20, 10) as total_cost,
        -- of its domain: by one of all, who may see a single domain could tell the rest
        {{ ratio(
            'period_sums.total_cost',
            'sum(period_sums.total_cost) over (
                partition by period_sums.period, prompts.domain
            )'
        ) }} as cost_share,
        {{ ratio('period_sums.total_cost', 'period_sums.priced_count') }}
            as cost_per_use,
        {{ ratio(
            'period_sums.total_cost', 'period_sums.priced_success_count'
        ) }} as cost_per_success,
        period_sums.failure_cost::numeric(20, 10) as failure_cost
    from period_sums
    inner join prompts on period_sums.prompt_id = prompts.prompt_id
)

select * from final
