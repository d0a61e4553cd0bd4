{#- What a rule of recommendation_rules may name, as arrays in SQL. -#}
{% macro recommendation_metrics() -%}
    array[
        'success_rate', 'error_rate', 'average_rating', 'p50_response_time_ms',
        'usage_count', 'outcome_count', 'days_unused', 'mapped_agents',
        'rated_share', 'outcome_share', 'priced_share', 'uses_while_archived',
        'uses_while_unlisted', 'version_success_change', 'version_rating_change',
        'version_response_time_change', 'version_cost_change', 'model_saving'
    ]
{%- endmacro %}


{% macro recommendation_placeholders() -%}
    array[
        '{value}', '{low}', '{high}', '{threshold}', '{sample}', '{current}',
        '{alternative}', '{margin}'
    ]
{%- endmacro %}


{#- Whether a value, with its interval where it has one, is surely beyond a threshold; or,
    for `near`, neither surely below nor surely above. -#}
{% macro is_beyond(evidence, comparator, threshold) -%}
    case {{ comparator }}
        when 'below'
            then
                coalesce({{ evidence }}.value_high, {{ evidence }}.observed_value)
                < {{ threshold }}
        when 'above'
            then
                coalesce({{ evidence }}.value_low, {{ evidence }}.observed_value)
                > {{ threshold }}
        else
            {{ threshold }} between
            coalesce({{ evidence }}.value_low, {{ evidence }}.observed_value)
            and coalesce({{ evidence }}.value_high, {{ evidence }}.observed_value)
    end
{%- endmacro %}


{#- A metric's value as a reader would write it; a change by its size, as the rule's
    text says which way it goes. -#}
{% macro evidence_in_words(metric, value) -%}
    case
        when {{ metric }} = 'version_success_change'
            then trim_scale(round((100 * abs({{ value }}))::numeric, 1)) || ' points'
        when {{ metric }} in ('version_response_time_change', 'version_cost_change')
            then round((100 * abs({{ value }}))::numeric) || ' %'
        when {{ metric }} = 'version_rating_change'
            then round(abs({{ value }})::numeric, 2)::text
        when {{ metric }} in ('success_rate', 'error_rate') or {{ metric }} like '%_share'
            then {{ percent(value) }}
        when {{ metric }} like '%_ms'
            then trim_scale(round(({{ value }} / 1000)::numeric, 1)) || ' s'
        when {{ metric }} = 'model_saving'
            then to_char({{ value }}, 'FM999,999,999,990.00') || ' USD'
        when {{ metric }} = 'average_rating'
            then round({{ value }}::numeric, 2)::text
        when {{ metric }} in ('usage_count', 'uses_while_archived', 'uses_while_unlisted')
            then case
                when {{ value }} = 1 then 'once'
                else to_char({{ value }}, 'FM999,999,999,990') || ' times'
            end
        else to_char({{ value }}, 'FM999,999,999,990')
    end
{%- endmacro %}


{#- A rule's text with its placeholders filled in. -#}
{% macro filled_in(text, values) -%}
    {%- set ns = namespace(sql=text) -%}
    {%- for name, value in values.items() -%}
        {%- set ns.sql = "replace(" ~ ns.sql ~ ", '{" ~ name ~ "}', coalesce(" ~ value ~ ", 'unknown'))" -%}
    {%- endfor -%}
    {{ ns.sql }}
{%- endmacro %}
