{#- The last day that counts, as a SQL date. -#}
{% macro as_of_date() -%}
    {%- set given = var('as_of_date', none) | string -%}
    {%- if given in ('None', '') -%}
        {%- set zone = modules.pytz.timezone(var('timezone')) -%}
        {%- set today = run_started_at.astimezone(zone).date() -%}
        {%- set given = (today - modules.datetime.timedelta(days=1)).isoformat() -%}
    {%- elif not modules.re.match('^[0-9]{4}-[0-9]{2}-[0-9]{2}$', given) -%}
        {{ exceptions.raise_compiler_error(
            "the variable as_of_date must be a day such as 2025-02-28, not '" ~ given ~ "'"
        ) }}
    {%- endif -%}
    date '{{ given }}'
{%- endmacro %}


{#- The day that a moment falls on, in the reporting time zone. -#}
{% macro day_of(moment) -%}
    ({{ moment }} at time zone '{{ var("timezone") }}')::date
{%- endmacro %}


{#- The moment that a day begins at, in the reporting time zone. -#}
{% macro start_of(day) -%}
    ({{ day }}::timestamp at time zone '{{ var("timezone") }}')
{%- endmacro %}


{#- The hour that a moment falls in, 0 to 23, in the reporting time zone. -#}
{% macro hour_of(moment) -%}
    extract(hour from {{ moment }} at time zone '{{ var("timezone") }}')::integer
{%- endmacro %}
