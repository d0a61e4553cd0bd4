{{ config(post_hook="analyze {{ this }}") }}

{%- set kept = daily_marts_that_stand() %}

with inputs as (
    select * from {{ ref('int_daily_inputs') }}
),

basis as (
    select * from {{ ref('int_daily_basis') }}
    where mart in ('' {%- for name in kept %}, '{{ name }}'{% endfor %})
),

marts as (
    select unnest(array[
        {%- for name in daily_marts() %}
        '{{ name }}'{{ ',' if not loop.last }}
        {%- endfor %}
    ]) as mart
),

wanted as (
    select
        marts.mart,
        inputs.*
    from marts
    cross join inputs
),

different as (
    select
        coalesce(wanted.mart, basis.mart) as mart,
        coalesce(wanted.kind, basis.kind) as kind,
        coalesce(wanted.input_key, basis.input_key) as input_key,
        basis.made_from as made_from_before,
        wanted.made_from
    from wanted
    full join basis
        on
            wanted.mart = basis.mart
            and wanted.kind = basis.kind
            and wanted.input_key = basis.input_key
    where
        (wanted.made_from, wanted.shown_as)
        is distinct from (basis.made_from, basis.shown_as)
),

-- a key that came or went has rows on touched days alone, which are built anyway
moved as (
    select * from different
    where
        kind in ('prompt', 'domain', 'agent')
        and made_from_before is not null
        and made_from is not null
),

both_ends as (
    select
        mart,
        kind,
        made_from_before as made_from
    from moved
    union
    select
        mart,
        kind,
        made_from
    from moved
),

final as (
    select
        mart,
        input_key::date as usage_date,
        null::text as prompt_id,
        null::text as domain,
        null::text as agent_name
    from different
    where kind = 'day'
    union all
    select
        mart,
        null::date as usage_date,
        case kind when 'prompt' then made_from end as prompt_id,
        case kind when 'domain' then made_from end as domain,
        case kind when 'agent' then made_from end as agent_name
    from both_ends
)

select * from final
