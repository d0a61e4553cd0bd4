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

{%- set derived = this if is_incremental()
    else '(select null::text as alert_id, null::date as as_of_date where false)' -%}
{%- set by_first_night -%}
md5(spans.rule || ' ' || spans.subject_id || ' ' || spans.first_on)::uuid::text
{%- endset %}

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

-- where each lies, to be held against what was published of these nights before
spans as (
    select
        rule,
        scope,
        subject_id,
        episode,
        min(detected_since) as first_on,
        max(as_of_date) as last_on
    from episodes
    where rank > 0
    group by rule, scope, subject_id, episode
),

-- ids of nights that are derived anew; an episode that goes on from before has its own
published as (
    select ids.*
    from {{ published_alerts() }} as ids
    cross join starts
    where
        ids.last_on >= starts.first_date
        and not exists (
            select 1 from {{ derived }} as earlier
            where
                ids.alert_id = earlier.alert_id
                and earlier.as_of_date < starts.first_date
        )
),

-- an id goes to the first episode that has nights of it, an episode has its oldest
claimed as (
    select distinct on (published.alert_id)
        published.alert_id,
        published.published_at,
        published.first_on,
        spans.rule,
        spans.scope,
        spans.subject_id,
        spans.episode
    from published
    inner join spans
        on
            published.rule = spans.rule
            and published.scope = spans.scope
            and published.subject_id = spans.subject_id
            and published.first_on <= spans.last_on
            and published.last_on >= spans.first_on
    order by published.alert_id asc, spans.episode asc
),

kept as (
    select distinct on (rule, scope, subject_id, episode)
        rule,
        scope,
        subject_id,
        episode,
        alert_id
    from claimed
    order by
        rule asc,
        scope asc,
        subject_id asc,
        episode asc,
        published_at asc,
        first_on asc,
        alert_id asc
),

-- a new one by its first night; where an id is of that night already, by how many there were
named as (
    select
        spans.rule,
        spans.scope,
        spans.subject_id,
        spans.episode,
        case
            when kept.alert_id is not null then kept.alert_id
            when bool_or(taken.alert_id = {{ by_first_night }})
                then
                    md5(
                        {{ by_first_night }} || ' ' || count(taken.alert_id)
                    )::uuid::text
            else {{ by_first_night }}
        end as alert_id
    from spans
    left join kept
        on
            spans.rule = kept.rule
            and spans.scope = kept.scope
            and spans.subject_id = kept.subject_id
            and spans.episode = kept.episode
    left join {{ published_alerts() }} as taken
        on
            spans.rule = taken.rule
            and spans.scope = taken.scope
            and spans.subject_id = taken.subject_id
    where spans.episode > 0
    group by
        spans.rule,
        spans.scope,
        spans.subject_id,
        spans.episode,
        spans.first_on,
        kept.alert_id
),

-- told of, and no night bears it out any more: resolved on the first that did. What had become
-- one with an alert that goes back further is told of there
withdrawn as (
    select
        published.alert_id,
        published.rule,
        published.scope,
        published.subject_id,
        published.severity,
        published.first_on,
        min(nights.as_of_date) as as_of_date
    from published
    cross join starts
    inner join nights
        on greatest(published.first_on, starts.first_date) <= nights.as_of_date
    where
        not exists (
            select 1 from claimed
            where published.alert_id = claimed.alert_id
        )
        and not exists (
            select 1 from {{ derived }} as earlier
            where
                published.current_id = earlier.alert_id
                and earlier.as_of_date < starts.first_date
        )
    group by
        published.alert_id,
        published.rule,
        published.scope,
        published.subject_id,
        published.severity,
        published.first_on
),

final as (
    select
        episodes.as_of_date,
        coalesce(named.alert_id, episodes.alert_id) as alert_id,
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
                                and earlier.last_detected_on is not null
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
    left join named
        on
            episodes.rule = named.rule
            and episodes.scope = named.scope
            and episodes.subject_id = named.subject_id
            and episodes.episode = named.episode
    where episodes.rank > 0 or episodes.previous_rank > 0
    union all
    select
        as_of_date,
        alert_id,
        rule,
        scope,
        subject_id,
        'resolved' as event,
        null as severity,
        severity as previous_severity,
        first_on as first_detected_on,
        null as last_detected_on
    from withdrawn
)

select * from final
