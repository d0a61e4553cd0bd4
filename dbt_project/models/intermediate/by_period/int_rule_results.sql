with metrics as (
    select * from {{ ref('int_prompt_metrics') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

rules as (
    select * from {{ ref('alert_rules') }}
),

overrides as (
    select * from {{ ref('alert_overrides') }}
),

-- a prompt's own threshold goes before its domain's, that before the rule's;
-- cut-offs that an override leaves out keep their proportion to the threshold
limits as (
    select
        prompts.prompt_id,
        prompts.status,
        rules.rule,
        rules.metric,
        rules.comparator,
        rules.period as rule_period,
        rules.minimum_sample,
        rules.needs_established_prompt,
        {{ day_of('coalesce(prompts.created_at, prompts.first_used_at)') }}
            as known_since,
        coalesce(own.threshold, of_domain.threshold, rules.threshold)
            as threshold,
        case
            when own.threshold is not null
                then
                    coalesce(
                        own.medium_cutoff,
                        rules.medium_cutoff * own.threshold / rules.threshold
                    )
            when of_domain.threshold is not null
                then
                    coalesce(
                        of_domain.medium_cutoff,
                        rules.medium_cutoff
                        * of_domain.threshold
                        / rules.threshold
                    )
            else rules.medium_cutoff
        end as medium_cutoff,
        case
            when own.threshold is not null
                then
                    coalesce(
                        own.high_cutoff,
                        rules.high_cutoff * own.threshold / rules.threshold
                    )
            when of_domain.threshold is not null
                then
                    coalesce(
                        of_domain.high_cutoff,
                        rules.high_cutoff
                        * of_domain.threshold
                        / rules.threshold
                    )
            else rules.high_cutoff
        end as high_cutoff
    from prompts
    cross join rules
    left join overrides as own
        on
            rules.rule = own.rule
            and own.scope = 'prompt'
            and prompts.prompt_name = own.scope_value
    left join overrides as of_domain
        on
            rules.rule = of_domain.rule
            and of_domain.scope = 'domain'
            and prompts.domain = of_domain.scope_value
),

evaluated as (
    select
        metrics.as_of_date,
        metrics.period,
        metrics.prompt_id,
        limits.rule,
        limits.rule_period,
        metrics.metric,
        limits.comparator,
        metrics.observed_value,
        metrics.sample_size,
        limits.threshold,
        limits.medium_cutoff,
        limits.high_cutoff,
        limits.needs_established_prompt,
        metrics.observed_value is not null
        and metrics.sample_size >= limits.minimum_sample
        and (
            not limits.needs_established_prompt
            or coalesce(
                limits.status = 'active'
                and limits.known_since < metrics.period_start,
                false
            )
        ) as is_evaluated
    from metrics
    inner join limits
        on
            metrics.prompt_id = limits.prompt_id
            and metrics.metric = limits.metric
),

-- on a scale where more is worse, every comparison is the same
scaled as (
    select
        *,
        case comparator when 'above' then 1 else -1 end as direction
    from evaluated
),

final as (
    select
        as_of_date,
        period,
        prompt_id,
        rule,
        rule_period,
        metric,
        observed_value,
        sample_size,
        threshold,
        needs_established_prompt,
        is_evaluated,
        is_evaluated
        and direction * observed_value > direction * threshold as is_crossed,
        case
            when
                not is_evaluated
                or direction * observed_value <= direction * threshold
                then null
            when direction * observed_value > direction * high_cutoff
                then 'high'
            when direction * observed_value > direction * medium_cutoff
                then 'medium'
            else 'low'
        end as severity
    from scaled
)

select * from final
