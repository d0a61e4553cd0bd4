{#- One end of the Wilson score interval for a share of successes: `low` or `high`, at
    95 % unless told another normal quantile. Null over nothing. E. B. Wilson, "Probable inference, the law of
    succession, and statistical inference", JASA 22 (1927). -#}
{% macro wilson(successes, trials, end, z=1.959963984540054) -%}
    {%- set z = z | float -%}
    {%- set p = '(' ~ successes ~ '::double precision / nullif(' ~ trials ~ ', 0))' -%}
    {%- set n = 'nullif(' ~ trials ~ ', 0)::double precision' -%}
    {%- set sign = '-' if end == 'low' else '+' -%}
    {#- `least` and `greatest` pass over nulls, hence the case; rounding must put no end
        on the wrong side of the share itself -#}
    {%- set clamp = 'greatest(0, least(' if end == 'low' else 'least(1, greatest(' -%}
    case when {{ trials }} > 0 then {{ clamp }}{{ p }},
        (
            {{ p }} + {{ z * z / 2 }} / {{ n }}
            {{ sign }} {{ z }} * sqrt(
                {{ p }} * (1 - {{ p }}) / {{ n }} + {{ z * z / 4 }} / ({{ n }} * {{ n }})
            )
        ) / (1 + {{ z * z }} / {{ n }})
    )) end
{%- endmacro %}


{#- A share as a double: null over nothing. -#}
{% macro ratio(part, whole) -%}
    ({{ part }}::double precision / nullif({{ whole }}, 0))
{%- endmacro %}


{#- The logarithmic bucket of a time: bucket b holds 1.02^(b-1) < ms <= 1.02^b, so its
    middle is at most 1 % off. Zero has no logarithm and a bucket below all others. -#}
{% macro histogram_bucket(milliseconds) -%}
    case
        when {{ milliseconds }} = 0 then {{ zero_bucket() }}
        else ceil(ln({{ milliseconds }}) / ln(1.02::double precision))::integer
    end
{%- endmacro %}


{#- The value that a bucket reads back as. -#}
{% macro bucket_value(bucket) -%}
    case
        when {{ bucket }} = {{ zero_bucket() }} then 0
        else power(1.02::double precision, {{ bucket }} - 0.5)
    end
{%- endmacro %}


{#- Below the bucket of the smallest number that a double can hold (-37,595). -#}
{% macro zero_bucket() -%}
    -1000000
{%- endmacro %}
