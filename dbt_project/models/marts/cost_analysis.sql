{{ config(tags=['analytics']) }}

{%- set counts = [
    'usage_count', 'success_count', 'priced_count', 'priced_success_count',
    'unpriced_count',
] -%}
{%- set sums = ['total_tokens', 'total_cost', 'failure_cost'] %}

with periods as (
    select * from {{ ref('int_periods') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

spans as (
    select * from {{ ref('int_prompt_spans') }}
    where breakdown = 'prompt_model'
),

anomalies as (
    select * from {{ ref('stg_analytics__cost_anomalies') }}
    where as_of_date = {{ as_of_date() }}
),

sections as (
    select
        prompt_keys.prompt_id,
        spans.model,
        {%- for name in counts + sums %}
        sum(spans.{{ name }}) as {{ name }},
        {%- endfor %}
        spans.section_start
    from spans
    inner join prompt_keys on spans.prompt_key = prompt_keys.prompt_key
    group by prompt_keys.prompt_id, spans.model, spans.section_start
),

period_sums as (
    select
        periods.as_of_date,
        periods.period,
        sections.prompt_id,
        {%- for name in counts + sums %}
        sum(sections.{{ name }}) as {{ name }},
        {%- endfor %}
        sections.model
    from sections
    inner join periods on sections.section_start >= periods.period_start
    group by
        periods.as_of_date,
        periods.period,
        sections.prompt_id,
        sections.model
),

period_anomalies as (
    select
        periods.period,
        anomalies.prompt_id,
        anomalies.model,
        count(*) as anomaly_count,
        sum(anomalies.excess_cost) as excess_cost
    from anomalies
    inner join periods
        on
            anomalies.usage_date
            between periods.period_start and periods.period_end
    group by periods.period, anomalies.prompt_id, anomalies.model
),

final as (
    select
        period_sums.as_of_date,
        -- the grain
        period_sums.period,
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
        period_sums.failure_cost::numeric(20, 10) as failure_cost,
        -- days that cost far more than usual
        coalesce(period_anomalies.anomaly_count, 0) as anomaly_count,
        period_anomalies.excess_cost
    from period_sums
    inner join prompts on period_sums.prompt_id = prompts.prompt_id
    left join period_anomalies
        on
            period_sums.period = period_anomalies.period
            and period_sums.prompt_id = period_anomalies.prompt_id
            and period_sums.model is not distinct from period_anomalies.model
)

select * from final
