{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='append_new_columns',
        full_refresh=false,
        pre_hook="{{ delete_evaluated_nights() }}",
        post_hook=[
            "create index if not exists int_alert_evaluations_subjects on {{ this }}
            (as_of_date, rule, (coalesce(subject_id, prompt_id)))",
            "analyze {{ this }}",
        ],
    )
}}

with observations as (
    select * from {{ ref('int_alert_observations') }}
),

rules as (
    select * from {{ ref('alert_rules') }}
    where enabled
),

limits as (
    select * from {{ ref('int_alert_limits') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

-- on a scale where more is worse, every comparison is the same
limited as (
    select
        observations.as_of_date,
        rules.rule,
        observations.scope,
        observations.subject_id,
        case observations.scope
            when 'prompt' then observations.subject_id
        end as prompt_id,
        case observations.scope
            when 'prompt' then prompts.prompt_name
            when 'source' then observations.subject_id
            else 'all prompts'
        end as prompt_name,
        prompts.domain,
        rules.period,
        observations.metric,
        rules.comparator,
        observations.observed_value,
        observations.observed_low,
        observations.observed_high,
        observations.sample_size,
        observations.baseline_value,
        observations.baseline_sample_size,
        observations.detail,
        rules.minimum_sample,
        coalesce(limits.threshold, rules.threshold) as threshold,
        coalesce(limits.medium_cutoff, rules.medium_cutoff) as medium_cutoff,
        coalesce(limits.high_cutoff, rules.high_cutoff) as high_cutoff,
        rules.margin,
        limits.override_reason,
        case rules.comparator when 'above' then 1 else -1 end as direction,
        observations.is_significant
        and (
            rules.minimum_amount is null
            or coalesce(observations.amount >= rules.minimum_amount, false)
        ) as is_significant,
        observations.observed_value is not null
        and observations.sample_size >= rules.minimum_sample
        and (
            not rules.needs_established_prompt
            or coalesce(
                limits.is_active
                and limits.known_since < observations.period_start,
                false
            )
        ) as is_evaluated
    from observations
    inner join rules
        on
            observations.metric = rules.metric
            and coalesce(observations.period, rules.period) = rules.period
    left join limits
        on
            observations.scope = 'prompt'
            and observations.subject_id = limits.prompt_id
            and rules.rule = limits.rule
    left join prompts
        on
            observations.scope = 'prompt'
            and observations.subject_id = prompts.prompt_id
),

-- how many of the three cut-offs are crossed, and from how many the value has not
-- come back by the margin
graded as (
    select
        limited.*,
        case
            when not limited.is_evaluated or limited.is_significant is not true
                then 0
            else {{ levels_beyond('limited') }}
        end as crossed_level,
        case
            when not limited.is_evaluated then 0
            else {{ levels_beyond('limited', 'limited.margin') }}
        end as held_level
    from limited
),

-- held before the nights of this run
held_before as (
    select
        rule,
        scope,
        subject_id,
        max(as_of_date) as held_on
    from {{ this if is_incremental() else 'graded' }}
    where
        held_level > 0
        and as_of_date < {{ alerts_since() }}
        and as_of_date >= {{ alerts_since() }} - 14
    group by rule, scope, subject_id
),

-- By a window, not by a join of the nights with each other: their number is the one that
-- no plan guesses right.
lately as (
    select
        graded.*,
        greatest(
            max(graded.as_of_date) filter (where graded.held_level > 0) over (
                partition by graded.rule, graded.scope, graded.subject_id
                order by graded.as_of_date
            ),
            held_before.held_on
        ) as held_on
    from graded
    left join held_before
        on
            graded.rule = held_before.rule
            and graded.scope = held_before.scope
            and graded.subject_id = held_before.subject_id
),

-- of what is well and was well, nothing is kept
final as (
    select
        as_of_date,
        rule,
        scope,
        subject_id,
        prompt_id,
        prompt_name,
        domain,
        period,
        metric,
        comparator,
        (array['low', 'medium', 'high'])[crossed_level] as severity,
        crossed_level,
        held_level,
        is_evaluated,
        observed_value,
        observed_low,
        observed_high,
        sample_size,
        minimum_sample,
        baseline_value,
        baseline_sample_size,
        threshold,
        medium_cutoff,
        high_cutoff,
        override_reason,
        detail
    from lately
    where held_on >= as_of_date - 14
)

select * from final
