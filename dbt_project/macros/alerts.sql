{#- What rules may look at, metric by metric. `of`: whether it is measured for each
    prompt over a window of days (`window`), comes with the statistics of the night
    (`night`) or is of a source (`source`). `kind`: how a value is written. The rest
    are the words of a message. -#}
{% macro alert_metrics() -%}
    {{ return({
        'usage_count': {
            'of': 'window', 'kind': 'uses', 'label': 'Used',
        },
        'success_rate': {
            'of': 'window', 'kind': 'share', 'label': 'Success rate',
            'sample': 'uses with a known outcome',
        },
        'average_rating': {
            'of': 'window', 'kind': 'number', 'label': 'Average rating',
            'sample': 'ratings',
        },
        'average_response_time_ms': {
            'of': 'window', 'kind': 'time', 'label': 'Average response time',
            'sample': 'timed uses',
        },
        'p95_response_time_ms': {
            'of': 'window', 'kind': 'time',
            'label': '95th percentile of response time', 'sample': 'timed uses',
        },
        'error_rate': {
            'of': 'window', 'kind': 'share', 'label': 'Error rate',
            'sample': 'uses with a known outcome',
        },
        'cost_per_use': {
            'of': 'window', 'kind': 'cost', 'label': 'Cost per use',
            'sample': 'priced uses',
        },
        'cost_spike': {
            'of': 'window', 'kind': 'times', 'label': 'Cost',
            'sample': 'priced uses',
        },
        'success_rate_change': {
            'of': 'window', 'kind': 'change', 'label': 'Success rate changed by',
            'sample': 'uses with a known outcome',
        },
        'average_rating_change': {
            'of': 'window', 'kind': 'change', 'label': 'Average rating changed by',
            'sample': 'ratings',
        },
        'usage_count_change': {
            'of': 'window', 'kind': 'change', 'label': 'Uses changed by',
        },
        'version_quality': {
            'of': 'night', 'kind': 'change',
            'label': 'The newest version changed quality by',
            'sample': 'uses with a known value',
        },
        'forecast_cost': {
            'of': 'night', 'kind': 'budget', 'label': 'Cost is forecast at',
        },
        'days_without_use': {
            'of': 'source', 'kind': 'days', 'label': 'No use for',
        },
    }) }}
{%- endmacro %}


{#- Names of metrics as a SQL list: all, or those of a kind. -#}
{% macro alert_metric_names(of=none, kind=none) -%}
    {%- set names = [] -%}
    {%- for name, metric in alert_metrics().items()
        if of in (none, metric['of']) and kind in (none, metric['kind']) -%}
        {%- do names.append("'" ~ name ~ "'") -%}
    {%- endfor -%}
    ({{ names | join(', ') }})
{%- endmacro %}


{#- A metric's value in words. -#}
{% macro in_words(metric, value) -%}
    {%- set value = '(' ~ value ~ ')' -%}
    case
        when {{ metric }} in {{ alert_metric_names(kind='share') }}
            then trim_scale(round((100 * {{ value }})::numeric, 2)) || ' %'
        when {{ metric }} in {{ alert_metric_names(kind='change') }}
            then
                case when {{ value }} < 0 then '−' else '+' end
                || trim_scale(round((100 * abs({{ value }}))::numeric, 1)) || ' %'
        when {{ metric }} in {{ alert_metric_names(kind='budget') }}
            then round((100 * {{ value }})::numeric) || ' % of the budget'
        when {{ metric }} in {{ alert_metric_names(kind='time') }}
            then trim_scale(round(({{ value }} / 1000)::numeric, 2)) || ' s'
        when {{ metric }} in {{ alert_metric_names(kind='cost') }}
            then trim_scale(round({{ value }}::numeric, 4)) || ' USD'
        when {{ metric }} in {{ alert_metric_names(kind='times') }}
            then trim_scale(round({{ value }}::numeric, 1)) || ' times the usual'
        when {{ metric }} in {{ alert_metric_names(kind='days') }}
            then
                {{ value }}::bigint
                || case {{ value }}::bigint when 1 then ' day' else ' days' end
        else trim_scale(round({{ value }}::numeric, 2))::text
    end
{%- endmacro %}


{#- What an alert's evaluation found: value, sample and threshold. -#}
{% macro alert_message(evaluation) -%}
    {%- set e = evaluation -%}
    case {{ e }}.metric
        {%- for name, metric in alert_metrics().items() %}
        when '{{ name }}' then '{{ metric['label'] }} '
        {%- endfor %}
    end
    || {{ in_words(e ~ '.metric', e ~ '.observed_value') }}
    || case {{ e }}.metric
        {%- for name, metric in alert_metrics().items() if metric['sample'] %}
        when '{{ name }}'
            then ' over ' || {{ e }}.sample_size || ' {{ metric["sample"] }}'
        {%- endfor %}
        when 'usage_count' then ' times'
        else ''
    end
    || coalesce(' (' || {{ e }}.detail || ')', '')
    || case
        when {{ e }}.metric not in {{ alert_metric_names(of='window') }} then ''
        when {{ e }}.period = 'all' then ' in all time'
        else ' in the ' || {{ e }}.period
    end
    || ' to ' || {{ e }}.evaluated_on
    || case
        when {{ e }}.observed_value > {{ e }}.threshold then ', above '
        when {{ e }}.observed_value < {{ e }}.threshold then ', below '
        else ', at '
    end
    || 'the threshold of '
    || {{ in_words(e ~ '.metric', e ~ '.threshold') }} || '.'
{%- endmacro %}


{#- What is said of an alert whose nights were evaluated again, and which none of them bears
    out any more. -#}
{% macro withdrawn_words() -%}
    'Evaluated again, the rule does not fire on the nights it was told of.'
{%- endmacro %}


{#- How many of its three cut-offs a value lies beyond, or has not come back from by a share
    of them, the margin. -#}
{% macro levels_beyond(observation, margin='0') -%}
    {%- set o = observation -%}
    num_nonnulls(
        {%- for cutoff in ['threshold', 'medium_cutoff', 'high_cutoff'] %}
        nullif(
            {{ o }}.direction * {{ o }}.observed_value
            > {{ o }}.direction * {{ o }}.{{ cutoff }} - {{ margin }} * abs({{ o }}.{{ cutoff }}),
            false
        ){{ ',' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}


{% macro severity_rank(severity) -%}
    array_position(array['low', 'medium', 'high'], {{ severity }})
{%- endmacro %}


{#- The lowest and highest plausible difference of two shares at 99.9 %, by R.
    Newcombe's hybrid of Wilson intervals (Stat. Med. 17, 1998, method 10). It is
    looked at every night and for every prompt, so 95 % would be far too little. -#}
{% macro share_difference(successes, trials, before_successes, before_trials, end) -%}
    {%- set now = ratio(successes, trials) -%}
    {%- set before = ratio(before_successes, before_trials) -%}
    {%- set other = 'high' if end == 'low' else 'low' -%}
    (
        {{ now }} - {{ before }}
        {{ '-' if end == 'low' else '+' }} sqrt(
            power({{ now }} - {{ wilson(successes, trials, end, nightly_z()) }}, 2)
            + power({{ before }} - {{ wilson(before_successes, before_trials, other, nightly_z()) }}, 2)
        )
    )
{%- endmacro %}


{#- The normal quantile of 99.9 %, two-sided. -#}
{% macro nightly_z() -%} 3.290526731491926 {%- endmacro %}


{#- The unbiased variance of single values from their count, sum and sum of squares;
    null under two of them. -#}
{% macro variance(count, total, squares) -%}
    (
        greatest({{ squares }} - power({{ total }}, 2) / nullif({{ count }}, 0), 0)
        / nullif({{ count }} - 1, 0)
    )
{%- endmacro %}
