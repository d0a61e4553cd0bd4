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


{#- The fewest days that an interval over days is made of: fewer say too little of how
    days differ, and `t_975` holds from here. -#}
{% macro fewest_days() -%}
    5
{%- endmacro %}


{#- The 97.5 % point of Student's t by Abramowitz and Stegun 26.7.5: from 4 degrees of
    freedom on, within 0.1 %. -#}
{% macro t_975(degrees) -%}
    {%- set z = 1.959963984540054 -%}
    {%- set v = '(' ~ degrees ~ ')::double precision' -%}
    (
        {{ z }}
        + {{ (z ** 3 + z) / 4 }} / {{ v }}
        + {{ (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96 }} / ({{ v }}) ^ 2
        + {{ (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384 }} / ({{ v }}) ^ 3
        + {{ (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / 92160 }}
        / ({{ v }}) ^ 4
    )
{%- endmacro %}


{#- Half the width of Welch's 95 % interval for the difference of two means, each with a
    `_variance` (of the mean) and a `_day_count`. B. L. Welch, Biometrika 34 (1947). -#}
{% macro welch_margin(one, other) -%}
    {%- set degrees -%}
        coalesce(
            ({{ one }}_variance + {{ other }}_variance) ^ 2
            / nullif(
                {{ one }}_variance ^ 2 / ({{ one }}_day_count - 1)
                + {{ other }}_variance ^ 2 / ({{ other }}_day_count - 1),
                0
            ),
            {{ one }}_day_count + {{ other }}_day_count - 2
        )
    {%- endset -%}
    {{ t_975(degrees) }} * sqrt({{ one }}_variance + {{ other }}_variance)
{%- endmacro %}
