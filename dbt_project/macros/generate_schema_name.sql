{#- Schemas are named exactly as configured, without a prefix of the target. Beside
    the marts (`marts_schema` is not `marts`) whatever is by period goes into that
    one schema, so that dropping it leaves no trace; what is by day is shared. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set marts_schema = var('marts_schema') -%}
    {%- if custom_schema_name == 'marts' -%}
        {{ marts_schema }}
    {%- elif custom_schema_name == 'by_period' -%}
        {{ 'intermediate' if marts_schema == 'marts' else marts_schema }}
    {%- else -%}
        {{ custom_schema_name or target.schema }}
    {%- endif -%}
{%- endmacro %}
