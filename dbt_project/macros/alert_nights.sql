{#- The first night that this run evaluates: its as-of date, or with the variable
    `alerts_since` an earlier one, to tell from history what rules would have said. -#}
{% macro alerts_since() -%}
    {%- set given = var('alerts_since', none) | string -%}
    {%- if given in ('None', '') -%}
        {{ as_of_date() }}
    {%- elif not modules.re.match('^[0-9]{4}-[0-9]{2}-[0-9]{2}$', given) -%}
        {{ exceptions.raise_compiler_error(
            "the variable alerts_since must be a day such as 2025-02-28, not '" ~ given ~ "'"
        ) }}
    {%- else -%}
        date '{{ given }}'
    {%- endif -%}
{%- endmacro %}


{#- The nights that are evaluated, this run's among them. The table of them is written
    when all else is built, so that a run which is killed leaves no night half told:
    what it left is read by nothing. It can't be a ref of what it comes after. -#}
{% macro evaluated_nights() -%}
    {%- set stored = adapter.get_relation(
        this.database, 'intermediate', 'int_alert_nights'
    ) if execute else none -%}
    (
        select series.as_of_date::date as as_of_date
        from generate_series(
            {{ alerts_since() }}::timestamp, {{ as_of_date() }}, interval '1 day'
        ) as series (as_of_date)
        {%- if stored %}
        union
        select stored.as_of_date from {{ stored }} as stored
        {%- endif %}
    )
{%- endmacro %}


{#- The alerts that earlier runs have told of, each under its id with the nights that it had.
    Written of the states, which ask it for the ids of nights that they derive anew. -#}
{% macro published_alerts() -%}
    {%- set stored = adapter.get_relation(
        this.database, 'intermediate', 'int_alert_ids'
    ) if execute else none -%}
    (
        {%- if stored %}
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
        from {{ stored }}
        {%- else %}
        select
            null::text as alert_id,
            null::text as current_id,
            null::text as rule,
            null::text as scope,
            null::text as subject_id,
            null::text as severity,
            null::date as first_on,
            null::date as last_on,
            null::timestamptz as published_at
        where false
        {%- endif %}
    )
{%- endmacro %}


{#- Evaluations are frozen by as-of date: a run replaces those of its own nights. -#}
{% macro delete_evaluated_nights() %}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where as_of_date between {{ alerts_since() }} and {{ as_of_date() }}
    {%- endif -%}
{% endmacro %}


{#- What follows from a night's evaluations follows for all later nights. -#}
{% macro delete_replayed_nights() %}
    {%- if is_incremental() -%}
        delete from {{ this }} where as_of_date >= {{ alerts_since() }}
    {%- endif -%}
{% endmacro %}
