{{ config(tags=['analytics']) }}

{%- set counts = [
    'usage_count', 'outcome_count', 'success_count', 'priced_count',
] -%}
{%- set margin = var('success_margin') -%}
{%- set minimum_sample = var('minimum_outcomes_to_compare_models') -%}
{%- set first_day = as_of_date() ~ ' - 89' %}

with usage as (
    select * from {{ ref('int_prompt_totals_daily') }}
    where
        breakdown = 'prompt_model'
        and usage_date between {{ first_day }} and {{ as_of_date() }}
        and model is not null
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

anomalies as (
    select * from {{ ref('stg_analytics__cost_anomalies') }}
    where
        as_of_date = {{ as_of_date() }}
        and usage_date between {{ first_day }} and {{ as_of_date() }}
),

excess as (
    select
        prompt_id,
        model,
        sum(excess_cost) as excess_cost
    from anomalies
    group by prompt_id, model
),

sums as (
    select
        prompt_keys.prompt_id,
        usage.model,
        {%- for name in counts %}
        sum(usage.{{ name }})::bigint as {{ name }},
        {%- endfor %}
        coalesce(
            sum(usage.usage_count) filter (
                where usage.usage_date > {{ as_of_date() }} - 30
            ), 0
        )::bigint as monthly_usage_count,
        sum(usage.total_cost) as total_cost
    from usage
    inner join prompt_keys on usage.prompt_key = prompt_keys.prompt_key
    group by prompt_keys.prompt_id, usage.model
),

-- one wild call would make any other model look cheap
models as (
    select
        sums.*,
        {{ ratio('sums.success_count', 'sums.outcome_count') }}
            as success_rate,
        {{ wilson('sums.success_count', 'sums.outcome_count', 'low') }}
            as success_rate_low,
        {{ wilson('sums.success_count', 'sums.outcome_count', 'high') }}
            as success_rate_high,
        (sums.total_cost - coalesce(excess.excess_cost, 0))
        / nullif(sums.priced_count, 0) as usual_cost_per_use
    from sums
    left join excess
        on
            sums.prompt_id = excess.prompt_id
            and sums.model = excess.model
),

-- the interval of a difference of shares: R. G. Newcombe, "Interval estimation for the
-- difference between independent proportions", Statistics in Medicine 17 (1998), method 10
pairs as (
    select
        models.prompt_id,
        models.model,
        models.usage_count,
        models.outcome_count,
        models.success_rate,
        models.priced_count,
        models.usual_cost_per_use,
        models.monthly_usage_count,
        cheaper.model as cheaper_model,
        cheaper.usage_count as cheaper_usage_count,
        cheaper.outcome_count as cheaper_outcome_count,
        cheaper.success_rate as cheaper_success_rate,
        cheaper.priced_count as cheaper_priced_count,
        cheaper.usual_cost_per_use as cheaper_usual_cost_per_use,
        cheaper.success_rate - models.success_rate as success_difference,
        cheaper.success_rate - models.success_rate - sqrt(
            power(cheaper.success_rate - cheaper.success_rate_low, 2)
            + power(models.success_rate_high - models.success_rate, 2)
        ) as success_difference_low,
        cheaper.success_rate - models.success_rate + sqrt(
            power(cheaper.success_rate_high - cheaper.success_rate, 2)
            + power(models.success_rate - models.success_rate_low, 2)
        ) as success_difference_high
    from models
    inner join models as cheaper
        on
            models.prompt_id = cheaper.prompt_id
            and models.usual_cost_per_use > cheaper.usual_cost_per_use
),

judged as (
    select
        *,
        case
            when
                least(
                    outcome_count, cheaper_outcome_count,
                    priced_count, cheaper_priced_count
                ) < {{ minimum_sample }}
                then 'not enough data'
            when success_difference_low > -{{ margin }} then 'as good'
            when success_difference_high < 0 then 'worse'
            else 'not known'
        end as verdict,
        monthly_usage_count
        * (usual_cost_per_use - cheaper_usual_cost_per_use) as difference_in_cost
    from pairs
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        -- the grain
        judged.prompt_id,
        prompts.prompt_name,
        prompts.domain,
        judged.model,
        judged.cheaper_model,
        -- the model in use
        judged.usage_count,
        judged.outcome_count,
        judged.success_rate,
        judged.priced_count,
        judged.usual_cost_per_use,
        judged.monthly_usage_count,
        -- the cheaper one
        judged.cheaper_usage_count,
        judged.cheaper_outcome_count,
        judged.cheaper_success_rate,
        judged.cheaper_priced_count,
        judged.cheaper_usual_cost_per_use,
        -- whether it does
        judged.success_difference,
        judged.success_difference_low,
        judged.success_difference_high,
        {{ margin }}::double precision as margin,
        judged.verdict,
        case
            when judged.verdict = 'as good' then judged.difference_in_cost
        end as monthly_saving
    from judged
    inner join prompts on judged.prompt_id = prompts.prompt_id
)

select * from final
