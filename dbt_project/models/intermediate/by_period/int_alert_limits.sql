{{ config(post_hook="analyze {{ this }}") }}

with prompts as (
    select * from {{ ref('int_prompts') }}
),

rules as (
    select * from {{ ref('alert_rules') }}
    where enabled
),

-- an override ends by itself
overrides as (
    select * from {{ ref('alert_overrides') }}
    where ends_on >= {{ as_of_date() }}
),

-- a prompt's own goes before its domain's
nearest as (
    select distinct on (prompts.prompt_id, overrides.rule)
        prompts.prompt_id,
        overrides.rule,
        overrides.threshold,
        overrides.medium_cutoff,
        overrides.high_cutoff,
        overrides.reason
    from prompts
    inner join overrides
        on
            (
                overrides.scope = 'domain'
                and prompts.domain = overrides.scope_value
            )
            or (
                overrides.scope = 'prompt'
                and prompts.prompt_name = overrides.scope_value
            )
    order by
        prompts.prompt_id asc,
        overrides.rule asc,
        array_position(array['prompt', 'domain'], overrides.scope) asc
),

-- cut-offs that an override leaves out keep their distance from the threshold
final as (
    select
        prompts.prompt_id,
        rules.rule,
        rules.metric,
        rules.comparator,
        rules.minimum_sample,
        rules.needs_established_prompt,
        rules.affects_health,
        prompts.status = 'active' as is_active,
        {{ day_of('coalesce(prompts.created_at, prompts.first_used_at)') }}
            as known_since,
        coalesce(nearest.threshold, rules.threshold) as threshold,
        {%- for cutoff in ['medium_cutoff', 'high_cutoff'] %}
        coalesce(
            nearest.{{ cutoff }},
            nearest.threshold * rules.{{ cutoff }} / nullif(rules.threshold, 0),
            nearest.threshold + rules.{{ cutoff }} - rules.threshold,
            rules.{{ cutoff }}
        ) as {{ cutoff }},
        {%- endfor %}
        nearest.reason as override_reason
    from prompts
    cross join rules
    left join nearest
        on
            prompts.prompt_id = nearest.prompt_id
            and rules.rule = nearest.rule
)

select * from final
