{#- rule's metric -> what of the prompt's days is measured before and after -#}
{%- set effects = {
    'success_rate': 'success_rate',
    'success_rate_change': 'success_rate',
    'version_quality': 'success_rate',
    'error_rate': 'error_rate',
    'average_rating': 'average_rating',
    'average_rating_change': 'average_rating',
    'average_response_time_ms': 'average_response_time_ms',
    'p95_response_time_ms': 'average_response_time_ms',
    'usage_count': 'usage_count',
    'usage_count_change': 'usage_count',
    'cost_per_use': 'cost_per_use',
    'cost_spike': 'cost_per_use',
} -%}
{#- what is measured -> its sum of a day, and what it is divided by -#}
{%- set measures = {
    'success_rate': ('success_count', 'outcome_count'),
    'error_rate': ('error_count', 'error_known_count'),
    'average_rating': ('rating_sum', 'rated_count'),
    'average_response_time_ms': ('response_time_sum_ms', 'response_time_count'),
    'cost_per_use': ('total_cost', 'priced_count'),
} -%}
{%- set shares = "('success_rate', 'error_rate')" -%}
{%- set sides = ['before', 'after'] -%}

with alerts as (
    select * from {{ ref('performance_alerts') }}
),

standings as (
    select * from {{ ref('int_alert_standing') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

usage as (
    select * from {{ ref('usage_daily_totals') }}
    where scope = 'prompt'
),

items as (
    select
        alerts.*,
        standings.first_acted_on as taken_up_on,
        standings.note,
        standings.action = 'resolve' as is_resolved_by_hand,
        standings.acted_on as resolved_by_hand_on,
        standings.acted_by,
        case alerts.metric
            {%- for metric, effect in effects.items() %}
            when '{{ metric }}' then '{{ effect }}'
            {%- endfor %}
        end as effect_metric,
        coalesce({{ days_of_period('alerts.period') }}, 30) as period_days,
        {{ day_of('prompts.first_used_at') }} as first_used_on
    from alerts
    inner join standings on alerts.alert_id = standings.alert_id
    left join prompts on alerts.prompt_id = prompts.prompt_id
),

-- an item is done when somebody says so, else when its rule no longer fires
ended as (
    select
        *,
        case
            when state <> 'resolved' then null
            when is_resolved_by_hand then resolved_by_hand_on
            else resolved_on
        end as done_on,
        -- a week at least: of one day there is no interval
        greatest(period_days, 7) as effect_days
    from items
),

{# the day itself is neither before nor after -#}
windows as (
    select
        alert_id,
        prompt_id,
        effect_metric,
        'before' as side,
        greatest(
            done_on - effect_days,
            case when effect_metric = 'usage_count' then first_used_on end
        ) as first_day,
        done_on - 1 as last_day
    from ended
    where done_on is not null and effect_metric is not null
    union all
    select
        alert_id,
        prompt_id,
        effect_metric,
        'after' as side,
        done_on + 1 as first_day,
        least(done_on + effect_days, {{ as_of_date() }}) as last_day
    from ended
    where done_on is not null and effect_metric is not null
),

-- uses are counted by day, also on days without any; all else by the use
days as (
    select
        windows.alert_id,
        windows.side,
        windows.effect_metric,
        series.day::date as usage_date,
        case windows.effect_metric
            when 'usage_count' then coalesce(sum(usage.usage_count), 0)
            {%- for effect, (amount, weight) in measures.items() %}
            when '{{ effect }}' then sum(usage.{{ amount }})
            {%- endfor %}
        end::double precision as amount,
        case windows.effect_metric
            when 'usage_count' then 1
            {%- for effect, (amount, weight) in measures.items() %}
            when '{{ effect }}' then sum(usage.{{ weight }})
            {%- endfor %}
        end::double precision as weight
    from windows
    cross join
        lateral generate_series(
            windows.first_day, windows.last_day, interval '1 day'
        ) as series (day)
    left join usage
        on
            windows.prompt_id = usage.prompt_id
            and series.day::date = usage.usage_date
    group by
        windows.alert_id, windows.side, windows.effect_metric, series.day
),

totals as (
    select
        alert_id,
        side,
        effect_metric,
        sum(amount) as amount,
        sum(weight) as weight,
        {{ ratio('sum(amount)', 'sum(weight)') }} as value,
        count(*) filter (where weight > 0) as day_count
    from days
    group by alert_id, side, effect_metric
),

-- the variance of a ratio of sums over days (Cochran, Sampling Techniques, 6.4): days
-- differ more than uses do
spreads as (
    select
        totals.alert_id,
        totals.side,
        totals.effect_metric,
        totals.amount,
        totals.weight,
        totals.value,
        totals.day_count,
        case
            when totals.day_count >= {{ fewest_days() }}
                then
                    sum((days.amount - totals.value * days.weight) ^ 2)
                    / (totals.weight ^ 2) * totals.day_count / (totals.day_count - 1)
        end as variance
    from totals
    inner join days
        on totals.alert_id = days.alert_id and totals.side = days.side
    group by
        totals.alert_id, totals.side, totals.effect_metric, totals.amount,
        totals.weight, totals.value, totals.day_count
),

intervals as (
    select
        *,
        case
            when effect_metric in {{ shares }}
                then {{ wilson('amount', 'weight', 'low') }}
            else value - {{ t_975('day_count - 1') }} * sqrt(variance)
        end as low,
        case
            when effect_metric in {{ shares }}
                then {{ wilson('amount', 'weight', 'high') }}
            else value + {{ t_975('day_count - 1') }} * sqrt(variance)
        end as high
    from spreads
),

sides as (
    select
        alert_id,
        effect_metric,
        {%- for side in sides %}
        {%- for name in ['value', 'low', 'high', 'weight', 'variance', 'day_count'] %}
        max({{ name }}) filter (where side = '{{ side }}')
            as {{ side }}_{{ name }},
        {%- endfor %}
        {%- endfor %}
        effect_metric in {{ shares }} as is_share
    from intervals
    group by alert_id, effect_metric
),

-- how surely the difference is known: of shares by Newcombe's hybrid of the two
-- intervals (Statistics in Medicine 17, 1998, method 10), else by Welch's
margins as (
    select
        *,
        after_value - before_value as difference,
        case
            when is_share
                then
                    sqrt((after_value - after_low) ^ 2 + (before_high - before_value) ^ 2)
            else {{ welch_margin('before', 'after') }}
        end as margin_below,
        case
            when is_share
                then
                    sqrt((after_high - after_value) ^ 2 + (before_value - before_low) ^ 2)
            else {{ welch_margin('before', 'after') }}
        end as margin_above,
        -- days are the sample where uses are counted
        case when effect_metric = 'usage_count' then 0 else 20 end as fewest
    from sides
),

measured as (
    select
        *,
        difference - margin_below as difference_low,
        difference + margin_above as difference_high,
        effect_metric in (
            'success_rate', 'average_rating', 'usage_count'
        ) as is_more_better,
        least(before_weight, after_weight) >= fewest as is_enough
    from margins
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        -- the alert
        ended.alert_id,
        ended.prompt_id,
        ended.prompt_name,
        ended.domain,
        ended.owner,
        ended.rule,
        ended.severity,
        ended.first_detected_on,
        -- who does what about it
        case ended.state when 'resolved' then 'done' else ended.state end
            as state,
        ended.assigned_to,
        ended.taken_up_on,
        ended.due_on,
        ended.state <> 'resolved'
        and coalesce(ended.due_on <= {{ as_of_date() }}, false) as is_overdue,
        ended.done_on,
        case
            when
                ended.done_on = ended.resolved_by_hand_on
                and ended.is_resolved_by_hand then ended.acted_by
        end as done_by,
        ended.note,
        -- what it did
        ended.effect_metric,
        ended.effect_days,
        {%- for side in sides %}
        measured.{{ side }}_weight::bigint as {{ side }}_count,
        measured.{{ side }}_value,
        measured.{{ side }}_low,
        measured.{{ side }}_high,
        {%- endfor %}
        measured.difference,
        measured.difference_low,
        measured.difference_high,
        case
            when ended.done_on is null or ended.effect_metric is null then null
            when
                not coalesce(measured.is_enough, false)
                or measured.difference_low is null
                then 'not enough data'
            when measured.difference_low > 0
                then case when measured.is_more_better then 'better' else 'worse' end
            when measured.difference_high < 0
                then case when measured.is_more_better then 'worse' else 'better' end
            else 'no difference seen'
        end as verdict
    from ended
    left join measured on ended.alert_id = measured.alert_id
)

select * from final
