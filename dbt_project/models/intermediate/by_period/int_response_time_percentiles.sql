{%- set shares = {'p50': '0.50', 'p95': '0.95', 'p99': '0.99'} %}

with buckets as (
    select * from {{ ref('int_response_time_periods') }}
),

ranked as (
    select
        scope,
        segment,
        {%- for period in period_lengths() %}
        -- the rank of the bucket's slowest use among all of the period's
        sum({{ period }}_count) over up_to as {{ period }}_last_rank,
        sum({{ period }}_count) over whole as {{ period }}_total_count,
        {%- endfor %}
        bucket
    from buckets
    window
        whole as (partition by scope, segment),
        up_to as (
            partition by scope, segment
            order by bucket
            rows between unbounded preceding and current row
        )
),

-- nearest rank: the smallest bucket that at least this share is not above
found as (
    select
        {%- for period in period_lengths() %}
        max({{ period }}_total_count) as {{ period }}_total_count,
        {%- for name, share in shares.items() %}
        min(bucket) filter (
            where {{ period }}_last_rank >= {{ share }} * {{ period }}_total_count
        ) as {{ period }}_{{ name }},
        {%- endfor %}
        {%- endfor %}
        scope,
        segment
    from ranked
    group by scope, segment
),

final as (
    select
        {%- for name in shares %}
        {{ bucket_value('periods.' ~ name) }} as {{ name }}_response_time_ms,
        {%- endfor %}
        periods.period,
        found.scope,
        found.segment
    from found
    cross join
        lateral (
            values
            {%- for period in period_lengths() %}
            (
                {%- for name in shares %}
                found.{{ period }}_{{ name }},
                {%- endfor %}
                found.{{ period }}_total_count,
                '{{ period }}'
            ){{ ',' if not loop.last }}
            {%- endfor %}
        ) as periods ({{ shares | join(', ') }}, total_count, period)
    where periods.total_count > 0
)

select * from final
