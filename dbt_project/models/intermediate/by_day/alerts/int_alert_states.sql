{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        full_refresh=false,
        pre_hook="{{ delete_replayed_nights() }}",
        post_hook="analyze {{ this }}",
        indexes=[
            {'columns': ['as_of_date']},
            {'columns': ['alert_id', 'as_of_date']},
            {'columns': ['rule', 'subject_id', 'as_of_date']},
            {'columns': ['event', 'as_of_date']},
        ],
    )
}}

-- An alert has three levels, as its rule has cut-offs: low, medium, high. Each is a
-- trigger of its own that goes on after `open_after` nights in a row beyond its cut-off
-- and off after `close_after` nights in a row that are back by the margin. Between the
-- two it stays as it was. The severity is the highest level that is on.
with all_nights as (
    select as_of_date from {{ evaluated_nights() }} as nights
),

rules as (
    select * from {{ ref('alert_rules') }}
),

-- the first night to derive: this run's, or the very first one where nothing is derived
starts as (
    select
        {% if is_incremental() -%}
        {{ alerts_since() }} as first_date,
        {%- else -%}
        min(all_nights.as_of_date) as first_date,
        {%- endif %}
        max(all_nights.as_of_date) filter (
            where all_nights.as_of_date < {{ alerts_since() }}
        ) as previous_date
    from all_nights
),

-- as many nights before it as a trigger looks back
looked_back as (
    select all_nights.as_of_date
    from all_nights
    cross join starts
    where all_nights.as_of_date < starts.first_date
    order by all_nights.as_of_date desc
    limit (select max(greatest(rules.open_after, rules.close_after)) from rules)
),

nights as (
    select
        as_of_date,
        row_number() over (order by as_of_date) as night
    from (
        select looked_back.as_of_date from looked_back
        union all
        select all_nights.as_of_date
        from all_nights
        inner join starts on all_nights.as_of_date >= starts.first_date
    ) as looked_at
),

-- of the nights that are looked at alone: the table has all there ever were
evaluations as (
    select
        evaluated.as_of_date,
        evaluated.rule,
        coalesce(evaluated.scope, 'prompt') as scope,
        coalesce(evaluated.subject_id, evaluated.prompt_id) as subject_id,
        coalesce(
            evaluated.crossed_level, {{ severity_rank('evaluated.severity') }}
        ) as crossed_level,
        coalesce(
            evaluated.held_level, {{ severity_rank('evaluated.severity') }}
        ) as held_level
    from {{ ref('int_alert_evaluations') }} as evaluated
    where evaluated.as_of_date in (select nights.as_of_date from nights)
),

previous as (
    {% if is_incremental() -%}
    select states.*
    from {{ this }} as states
    inner join starts on states.as_of_date = starts.previous_date
    where states.severity is not null
    {%- else -%}
    select
        null::text as rule,
        null::text as scope,
        null::text as subject_id,
        null::text as severity,
        null::text as alert_id,
        null::date as first_detected_on,
        null::date as last_detected_on
    where false
    {%- endif %}
),

subjects as (
    select
        rule,
        scope,
        subject_id
    from evaluations
    union
    select
        rule,
        scope,
        subject_id
    from previous
),

evaluated as (
    select
        subjects.rule,
        subjects.scope,
        subjects.subject_id,
        nights.as_of_date,
        nights.night,
        coalesce(rules.open_after, 1) as open_after,
        coalesce(rules.close_after, 1) as close_after,
        coalesce(evaluations.crossed_level, 0) as crossed_level,
        coalesce(evaluations.held_level, 0) as held_level
    from subjects
    cross join nights
    left join evaluations
        on
            subjects.rule = evaluations.rule
            and subjects.scope = evaluations.scope
            and subjects.subject_id = evaluations.subject_id
            and nights.as_of_date = evaluations.as_of_date
    left join rules on subjects.rule = rules.rule
),

-- for how many nights in a row the level is crossed, or clear
counted as (
    select
        evaluated.*,
        levels.level,
        evaluated.night - coalesce(
            max(evaluated.night) filter (
                where evaluated.crossed_level < levels.level
            ) over line,
            0
        ) as crossed_nights,
        evaluated.night - coalesce(
            max(evaluated.night) filter (
                where evaluated.held_level >= levels.level
            ) over line,
            0
        ) as clear_nights
    from evaluated
    cross join generate_series(1, 3) as levels (level)
    window line as (
        partition by
            evaluated.rule, evaluated.scope, evaluated.subject_id, levels.level
        order by evaluated.night
    )
),

