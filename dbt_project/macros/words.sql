{#- Numbers as a reader would write them. -#}

{#- A score of 0 to 1 as points of 100. -#}
{% macro points(score) -%}
    trim_scale(round((100 * {{ score }})::numeric, 1))
{%- endmacro %}


{#- A share of 0 to 1. -#}
{% macro percent(share) -%}
    trim_scale(round((100 * {{ share }})::numeric, 1)) || ' %'
{%- endmacro %}


{#- An amount of USD of which cents may be too coarse: three digits that count. -#}
{% macro small_amount(amount) -%}
    case
        when {{ amount }} >= 1 then to_char({{ amount }}, 'FM999,999,999,990.00')
        when {{ amount }} > 0
            then
                trim_scale(
                    round(
                        {{ amount }}::numeric,
                        2 - floor(log({{ amount }}::numeric))::integer
                    )
                )::text
        else '0'
    end
    || ' USD'
{%- endmacro %}
