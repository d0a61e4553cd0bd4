{#- The rows of a seed that break a requirement, as a test. Where there are any it ends
    with a message that names each row and what is wrong with it: "got 3 results" would
    send analysts searching.

    `row`: what names a row, in SQL; `requirements`: pairs of a condition, which is not
    met where it is null, and of what to say where it is not met. The row is `seed`. -#}
{% macro sound_rows(relation, row, requirements) -%}
    {%- set query %}
select
    {{ row }} as seed_row,
    string_agg(faults.fault, '; ' order by faults.place) as faults
from {{ relation }} as seed
cross join lateral (
    values
    {%- for condition, fault in requirements %}
    ({{ loop.index }}, ({{ condition }}) is true, '{{ fault }}'){{ ',' if not loop.last }}
    {%- endfor %}
) as faults (place, is_met, fault)
where not faults.is_met
group by seed.ctid, {{ row }}
order by 1
    {%- endset %}
    {%- if execute and flags.WHICH in ('build', 'test') -%}
        {%- set told = [] -%}
        {%- for found in run_query(query).rows -%}
            {%- do told.append(found[0] ~ ': ' ~ found[1]) -%}
        {%- endfor -%}
        {%- if told -%}
            {{ exceptions.raise_compiler_error(
                'seeds/' ~ relation.identifier ~ '.csv: ' ~ told[:10] | join(' | ')
                ~ (' | and ' ~ (told | length - 10) ~ ' more' if told | length > 10 else '')
            ) }}
        {%- endif -%}
    {%- endif -%}
    {{ query }}
{%- endmacro %}
