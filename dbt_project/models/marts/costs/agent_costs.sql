{%- set counts = [
    'usage_count', 'outcome_count', 'success_count', 'priced_count',
    'priced_success_count', 'unpriced_count',
] -%}
{%- set sums = ['total_tokens', 'total_cost', 'failure_cost'] %}

with usage as (
    select * from {{ ref('int_prompt_usage_daily') }}
    where usage_date <= {{ as_of_date() }}
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
    select
        *,
        row_number() over (order by days nulls last) as length_rank
    from {{ ref('int_periods') }}
),

-- a day belongs to the shortest period that holds it and to all longer ones: so days are
-- read once, whatever the number of periods
days as (
    select
        dates.usage_date,
        min(periods.length_rank) as length_rank
    from (select distinct usage_date from usage) as dates
    inner join periods on dates.usage_date >= periods.period_start
    group by dates.usage_date
),

banded as (
    select
        prompt_keys.prompt_id,
        agent_keys.agent_name,
        usage.model,
        {%- for name in counts + sums %}
        sum(usage.{{ name }}) as {{ name }},
        {%- endfor %}
        days.length_rank
    from usage
    inner join days on usage.usage_date = days.usage_date
    inner join prompt_keys on usage.prompt_key = prompt_keys.prompt_key
    left join agent_keys on usage.agent_key = agent_keys.agent_key
    group by
        prompt_keys.prompt_id, agent_keys.agent_name, usage.model,
        days.length_rank
),

period_sums as (
    select
        periods.as_of_date,
        periods.period,
        banded.agent_name,
        banded.prompt_id,
        {%- for name in counts + sums %}
        sum(banded.{{ name }}) as {{ name }},
        {%- endfor %}
        banded.model
    from banded
    inner join periods on banded.length_rank <= periods.length_rank
    group by
        periods.as_of_date, periods.period, banded.agent_name,
        banded.prompt_id, banded.model
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
        {{ ratio(
            'period_sums.total_cost',
            'sum(period_sums.total_cost) over (partition by period_sums.period)'
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
