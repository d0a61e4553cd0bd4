{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key='alert_id',
        full_refresh=false,
        post_hook="analyze {{ this }}",
        indexes=[
            {'columns': ['alert_id'], 'unique': true},
            {'columns': ['current_id']},
            {'columns': ['last_on']},
        ],
    )
}}

-- What was told of stays told: from here `int_alert_states` reads, when it derives nights
-- anew, under which id people know an episode.
{%- set since = alerts_since() if is_incremental() else "'-infinity'" %}

with states as (
    select * from {{ ref('int_alert_states') }}
),

lives as (
    select
        states.alert_id,
        states.rule,
        states.scope,
        states.subject_id,
        (
            array_agg(
                coalesce(states.severity, states.previous_severity)
                order by states.as_of_date desc
            )
        )[1] as severity,
        min(states.first_detected_on) as first_on,
        -- the night that resolved it is no night of it
        max(states.as_of_date - (states.severity is null)::integer) as last_on
    from states
    inner join {{ evaluated_nights() }} as nights
        on states.as_of_date = nights.as_of_date
    where
        states.last_detected_on is not null
        and states.as_of_date >= {{ since }}
    group by
        states.alert_id, states.rule, states.scope, states.subject_id
),

published as (
    select ids.* from {{ published_alerts() }} as ids
),

-- no episode's any more: its own where it ends by itself, else that of the one that has its nights
-- now, else of the one that it had become one with
passed_on as (
    select distinct on (published.alert_id)
        published.alert_id,
        coalesce(
            withdrawn.alert_id, lives.alert_id, published.current_id
        ) as current_id,
        published.rule,
        published.scope,
        published.subject_id,
        published.severity,
        published.first_on,
        published.last_on,
        published.published_at
    from published
    left join states as withdrawn
        on
            published.alert_id = withdrawn.alert_id
            and withdrawn.last_detected_on is null
    left join lives
        on
            published.rule = lives.rule
            and published.scope = lives.scope
            and published.subject_id = lives.subject_id
            and published.first_on <= lives.last_on
            and published.last_on >= lives.first_on
    where
        published.last_on >= {{ since }}
        and not exists (
            select 1 from lives as own
            where published.alert_id = own.alert_id
        )
        and not exists (
            select 1 from states
            where
                published.alert_id = states.alert_id
                and states.as_of_date < {{ since }}
        )
    order by published.alert_id asc, lives.first_on asc
),

final as (
    select
        lives.alert_id,
        lives.alert_id as current_id,
        lives.rule,
        lives.scope,
        lives.subject_id,
        lives.severity,
        lives.first_on,
        lives.last_on,
        coalesce(published.published_at, current_timestamp) as published_at
    from lives
    left join published on lives.alert_id = published.alert_id
    union all
    select
        alert_id,
        current_id,
        rule,
        scope,
        subject_id,
        severity,
        first_on,
        last_on,
        published_at
    from passed_on
)

select * from final
