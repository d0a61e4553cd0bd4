{#- The totals of `table` (`totals` or `times`) that are of a segment, by `keys`: all,
    each model as it stands there, each domain of the prompts, each agent by its name.
    `sums` is what is added up. -#}
{% macro segments_of(table, keys, sums) -%}
    {%- set segments = {
        'all': ('null::text', none),
        'model': (table ~ '.model', none),
        'agent': ('agent_keys.agent_name', ('left', 'agent_keys', 'agent_key', 'agent_key')),
        'domain': ('prompt_keys.domain', ('inner', 'prompt_keys', 'prompt_key', 'prompt_key')),
    } -%}
    {%- for scope, (segment, joined) in segments.items() %}
    select
        {{ keys }},
        '{{ scope }}' as scope,
        {{ segment }} as segment,
        {{ sums }}
    from {{ table }}
    {%- if joined %}
    {{ joined[0] }} join {{ joined[1] }}
        on {{ table }}.{{ joined[2] }} = {{ joined[1] }}.{{ joined[3] }}
    {%- endif %}
    where {{ table }}.breakdown = '{{ 'prompt' if scope == 'domain' else scope }}'
    group by {{ keys }}, segment
    {{ 'union all' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{#- What a segment's uses are counted by: name -> how it is summed. -#}
{% macro segment_counts() -%}
    {{ return([
        'usage_count', 'outcome_count', 'success_count', 'rated_count',
        'response_time_count', 'priced_count'
    ]) }}
{%- endmacro %}


{% macro segment_sums() -%}
    {%- for name in segment_counts() %}
    sum({{ name }})::bigint as {{ name }},
    {%- endfor %}
    sum(rating_sum) as rating_sum,
    sum(response_time_sum_ms) as response_time_sum_ms,
    sum(total_cost) as total_cost
{%- endmacro %}


{#- The metrics of a segment, each after its sample, from `counted` and a table of percentiles. -#}
{% macro segment_metrics(percentiles='percentiles') -%}
    counted.usage_count,
    counted.outcome_count,
    counted.success_count,
    {{ ratio('counted.success_count', 'counted.outcome_count') }} as success_rate,
    {{ wilson('counted.success_count', 'counted.outcome_count', 'low') }}
        as success_rate_low,
    {{ wilson('counted.success_count', 'counted.outcome_count', 'high') }}
        as success_rate_high,
    counted.rated_count,
    {{ ratio('counted.rating_sum', 'counted.rated_count') }} as average_rating,
    counted.response_time_count,
    {{ ratio('counted.response_time_sum_ms', 'counted.response_time_count') }}
        as average_response_time_ms,
    {{ percentiles }}.p50_response_time_ms,
    {{ percentiles }}.p95_response_time_ms,
    counted.priced_count,
    counted.total_cost::numeric(20, 10) as total_cost,
    {{ ratio('counted.total_cost', 'counted.priced_count') }} as cost_per_use
{%- endmacro %}


{#- The percentile of ranked buckets by nearest rank: the smallest value that at least
    this share is not above. -#}
{% macro ranked_percentile(share) -%}
    min({{ bucket_value('bucket') }})
    filter (where last_rank >= {{ share }} * total_count)
{%- endmacro %}
