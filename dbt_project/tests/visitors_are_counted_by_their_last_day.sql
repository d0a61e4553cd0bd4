{#- In a build the newest day is counted among the visits: who came then came last then. By
    hand (`dbt test`) all visitors are. -#}
{{ config(meta={'dagster': {'ref': {'name': 'int_prompt_last_days'}}}) }}

{#- outside the condition, so that dbt sees all dependencies whatever it parses for -#}
{%- set last_days = ref('int_prompt_last_days') -%}
{%- set visitors = ref('int_prompt_visitors') -%}
{%- set visits = ref('int_prompt_visits') -%}
{%- set basis = ref('int_daily_basis') -%}
{%- set builds = ref('int_day_builds') %}

-- Business reason: whom a prompt reached in any period is summed from these counts, which are
-- moved one by one; one that went astray would be wrong in every report from then on.
with last_days as (
    select * from {{ last_days }}
),

{%- if flags.WHICH == 'test' %}

visits as (
    select * from {{ visitors }}
),

counted as (
    select * from last_days
),
{%- else %}

basis as (
    select
        input_key::date as last_date,
        made_from
    from {{ basis }}
    where mart = '{{ visitors.identifier }}'
),

-- not a day that has been built anew since: beside the marts, visitors stay as they are
newest as (
    select basis.last_date
    from basis
    inner join {{ builds }} as builds
        on
            basis.last_date = builds.usage_date
            and basis.made_from = builds.built_at::text
    where basis.last_date = (select max(held.last_date) from basis as held)
),

visits as (
    select
        prompt_key,
        kind,
        usage_date as last_date
    from {{ visits }}
    where usage_date = (select newest.last_date from newest)
),

counted as (
    select last_days.*
    from last_days
    cross join newest
    where
        last_days.last_date >= newest.last_date
        or last_days.visitor_count < 1
),
{%- endif %}

expected as (
    select
        prompt_key,
        kind,
        last_date,
        count(*) as visitor_count
    from visits
    group by prompt_key, kind, last_date
)

select
    coalesce(expected.prompt_key, counted.prompt_key) as prompt_key,
    coalesce(expected.kind, counted.kind) as kind,
    coalesce(expected.last_date, counted.last_date) as last_date,
    expected.visitor_count as expected_count,
    counted.visitor_count as counted
from expected
full join counted
    on
        expected.prompt_key = counted.prompt_key
        and expected.kind = counted.kind
        and expected.last_date = counted.last_date
where expected.visitor_count is distinct from counted.visitor_count
