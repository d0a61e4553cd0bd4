with hours as (
    select * from {{ ref('int_usage_hourly') }}
),

periods as (
    select * from {{ ref('int_periods') }}
),

final as (
    select
        periods.as_of_date,
        periods.period,
        extract(isodow from hours.usage_date)::integer as weekday,
        hours.usage_hour,
        sum(hours.usage_count)::bigint as usage_count,
        sum(hours.outcome_count)::bigint as outcome_count,
        sum(hours.success_count)::bigint as success_count,
        {{ ratio('sum(hours.success_count)', 'sum(hours.outcome_count)') }}
            as success_rate,
        sum(hours.response_time_count)::bigint as response_time_count,
        {{ ratio(
            'sum(hours.response_time_sum_ms)', 'sum(hours.response_time_count)'
        ) }} as average_response_time_ms
    from hours
    inner join periods
        on
            hours.usage_date
            between periods.period_start and periods.period_end
    group by
        periods.as_of_date,
        periods.period,
        extract(isodow from hours.usage_date),
        hours.usage_hour
)

select * from final
