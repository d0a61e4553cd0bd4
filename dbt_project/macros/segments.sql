{#- Uses by domain, by model, by agent and all together, in one pass: `keys` are grouped
    by in each; these are the grouping sets, the scope and the segment of a row. -#}
{% macro segment_sets(keys) -%}
    grouping sets (
        ({{ keys }}),
        ({{ keys }}, domain),
        ({{ keys }}, model),
        ({{ keys }}, agent_name)
    )
{%- endmacro %}


{% macro segment_scope() -%}
    case
        when grouping(domain) = 0 then 'domain'
        when grouping(model) = 0 then 'model'
        when grouping(agent_name) = 0 then 'agent'
        else 'all'
    end
{%- endmacro %}


{#- Null of all, and of uses without a domain, a known model or an agent. -#}
{% macro segment_name() -%}
    coalesce(domain, model, agent_name)
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


{#- The metrics of a segment, each after its sample, from `counted` and `percentiles`. -#}
{% macro segment_metrics() -%}
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
    percentiles.p50_response_time_ms,
    percentiles.p95_response_time_ms,
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
