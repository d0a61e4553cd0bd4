{{ config(post_hook="analyze {{ this }}") }}

{%- set visitors = known_visitors() %}

with touched_days as (
    select * from {{ ref('int_touched_days') }}
),

visits as (
    select * from {{ ref('int_prompt_visits') }}
),

came as (
    select
        visits.kind,
        visits.source,
        visits.prompt_key,
        visits.visitor_key,
        max(visits.usage_date) as last_date
    from visits
    inner join touched_days on visits.usage_date = touched_days.usage_date
    group by
        visits.kind, visits.source, visits.prompt_key, visits.visitor_key
),

{%- if visitors %}

known as (
    select * from {{ visitors }}
),

-- those who came, and those whose last visit may be gone with a day's old rows
affected as (
    select
        kind,
        source,
        prompt_key,
        visitor_key
    from came
    union
    select
        known.kind,
        known.source,
        known.prompt_key,
        known.visitor_key
    from known
    inner join touched_days on known.last_date = touched_days.usage_date
),

compared as (
    select
        affected.*,
        came.last_date as came_on,
        known.last_date as known_on,
        -- what is known stands, unless its day has been built anew
        touched_days.usage_date is null as is_settled
    from affected
    left join came
        on
            affected.kind = came.kind
            and affected.source = came.source
            and affected.prompt_key = came.prompt_key
            and affected.visitor_key = came.visitor_key
    left join known
        on
            affected.kind = known.kind
            and affected.source = known.source
            and affected.prompt_key = known.prompt_key
            and affected.visitor_key = known.visitor_key
    left join touched_days on known.last_date = touched_days.usage_date
),

final as (
    select
        kind,
        source,
        prompt_key,
        visitor_key,
        case
            when is_settled then greatest(known_on, came_on)
            when came_on >= known_on then came_on
            else (
                select max(visits.usage_date) from visits
                where
                    visits.kind = compared.kind
                    and visits.source = compared.source
                    and visits.prompt_key = compared.prompt_key
                    and visits.visitor_key = compared.visitor_key
            )
        end as last_date
    from compared
)
{%- else %}

-- all are new: int_prompt_visitors takes them from the visits themselves
final as (
    select * from came
    where false
)
{%- endif %}

select * from final
