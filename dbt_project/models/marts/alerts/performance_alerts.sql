with nights as (
    select * from {{ ref('int_alert_nights') }}
    where as_of_date <= {{ as_of_date() }}
),

evaluations as (
    select * from {{ ref('int_alert_evaluations') }}
),

rules as (
    select * from {{ ref('alert_rules') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

openings as (
    select states.alert_id
    from {{ ref('int_alert_states') }} as states
    inner join nights on states.as_of_date = nights.as_of_date
    where
        states.event in ('opened', 'reopened', 'resolved')
        -- of one that no night bears out any more there is the end alone
        and (states.event <> 'resolved' or states.last_detected_on is null)
),

-- one look at an index an episode, however many nights it lasted
newest as (
    select latest.*
    from openings
    cross join lateral (
        select states.*
        from {{ ref('int_alert_states') }} as states
        where
            openings.alert_id = states.alert_id
            and states.as_of_date <= {{ as_of_date() }}
            -- looked up: as a join it reads every night for each episode
            and exists (
                select 1 from {{ ref('int_alert_nights') }} as evaluated
                where states.as_of_date = evaluated.as_of_date
                order by evaluated.as_of_date
                offset 0
            )
        order by states.as_of_date desc
        limit 1
    ) as latest
),

former as (
    select
        current_id as alert_id,
        array_agg(alert_id order by published_at, alert_id) as former_ids
    from {{ ref('int_alert_ids') }}
    where alert_id <> current_id
    group by current_id
),

standings as (
    select * from {{ ref('int_alert_standing') }}
),

-- the numbers are those of the last night that it was detected on
found as (
    select
        newest.alert_id,
        newest.scope,
        newest.subject_id,
        case when newest.severity is null then newest.as_of_date end
            as resolved_on,
        coalesce(newest.severity, newest.previous_severity) as severity,
        newest.first_detected_on,
        newest.rule,
        newest.last_detected_on as evaluated_on,
        coalesce(newest.last_detected_on, newest.first_detected_on)
            as last_detected_on,
        evaluations.prompt_id,
        evaluations.prompt_name,
        evaluations.domain,
        evaluations.period,
        evaluations.metric,
        evaluations.comparator,
        evaluations.observed_value,
        evaluations.observed_low,
        evaluations.observed_high,
        evaluations.sample_size,
        evaluations.baseline_value,
        evaluations.baseline_sample_size,
        evaluations.threshold,
        evaluations.override_reason,
        evaluations.detail
    from newest
    left join evaluations
        on
            newest.last_detected_on = evaluations.as_of_date
            and newest.rule = evaluations.rule
            and newest.scope = coalesce(evaluations.scope, 'prompt')
            and newest.subject_id
            = coalesce(evaluations.subject_id, evaluations.prompt_id)
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        found.alert_id,
        former.former_ids,
        -- what it is about
        found.scope,
        found.subject_id,
        case found.scope when 'prompt' then found.subject_id end as prompt_id,
        coalesce(found.prompt_name, prompts.prompt_name, found.subject_id)
            as prompt_name,
        coalesce(found.domain, prompts.domain) as domain,
        coalesce(rules.owner, prompts.owner) as owner,
        -- what was found
        found.rule,
        found.severity,
        -- of one that no night bears out any more, what its rule looks at
        coalesce(found.period, rules.period, 'day') as period,
        coalesce(found.metric, rules.metric, found.rule) as metric,
        coalesce(found.comparator, rules.comparator) as comparator,
        found.observed_value,
        found.observed_low,
        found.observed_high,
        found.threshold,
        found.override_reason,
        found.sample_size,
        found.baseline_value,
        found.baseline_sample_size,
        -- its life
        found.first_detected_on,
        found.last_detected_on,
        found.last_detected_on - found.first_detected_on + 1 as days_open,
        found.resolved_on,
        {{ alert_state('found', 'standings') }} as state,
        standings.assigned_to,
        standings.due_on,
        -- in words
        case
            when found.evaluated_on is null then {{ withdrawn_words() }}
            else {{ alert_message('found') }}
        end as message,
        coalesce(rules.recommendation, 'The rule is no longer in use.')
            as recommendation
    from found
    left join rules on found.rule = rules.rule
    left join prompts
        on found.scope = 'prompt' and found.subject_id = prompts.prompt_id
    left join former on found.alert_id = former.alert_id
    left join standings on found.alert_id = standings.alert_id
)

select * from final
