{#- An alert's state as people see it, on the morning after the as-of date:

    resolved      the rule no longer fires, or somebody has resolved it
    acknowledged  somebody knows of it; quiet
    snoozed       quiet until a day
    open          none of these, or an action that no longer holds

    Nothing holds against a higher severity than it was done at. A snooze ends by itself.
    What somebody resolved is open again where its rule fires over a window that lies
    wholly after that day: what was done did not help. `orchestration/alerting/states.py`
    says the same for the live state; a test holds the two together.

    `alert` has `severity`, `period` and `resolved_on` (null while the rule fires),
    `standing` is its row of `int_alert_standing`, if it has one. -#}
{% macro alert_state(alert, standing) -%}
    case
        when {{ alert }}.resolved_on is not null then 'resolved'
        when
            {{ severity_rank(alert ~ '.severity') }}
            > {{ severity_rank(standing ~ '.severity') }}
            then 'open'
        when {{ standing }}.action = 'acknowledge' then 'acknowledged'
        when
            {{ standing }}.action = 'snooze'
            and {{ as_of_date() }} + 1 < {{ standing }}.until_on
            then 'snoozed'
        when
            {{ standing }}.action = 'resolve'
            and coalesce(
                {{ as_of_date() }}
                < {{ standing }}.acted_on + {{ days_of_period(alert ~ '.period') }},
                true
            )
            then 'resolved'
        else 'open'
    end
{%- endmacro %}


{#- How many days a period spans; null for `all`. -#}
{% macro days_of_period(period) -%}
    case {{ period }}
        when 'day' then 1
        when 'week' then 7
        when 'month' then 30
        when 'quarter' then 90
        when 'year' then 365
    end
{%- endmacro %}