signalled as (
    select
        counted.*,
        case
            when counted.crossed_nights >= counted.open_after then true
            when counted.clear_nights >= counted.close_after then false
        end as is_switched_on
    from counted
    inner join starts on counted.as_of_date >= starts.first_date
),

-- a level stays as it was last switched
stretches as (
    select
        *,
        count(is_switched_on) over (
            partition by rule, scope, subject_id, level
            order by night
        ) as stretch
    from signalled
),

switched as (
    select
        *,
        bool_or(is_switched_on) over (
            partition by rule, scope, subject_id, level, stretch
        ) as is_on
    from stretches
),

ranked as (
    select
        switched.rule,
        switched.scope,
        switched.subject_id,
        switched.as_of_date,
        switched.night,
        switched.open_after,
        switched.crossed_level,
        count(*) filter (
            where coalesce(
                switched.is_on,
                {{ severity_rank('previous.severity') }} >= switched.level,
                false
            )
        )::integer as rank
    from switched
    left join previous
        on
            switched.rule = previous.rule
            and switched.scope = previous.scope
            and switched.subject_id = previous.subject_id
    group by
        switched.rule,
        switched.scope,
        switched.subject_id,
        switched.as_of_date,
        switched.night,
        switched.open_after,
        switched.crossed_level
),

changes as (
    select
        ranked.*,
        previous.alert_id,
        previous.first_detected_on,
        previous.last_detected_on,
        lag(
            ranked.rank, 1, coalesce({{ severity_rank('previous.severity') }}, 0)
        ) over line as previous_rank
    from ranked
    left join previous
        on
            ranked.rule = previous.rule
            and ranked.scope = previous.scope
            and ranked.subject_id = previous.subject_id
    window line as (
        partition by ranked.rule, ranked.scope, ranked.subject_id
        order by ranked.night
    )
),

numbered as (
    select
        changes.*,
        count(*) filter (where changes.rank > 0 and changes.previous_rank = 0)
            over (
                partition by changes.rule, changes.scope, changes.subject_id
                order by changes.night
            ) as episode,
        -- it was detected on the first of the nights that opened it
        case
            when changes.rank > 0 and changes.previous_rank = 0
                then opening.as_of_date
        end as opened_since
    from changes
    left join nights as opening
        on opening.night = changes.night - changes.open_after + 1
),

episodes as (
    select
        *,
        coalesce(
            max(opened_since) over (
                partition by rule, scope, subject_id, episode
            ),
            first_detected_on
        ) as detected_since,
        coalesce(
            max(as_of_date) filter (where crossed_level > 0) over (
                partition by rule, scope, subject_id, episode
                order by night
            ),
            last_detected_on
        ) as detected_until
    from numbered
),

final as (
    select
        episodes.as_of_date,
        case
            when episodes.episode = 0 then episodes.alert_id
            else
                md5(
                    episodes.rule || ' ' || episodes.subject_id
                    || ' ' || episodes.detected_since
                )::uuid::text
        end as alert_id,
        episodes.rule,
        episodes.scope,
        episodes.subject_id,
        case
            when episodes.previous_rank = 0
                then
                    case
                        when
                            episodes.episode > 1
                        {%- if is_incremental() %}
                        or exists (
                            select 1
                            from {{ this }} as earlier
                            inner join all_nights
                                on earlier.as_of_date = all_nights.as_of_date
                            where
                                episodes.rule = earlier.rule
                                and episodes.subject_id = earlier.subject_id
                                and episodes.scope = earlier.scope
                        )
                        {%- endif %}
                            then 'reopened'
                        else 'opened'
                    end
            when episodes.rank = 0 then 'resolved'
            when episodes.rank > episodes.previous_rank then 'escalated'
            when episodes.rank < episodes.previous_rank then 'eased'
        end as event,
        (array['low', 'medium', 'high'])[episodes.rank] as severity,
        (array['low', 'medium', 'high'])[episodes.previous_rank]
            as previous_severity,
        episodes.detected_since as first_detected_on,
        episodes.detected_until as last_detected_on
    from episodes
    where episodes.rank > 0 or episodes.previous_rank > 0
)

select * from final
