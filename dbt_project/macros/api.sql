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
            "The library, its use and its alerts in one row. A caller of some domains gets what these come
to; of agents it then says nothing.",
            "select usage_count, success_rate, total_cost, open_alerts
from api.get_dashboard_metrics()",
            otherwise=dashboard_of_some()
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
    a build that failed before it was made anew, the function stays as it was. `otherwise`
    is what it returns where the caller sees no row of the mart: `tables`, and by column
    the values of `columns`; others are null. -#}
{% macro api_function(name, mart, arguments, clauses, comment, example, otherwise=none) %}
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
            {%- if otherwise %}
            if not found then
                return query
                with {{ otherwise.tables | replace('{f}', name) }}
                select
                    {%- for column in columns %}
                    ({{ otherwise.columns.get(column.name, 'null') }})::{{ column.data_type }}
                    {{- ',' if not loop.last }}
                    {%- endfor %}
                from {{ otherwise.relations }};
            end if;
            {%- endif %}
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


{#- `dashboard_metrics` of what the caller sees of other marts: of a period no more than its
    prompts' rows, so that `all` is as quick, and of the period before its days. -#}
{% macro dashboard_of_some() -%}
    {%- set sums = {
        'success_rate': ['success_count', 'outcome_count'],
        'average_rating': ['rating_sum', 'rated_count'],
        'average_response_time_ms': ['response_time_sum_ms', 'response_time_count'],
    } -%}
    {%- set values = {'usage_count': 'coalesce(uses.usage_count, 0)'} -%}
    {%- for name in ['as_of_date', 'period', 'period_start', 'period_end'] -%}
        {%- do values.update({name: 'span.' ~ name}) -%}
    {%- endfor -%}
    {%- for name in ['total_prompts', 'active_prompts', 'suite_prompts', 'total_mappings'] -%}
        {%- do values.update({name: 'library.' ~ name}) -%}
    {%- endfor -%}
    {%- for name in ['open_alerts', 'high_alerts', 'medium_alerts', 'low_alerts'] -%}
        {%- do values.update({name: 'alerts.' ~ name}) -%}
    {%- endfor -%}
    {%- for name, (part, whole) in sums.items() -%}
        {%- do values.update({
            name: ratio('uses.' ~ part, 'uses.' ~ whole),
            'previous_' ~ name: ratio('before.' ~ part, 'before.' ~ whole),
            'target_' ~ name: 'targets.' ~ name,
        }) -%}
    {%- endfor -%}
    {%- for name in ['used_prompts', 'previous_used_prompts', 'total_tokens', 'total_cost',
        'previous_usage_count', 'previous_total_cost'] -%}
        {%- do values.update({name: 'uses.' ~ name}) -%}
    {%- endfor -%}
    {%- do values.update(previous_total_tokens='before.total_tokens') -%}
    {{ return({'columns': values, 'relations': 'span, library, uses, before, alerts, targets', 'tables': "
                span as (
                    select distinct
                        mart.as_of_date, mart.period, mart.period_start, mart.period_end
                    from marts.prompt_performance_summary as mart
                    where mart.period = coalesce({f}.period, 'month')
                ),
                library as (
                    select
                        count(*) filter (where mart.is_listed) as total_prompts,
                        count(*) filter (where mart.is_listed and mart.status = 'active')
                            as active_prompts,
                        count(*) filter (where mart.is_listed and mart.suite is not null)
                            as suite_prompts,
                        coalesce(sum(mart.mapped_agents), 0) as total_mappings
                    from marts.prompts as mart
                ),
                uses as (
                    select
                        sum(mart.usage_count) as usage_count,
                        count(*) filter (where mart.usage_count > 0) as used_prompts,
                        sum(mart.success_count) as success_count,
                        sum(mart.outcome_count) as outcome_count,
                        sum(mart.average_rating * mart.rated_count) as rating_sum,
                        sum(mart.rated_count) as rated_count,
                        sum(mart.average_response_time_ms * mart.response_time_count)
                            as response_time_sum_ms,
                        sum(mart.response_time_count) as response_time_count,
                        sum(mart.total_tokens) as total_tokens,
                        sum(mart.total_cost) as total_cost,
                        sum(mart.previous_usage_count) as previous_usage_count,
                        case when max(mart.period) <> 'all' then
                            count(*) filter (where mart.previous_usage_count > 0)
                        end as previous_used_prompts,
                        sum(mart.previous_total_cost) as previous_total_cost
                    from marts.prompt_performance_summary as mart
                    where mart.period = coalesce({f}.period, 'month')
                ),
                before as (
                    select
                        sum(mart.success_count) as success_count,
                        sum(mart.outcome_count) as outcome_count,
                        sum(mart.rating_sum) as rating_sum,
                        sum(mart.rated_count) as rated_count,
                        sum(mart.response_time_sum_ms) as response_time_sum_ms,
                        sum(mart.response_time_count) as response_time_count,
                        sum(mart.total_tokens) as total_tokens
                    from marts.usage_daily_totals as mart
                    inner join span on mart.usage_date < span.period_start
                        and mart.usage_date
                        >= span.period_start - (span.period_end - span.period_start + 1)
                    where mart.scope = 'prompt' and span.period <> 'all'
                ),
                alerts as (
                    select
                        count(*) as open_alerts,
                        count(*) filter (where mart.severity = 'high') as high_alerts,
                        count(*) filter (where mart.severity = 'medium') as medium_alerts,
                        count(*) filter (where mart.severity = 'low') as low_alerts
                    from marts.performance_alerts as mart
                    where mart.state <> 'resolved'
                ),
                targets as (
                    select
                        max(mart.threshold) filter (where mart.metric = 'success_rate')
                            as success_rate,
                        max(mart.threshold) filter (where mart.metric = 'average_rating')
                            as average_rating,
                        max(mart.threshold)
                            filter (where mart.metric = 'average_response_time_ms')
                            as average_response_time_ms
                    from marts.rules_in_force as mart
                    where mart.kind = 'target' and mart.scope = 'all'
                )"}) }}
{%- endmacro %}
