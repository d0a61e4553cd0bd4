{#- No two rows are equal in all of these columns; null equals null, unlike in a key. -#}
{% test one_row_for_each(model, columns) %}

    select
        {{ columns | join(', ') }},
        count(*) as row_count
    from {{ model }}
    group by {{ columns | join(', ') }}
    having count(*) > 1

{% endtest %}
