{#- Every row meets the condition; a condition that is null is not met. -#}
{% test holds(model, condition) %}

    select * from {{ model }}
    where ({{ condition }}) is not true

{% endtest %}
