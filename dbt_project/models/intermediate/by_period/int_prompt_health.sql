with metrics as (
    select * from {{ ref('int_prompt_metrics') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

limits as (
    select * from {{ ref('int_alert_limits') }}
    where affects_health
),

targets as (
    select * from {{ ref('targets') }}
),

-- too little use says nothing of how well a prompt works
crossed as (
    select
        metrics.period,
        metrics.prompt_id,
        bool_or(
            metrics.observed_value is not null
            and metrics.sample_size >= limits.minimum_sample
        ) as is_evaluated,
        bool_or(
            metrics.sample_size >= limits.minimum_sample
            and case limits.comparator
                when 'above' then metrics.observed_value > limits.threshold
                else metrics.observed_value < limits.threshold
            end
        ) as is_crossed
    from metrics
    inner join limits
        on
            metrics.prompt_id = limits.prompt_id
            and metrics.metric = limits.metric
    group by metrics.period, metrics.prompt_id
),

-- a prompt's own target goes before its domain's, that before the one for all
prompt_targets as (
    select distinct on (prompts.prompt_id, targets.metric)
        prompts.prompt_id,
        targets.metric,
        targets.comparator,
        targets.target,
        targets.minimum_sample
    from prompts
    inner join targets
        on
            targets.scope = 'all'
            or (
                targets.scope = 'domain'
                and prompts.domain = targets.scope_value
            )
            or (
                targets.scope = 'prompt'
                and prompts.prompt_name = targets.scope_value
            )
    order by
        prompts.prompt_id asc,
        targets.metric asc,
        array_position(array['prompt', 'domain', 'all'], targets.scope) asc
),

missed as (
    select
        metrics.period,
        metrics.prompt_id,
        bool_or(
            case prompt_targets.comparator
                when 'above'
                    then metrics.observed_value <= prompt_targets.target
                else metrics.observed_value >= prompt_targets.target
            end
        ) as is_missed
    from metrics
    inner join prompt_targets
        on
            metrics.prompt_id = prompt_targets.prompt_id
            and metrics.metric = prompt_targets.metric
            and metrics.sample_size >= prompt_targets.minimum_sample
    group by metrics.period, metrics.prompt_id
),

final as (
    select
        crossed.period,
        crossed.prompt_id,
        case
            when not crossed.is_evaluated then 'no_data'
            when crossed.is_crossed then 'at_risk'
            when missed.is_missed then 'watch'
            else 'healthy'
        end as health
    from crossed
    left join missed
        on
            crossed.period = missed.period
            and crossed.prompt_id = missed.prompt_id
)

select * from final
