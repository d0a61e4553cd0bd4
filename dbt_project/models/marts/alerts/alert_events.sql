with nights as (
    select * from {{ ref('int_alert_nights') }}
    where as_of_date <= {{ as_of_date() }}
),

events as (
    select states.*
    from {{ ref('int_alert_states') }} as states
    inner join nights on states.as_of_date = nights.as_of_date
    where states.event is not null
),

-- looked up in its index, not read: the table has all that was ever evaluated
evaluations as not materialized (
    select
        *,
        coalesce(scope, 'prompt') as of_scope,
        coalesce(subject_id, prompt_id) as of_subject_id,
        as_of_date as evaluated_on
    from {{ ref('int_alert_evaluations') }}
),

rules as (
    select * from {{ ref('alert_rules') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        events.alert_id,
        events.as_of_date as event_on,
        events.event,
        events.scope,
        events.subject_id,
        case events.scope when 'prompt' then events.subject_id end as prompt_id,
        coalesce(detected.prompt_name, prompts.prompt_name, events.subject_id)
            as prompt_name,
        coalesce(detected.domain, prompts.domain) as domain,
        coalesce(rules.owner, prompts.owner) as owner,
        events.rule,
        events.previous_severity,
        events.severity,
        events.first_detected_on,
        case
            when events.last_detected_on is null then {{ withdrawn_words() }}
            when events.event <> 'resolved' or evaluations.is_evaluated
                then {{ alert_message('evaluations') }}
            when evaluations.as_of_date is not null
                then
                    'Too little to tell: a sample of '
                    || coalesce(evaluations.sample_size, 0)
                    || ' of the ' || evaluations.minimum_sample
                    || ' that it takes.'
            else 'The rule no longer looks at it.'
        end as cause
    from events
    left join evaluations as detected
        on
            events.last_detected_on = detected.as_of_date
            and events.rule = detected.rule
            and events.scope = detected.of_scope
            and events.subject_id = detected.of_subject_id
    left join evaluations
        on
            events.as_of_date = evaluations.as_of_date
            and events.rule = evaluations.rule
            and events.scope = evaluations.of_scope
            and events.subject_id = evaluations.of_subject_id
    left join rules on events.rule = rules.rule
    left join prompts
        on events.scope = 'prompt' and events.subject_id = prompts.prompt_id
)

select * from final
