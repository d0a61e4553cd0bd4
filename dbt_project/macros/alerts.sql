{#- A metric's value in words: rates in per cent, times in seconds. -#}
{% macro in_words(metric, value) -%}
    case
        when {{ metric }} in ('success_rate', 'error_rate')
            then trim_scale(round((100 * {{ value }})::numeric, 2)) || ' %'
        when {{ metric }} like '%_ms'
            then trim_scale(round(({{ value }} / 1000)::numeric, 2)) || ' s'
        else trim_scale(round({{ value }}::numeric, 2))::text
    end
{%- endmacro %}


{#- What an alert's evaluation found: value, sample and threshold. -#}
{% macro alert_message(evaluation) -%}
    {%- set e = evaluation -%}
    case {{ e }}.metric
        when 'usage_count' then 'Used '
        when 'success_rate' then 'Success rate '
        when 'average_rating' then 'Average rating '
        when 'average_response_time_ms' then 'Average response time '
        when 'error_rate' then 'Error rate '
    end
    || {{ in_words(e ~ '.metric', e ~ '.observed_value') }}
    || case {{ e }}.metric
        when 'usage_count' then ' times'
        else ' over ' || {{ e }}.sample_size
    end
    || case {{ e }}.metric
        when 'usage_count' then ''
        when 'average_rating' then ' ratings'
        when 'average_response_time_ms'
            then
                ' timed uses (median '
                || {{ in_words(e ~ '.metric', e ~ '.p50_response_time_ms') }}
                || ', 95th percentile '
                || {{ in_words(e ~ '.metric', e ~ '.p95_response_time_ms') }}
                || ')'
        else ' uses with a known outcome'
    end
    || ' in the ' || {{ e }}.period || ' to ' || {{ e }}.evaluated_on
    || case
        when {{ e }}.observed_value > {{ e }}.threshold then ', above '
        else ', below '
    end
    || 'the threshold of '
    || {{ in_words(e ~ '.metric', e ~ '.threshold') }} || '.'
{%- endmacro %}


{% macro severity_rank(severity) -%}
    array_position(array['low', 'medium', 'high'], {{ severity }})
{%- endmacro %}
