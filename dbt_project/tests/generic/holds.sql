{#- Every row meets the condition; a condition that is null is not met. Of a daily mart, which
    is then named, a build looks at the days that it has changed. -#}
{% test holds(model, condition, daily_mart=none) %}

    select * from {{ model }}
    where
        ({{ condition }}) is not true
        {%- if daily_mart %}
        and {{ days_to_test(daily_mart) }}
        {%- endif %}

{% endtest %}
