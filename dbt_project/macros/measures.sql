{#- What a day, a month or any other stretch of uses adds up to: name -> type. Counts are 0
    and sums null over nothing known; both add up over any window and share. -#}
{% macro usage_counts() -%}
    {{ return([
        'usage_count', 'outcome_count', 'success_count', 'error_known_count',
        'error_count', 'rated_count', 'response_time_count', 'priced_count',
        'priced_success_count', 'unpriced_count', 'late_count',
        'response_time_log_count',
    ]) }}
{%- endmacro %}


{% macro usage_sums() -%}
    {{ return({
        'rating_sum': 'double precision',
        'response_time_sum_ms': 'double precision',
        'input_tokens': 'bigint',
        'output_tokens': 'bigint',
        'total_tokens': 'bigint',
        'total_cost': 'numeric',
        'failure_cost': 'numeric',
        'rating_square_sum': 'double precision',
        'cost_square_sum': 'double precision',
        'response_time_log_sum': 'double precision',
        'response_time_log_square_sum': 'double precision',
    }) }}
{%- endmacro %}


{% macro usage_extremes() -%}
    {{ return({
        'first_source': 'min',
        'last_source': 'max',
        'first_used_at': 'min',
        'last_used_at': 'max',
    }) }}
{%- endmacro %}


{#- The three of them, added up from the rows of `table`. -#}
{% macro added_up(table) -%}
    {%- for name in usage_counts() %}
        sum({{ table }}.{{ name }})::bigint as {{ name }},
    {%- endfor %}
    {%- for name, type in usage_sums().items() %}
        sum({{ table }}.{{ name }})::{{ type }} as {{ name }},
    {%- endfor %}
    {%- for name, function in usage_extremes().items() %}
        {{ function }}({{ table }}.{{ name }}) as {{ name }},
    {%- endfor %}
        max({{ table }}.last_loaded_at) as last_loaded_at
{%- endmacro %}


{#- Which of the `breakdowns` (name -> columns that it is by) a row of grouping sets is of.
    grouping() is a number of bits, 0 for each of the `columns` that is grouped by. -#}
{% macro breakdown_name(breakdowns, columns) -%}
    case grouping({{ columns | join(', ') }})
    {%- for breakdown, by in breakdowns.items() %}
        {%- set bits = namespace(value=0) %}
        {%- for column in columns %}
            {%- set bits.value = 2 * bits.value + (0 if column in by else 1) %}
        {%- endfor %}
        when {{ bits.value }} then '{{ breakdown }}'
    {%- endfor %}
    end
{%- endmacro %}
