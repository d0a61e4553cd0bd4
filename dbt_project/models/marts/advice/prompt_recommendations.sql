{{ config(tags=['analytics']) }}

{%- set filled = {
    'value': evidence_in_words('fired.metric', 'fired.observed_value'),
    'low': evidence_in_words('fired.metric', 'fired.shown_low'),
    'high': evidence_in_words('fired.metric', 'fired.shown_high'),
    'threshold': evidence_in_words('fired.metric', 'fired.threshold'),
    'sample': "to_char(fired.sample_size, 'FM999,999,999,990')",
    'current': 'fired.current_choice',
    'alternative': 'fired.alternative',
    'margin': "round(100 * " ~ var('success_margin') ~ ")::text || ' points of success'",
} %}

with evidence as (
    select * from {{ ref('int_prompt_evidence') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

rules as (
    select * from {{ ref('recommendation_rules') }}
    where enabled
),

comparisons as (
    select * from {{ ref('prompt_comparisons') }}
    where kind = 'version' and difference is not null
),

savings as (
    select * from {{ ref('model_savings') }}
    where monthly_saving > 0
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

usage as (
    select * from {{ ref('int_prompt_totals_daily') }}
    where
        breakdown = 'prompt'
        and usage_date between {{ as_of_date() }} - 29 and {{ as_of_date() }}
),

months as (
    select
        prompt_keys.prompt_id,
        sum(usage.usage_count)::bigint as usage_count,
        sum(usage.failure_cost)::double precision as failure_cost
    from usage
    inner join prompt_keys on usage.prompt_key = prompt_keys.prompt_key
    group by prompt_keys.prompt_id
),

-- the version in force; where the library keeps none, the one used first the last
version_changes as (
    select distinct on (comparisons.prompt_id, comparisons.metric) comparisons.*
    from comparisons
    inner join prompts on comparisons.prompt_id = prompts.prompt_id
    where
        coalesce(prompts.current_version = comparisons.variant, true)
        and comparisons.ends_on > {{ as_of_date() }} - 30
    order by
        comparisons.prompt_id asc,
        comparisons.metric asc,
        comparisons.starts_on desc,
        length(comparisons.variant) desc,
        comparisons.variant desc
),

-- of a cost, the change as a share of what it was
scaled as (
    select
        *,
        case metric when 'cost_per_use' then nullif(control_value, 0) else 1 end
            as scale
    from version_changes
),

best_savings as (
    select distinct on (prompt_id) *
    from savings
    order by
        prompt_id asc,
        monthly_saving desc,
        model asc,
        cheaper_model asc
),

all_evidence as (
    select
        prompt_id,
        metric,
        observed_value,
        value_low,
        value_high,
        sample_size,
        null as current_choice,
        null as alternative,
        null::double precision as cost_difference
    from evidence
    union all
    select
        prompt_id,
        case metric
            when 'success_rate' then 'version_success_change'
            when 'average_rating' then 'version_rating_change'
            when 'response_time_ms' then 'version_response_time_change'
            when 'cost_per_use' then 'version_cost_change'
        end as metric,
        difference / scale as observed_value,
        difference_low / scale as value_low,
        difference_high / scale as value_high,
        variant_count as sample_size,
        variant as current_choice,
        control as alternative,
        case metric when 'cost_per_use' then difference end as cost_difference
    from scaled
    union all
    select
        prompt_id,
        'model_saving' as metric,
        monthly_saving as observed_value,
        null as value_low,
        null as value_high,
        least(outcome_count, cheaper_outcome_count) as sample_size,
        model as current_choice,
        cheaper_model as alternative,
        null as cost_difference
    from best_savings
),

candidates as (
    select
        rules.*,
        found.prompt_id,
        found.observed_value,
        found.value_low,
        found.value_high,
        found.sample_size,
        found.current_choice,
        found.alternative,
        found.cost_difference,
        -- a change is told by its size
        case
            when found.value_high < 0 and found.metric like 'version_%'
                then found.value_high
            else found.value_low
        end as shown_low,
        case
            when found.value_high < 0 and found.metric like 'version_%'
                then found.value_low
            else found.value_high
        end as shown_high
    from rules
    inner join all_evidence as found on rules.metric = found.metric
    left join all_evidence as second_evidence
        on
            found.prompt_id = second_evidence.prompt_id
            and rules.also_metric = second_evidence.metric
    where
        found.sample_size >= rules.minimum_sample
        and {{ is_beyond('found', 'rules.comparator', 'rules.threshold') }}
        and (
            rules.also_metric is null
            or {{ is_beyond(
                'second_evidence', 'rules.also_comparator',
                'rules.also_threshold'
            ) }}
        )
),

-- what another rule says better, or what is only worth saying where nothing else is
displaced as (
    select distinct
        candidates.prompt_id,
        candidates.rule
    from candidates
    inner join candidates as rivals
        on
            candidates.prompt_id = rivals.prompt_id
            and (
                candidates.unless = rivals.rule
                or (
                    candidates.unless = 'any'
                    and rivals.unless is distinct from 'any'
                    and rivals.priority <> 'low'
                )
            )
),

fired as (
    select
        candidates.*,
        coalesce(months.usage_count, 0) as monthly_usage_count,
        case
            when candidates.metric = 'model_saving'
                then candidates.observed_value
            when candidates.metric = 'version_cost_change'
                then
                    greatest(candidates.cost_difference, 0)
                    * months.usage_count
            when
                candidates.metric = 'success_rate'
                and candidates.comparator = 'below'
                then
                    months.failure_cost
                    * (candidates.threshold - candidates.observed_value)
                    / (1 - candidates.observed_value)
        end as expected_saving,
        case
            when candidates.metric = 'version_success_change'
                then
                    greatest(-candidates.observed_value, 0)
                    * months.usage_count
            when
                candidates.metric = 'success_rate'
                and candidates.comparator = 'below'
                then
                    (candidates.threshold - candidates.observed_value)
                    * months.usage_count
        end as expected_successes
    from candidates
    left join months on candidates.prompt_id = months.prompt_id
    where
        not exists (
            select 1 from displaced
            where
                displaced.prompt_id = candidates.prompt_id
                and displaced.rule = candidates.rule
        )
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        -- the grain
        md5(fired.rule || ' ' || fired.prompt_id) as recommendation_id,
        fired.prompt_id,
        prompts.prompt_name,
        prompts.display_name,
        prompts.domain,
        fired.rule,
        -- what to do, and why
        row_number() over (
            order by
                array_position(
                    array['high', 'medium', 'low'], fired.priority
                ) asc,
                -- rounded, so that the last bits of a sum decide nothing
                round(coalesce(fired.expected_successes, 0)::numeric, 6) desc,
                round(coalesce(fired.expected_saving, 0)::numeric, 6) desc,
                fired.monthly_usage_count desc,
                prompts.prompt_name asc,
                fired.prompt_id asc,
                fired.rule asc
        ) as rank,
        fired.priority,
        fired.action,
        {{ filled_in('fired.title', filled) }} as title,
        {{ filled_in('fired.text', filled) }} as reason,
        -- the evidence
        fired.metric,
        fired.observed_value,
        fired.value_low,
        fired.value_high,
        fired.comparator,
        fired.threshold,
        fired.sample_size,
        fired.current_choice,
        fired.alternative,
        fired.monthly_usage_count,
        -- what it should bring
        fired.expected_saving,
        fired.expected_successes,
        case
            when fired.metric = 'model_saving'
                then
                    'What ' || fired.current_choice
                    || ' answered in the last 30 days, at the usual cost of '
                    || fired.alternative || '.'
            when
                fired.metric in (
                    'version_success_change', 'version_cost_change'
                )
                then
                    'The uses of the last 30 days, had they been of version '
                    || fired.alternative || '.'
            when fired.metric = 'success_rate' and fired.comparator = 'below'
                then
                    'The uses of the last 30 days, if '
                    || {{ filled['threshold'] }} || ' of them succeeded.'
        end as basis
    from fired
    inner join prompts on fired.prompt_id = prompts.prompt_id
)

select * from final
