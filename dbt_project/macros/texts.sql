{#- How many lines a version's texts have more than another's: those of both texts, each
    as often as it stands there. The versions are told by the prefix of their columns. -#}
{% macro lines_more_in(version, other) -%}
    (
        {%- for text in ['system_prompt', 'user_prompt_template'] %}
        (
            select count(*) from (
                select regexp_split_to_table(
                    nullif({{ version }}{{ text }}, ''), e'\r?\n'
                )
                except all
                select regexp_split_to_table(
                    nullif({{ other }}{{ text }}, ''), e'\r?\n'
                )
            ) as lines
        ) {{ '+' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}
