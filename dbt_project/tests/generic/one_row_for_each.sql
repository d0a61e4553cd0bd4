{#- No two rows are equal in all of these columns; null equals null, unlike in a key. Of a
    daily mart, which is then named, a build looks at the days that it has changed. -#}
{% test one_row_for_each(model, columns, daily_mart=none) %}

    select
        {{ columns | join(', ') }},
        count(*) as row_count
    from {{ model }}
    {%- if daily_mart %}
    where {{ days_to_test(daily_mart) }}
    {%- endif %}
    group by {{ columns | join(', ') }}
    having count(*) > 1

{% endtest %}
