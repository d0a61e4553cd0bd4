{#- Functions over the marts for applications, PostgREST and Supabase RPC. They are no
    models: PL/pgSQL looks its tables up when called, so that a rebuild of the marts
    drops none. Their columns are those of the mart's contract. -#}
{% macro create_api_functions() %}
    {%- if execute and flags.WHICH in ('build', 'run') and var('marts_schema') == 'marts' %}
        create schema if not exists api;
        {{ api_function(
            'get_prompt_performance_summary', 'prompt_performance_summary',
            [('prompt', 'text', 'null'), ('period', 'text', "'month'")],
            "where mart.period = coalesce({f}.period, 'month')
                and ({f}.prompt is null or {f}.prompt in (mart.prompt_id, mart.prompt_name))
            order by mart.usage_count desc, mart.prompt_name, mart.prompt_id",
            "How each prompt did in a period, the most used first; or one, by its id or exact name.
A prompt that there is none of has no row.",
            "select prompt_name, usage_count, success_rate, health
from api.get_prompt_performance_summary(period => 'week')"
        ) }}
        {{ api_function(
            'get_top_performing_prompts', 'top_performing_prompts',
            [('limit_count', 'integer', '10'), ('period', 'text', "'month'")],
            "where mart.period = coalesce({f}.period, 'month')
            order by mart.rank
            limit coalesce({f}.limit_count, 10)",
            "The best prompts of a period, by evidence.",
            "select rank, prompt_name, score_explanation
from api.get_top_performing_prompts(3, 'quarter')"
        ) }}
        {{ api_function(
            'get_dashboard_metrics', 'dashboard_metrics',
            [('period', 'text', "'month'")],
            "where mart.period = coalesce({f}.period, 'month')",
            "The library, its use and its alerts in one row.",
            "select usage_count, success_rate, total_cost, open_alerts
from api.get_dashboard_metrics()"
        ) }}
        {{ api_function(
            'get_performance_alerts', 'performance_alerts',
            [('severity', 'text', 'null')],
            "where mart.state <> 'resolved'
                and ({f}.severity is null or mart.severity = {f}.severity)
            order by
                array_position(array['high', 'medium', 'low'], mart.severity),
                mart.first_detected_on,
                mart.alert_id",
            "The unresolved alerts, the worst first, of one severity or all.",
            "select prompt_name, rule, message, recommendation
from api.get_performance_alerts('high')"
        ) }}
        {{ api_function(
            'get_prompt_recommendations', 'prompt_recommendations',
            [('prompt', 'text', 'null'), ('priority', 'text', 'null')],
            "where ({f}.prompt is null or {f}.prompt in (mart.prompt_id, mart.prompt_name))
                and ({f}.priority is null or mart.priority = {f}.priority)
            order by mart.rank",
            "What to do, the first thing first: of all prompts or one, by its id or exact name, of one
priority or all.",
            "select prompt_name, title, reason, expected_saving
from api.get_prompt_recommendations(priority => 'high')"
        ) }}
    {%- endif %}
{% endmacro %}


{#- One function over a mart, made where the mart holds all columns of its contract: after
    a build that failed before it was made anew, the function stays as it was. -#}
{% macro api_function(name, mart, arguments, clauses, comment, example) %}
    {%- set node = graph.nodes['model.prism.' ~ mart] -%}
    {%- set known = {
        'period': ['day', 'week', 'month', 'quarter', 'year', 'all'],
        'severity': ['high', 'medium', 'low'],
        'priority': ['high', 'medium', 'low'],
    } -%}
    {%- set columns = node.columns.values() | list -%}
    {%- set relation = adapter.get_relation(node.database, node.schema, node.alias) -%}
    {%- set built = adapter.get_columns_in_relation(relation) if relation else [] -%}
    {%- if columns | map(attribute='name') | reject('in', built | map(attribute='name') | list) | list == [] %}
    {%- set row_definition -%}
        {%- for column in columns -%}
            {{ column.name }} {{ column.data_type }}{{ ', ' if not loop.last }}
        {%- endfor -%}
    {%- endset %}
        -- a row type of its own: `returns table` refuses an argument that has a column's
        -- name, and the mart's own type would go with the mart
        do $do$
        begin
            if to_regtype('api.{{ name }}_row') is null
                or obj_description(to_regtype('api.{{ name }}_row'), 'pg_type')
                is distinct from '{{ row_definition }}'
            then
                drop type if exists api.{{ name }}_row cascade;
                create type api.{{ name }}_row as ({{ row_definition }});
                comment on type api.{{ name }}_row is '{{ row_definition }}';
            end if;
        end
        $do$;
        create or replace function api.{{ name }}(
            {%- for argument, type, default in arguments %}
            {{ argument }} {{ type }} default {{ default }}{{ ',' if not loop.last }}
            {%- endfor %}
        )
        returns setof api.{{ name }}_row
        language plpgsql
        stable
        -- it runs with the caller's rights, but what its names mean is not the caller's to say
        security invoker
        set search_path = pg_catalog, pg_temp
        as $body$
        begin
            {%- for argument, type, default in arguments if argument in known %}
            if {{ name }}.{{ argument }} <> all (array{{ known[argument] }}) then
                raise exception 'unknown {{ argument }} %; known: {{ known[argument] | join(", ") }}',
                    {{ name }}.{{ argument }}
                    using errcode = 'invalid_parameter_value';
            end if;
            {%- endfor %}
            {%- for argument, type, default in arguments if type == 'integer' %}
            if {{ name }}.{{ argument }} < 0 then
                raise exception '{{ argument }} must be 0 or more, not %', {{ name }}.{{ argument }}
                    using errcode = 'invalid_parameter_value';
            end if;
            {%- endfor %}
            return query
            select
                {%- for column in columns %}
                mart.{{ column.name }}{{ ',' if not loop.last }}
                {%- endfor %}
            from marts.{{ mart }} as mart
            {{ clauses | replace('{f}', name) }};
        end
        $body$;
        {%- set signature = 'api.' ~ name ~ '(' ~ arguments | map(attribute=1) | join(', ') ~ ')' %}
        do $do$
        begin
            if to_regrole('prism_analyst') is not null and to_regrole('prism_reporter') is not null then
                revoke execute on function {{ signature }} from public;
                grant execute on function {{ signature }} to prism_analyst, prism_reporter;
            end if;
        end
        $do$;
        comment on function api.{{ name }}({{ arguments | map(attribute=1) | join(', ') }})
        is $comment${{ comment }}

{{ example }}$comment$;
    {%- endif %}
{% endmacro %}
