with scopes as (
    select * from {{ ref('int_alert_scopes') }}
),

uses as (
    select * from {{ ref('int_alert_uses') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

errors as (
    select * from {{ ref('int_errors_daily') }}
    where
        usage_date >= (select min(scopes.baseline_start) from scopes)
        and usage_date <= {{ as_of_date() }}
),

-- what was first seen in the two weeks up to the first detection, and not in the month
-- before these
first_seen as (
    select
        scopes.alert_id,
        scopes.prompt_id,
        uses.dimension,
        uses.name,
        scopes.first_detected_on,
        min(uses.usage_date) as first_date,
        sum(uses.usage_count) filter (
            where uses.usage_date >= scopes.window_start
        ) as window_count
    from scopes
    inner join uses on scopes.alert_id = uses.alert_id
    where
        uses.name is not null
        and uses.usage_date >= scopes.first_detected_on - 44
        and scopes.first_detected_on >= scopes.as_of_date - 90
    group by
        scopes.alert_id,
        scopes.prompt_id,
        scopes.first_detected_on,
        uses.dimension,
        uses.name
),

window_uses as (
    select
        scopes.alert_id,
        sum(uses.usage_count) as usage_count
    from scopes
    inner join uses on scopes.alert_id = uses.alert_id
    where
        uses.usage_date >= scopes.window_start
        and uses.dimension = 'version'
    group by scopes.alert_id
),

newcomers as (
    select
        first_seen.alert_id,
        'change' as kind,
        first_seen.dimension,
        first_seen.name,
        first_seen.first_date as happened_on,
        coalesce(first_seen.window_count, 0)::bigint as usage_count,
        null::double precision as value,
        null::double precision as baseline_value,
        {{ ratio('first_seen.window_count', 'window_uses.usage_count') }}
            as share,
        {{ ratio('first_seen.window_count', 'window_uses.usage_count') }}
            as weight,
        initcap(first_seen.dimension) || ' ' || first_seen.name
        || ' is new on ' || first_seen.first_date || ', '
        || case first_seen.first_detected_on - first_seen.first_date
            when 0 then 'the first night it was detected'
            when 1 then 'a day before it was first detected'
            else
                (first_seen.first_detected_on - first_seen.first_date)
                || ' days before it was first detected'
        end
        || coalesce(
            '; it has ' || {{ percent(
                ratio('first_seen.window_count', 'window_uses.usage_count')
            ) }} || ' of the uses',
            ''
        ) || '.' as description
    from first_seen
    inner join prompts on first_seen.prompt_id = prompts.prompt_id
    left join window_uses on first_seen.alert_id = window_uses.alert_id
    where
        first_seen.first_date
        between first_seen.first_detected_on - 14
        and first_seen.first_detected_on
        and first_seen.first_date > {{ day_of('prompts.first_used_at') }}
),

weeks as (
    select
        scopes.alert_id,
        scopes.first_detected_on,
        coalesce(sum(uses.usage_count) filter (
            where uses.usage_date > scopes.first_detected_on - 7
        ), 0) as week_count,
        coalesce(sum(uses.usage_count) filter (
            where uses.usage_date <= scopes.first_detected_on - 7
        ), 0) / 4.0 as usual_count
    from scopes
    inner join uses on scopes.alert_id = uses.alert_id
    where
        uses.dimension = 'version'
        and uses.usage_date > scopes.first_detected_on - 35
        and uses.usage_date <= scopes.first_detected_on
        and scopes.first_detected_on >= scopes.as_of_date - 90
    group by scopes.alert_id, scopes.first_detected_on
),

traffic as (
    select
        alert_id,
        'change' as kind,
        'traffic' as dimension,
        null::text as name,
        first_detected_on as happened_on,
        week_count::bigint as usage_count,
        week_count::double precision as value,
        usual_count::double precision as baseline_value,
        null::double precision as share,
        abs(ln(greatest(week_count, 0.5) / usual_count))::double precision
            as weight,
        week_count || ' uses in the week to ' || first_detected_on
        || '; ' || round(usual_count) || ' a week in the four before.'
            as description
    from weeks
    where
        usual_count >= 5
        and week_count not between usual_count / 1.5 and usual_count * 1.5
),

sums as (
    select
        scopes.alert_id,
        scopes.metric,
        scopes.threshold,
        scopes.days,
        uses.dimension,
        uses.name,
        coalesce(sum(uses.usage_count) filter (
            where uses.usage_date >= scopes.window_start
        ), 0) as usage_count,
        coalesce(sum(uses.bad) filter (
            where uses.usage_date >= scopes.window_start
        ), 0) as bad,
        coalesce(sum(uses.looked_at) filter (
            where uses.usage_date >= scopes.window_start
        ), 0) as looked_at,
        coalesce(sum(uses.bad) filter (
            where uses.usage_date < scopes.window_start
        ), 0) as before_bad,
        coalesce(sum(uses.looked_at) filter (
            where uses.usage_date < scopes.window_start
        ), 0) as before_looked_at
    from scopes
    inner join uses
        on
            scopes.alert_id = uses.alert_id
            and scopes.baseline_start <= uses.usage_date
    group by
        scopes.alert_id,
        scopes.metric,
        scopes.threshold,
        scopes.days,
        uses.dimension,
        uses.name
),

-- what a segment has beyond what it could have: of a level, what the threshold allows;
-- of a change, what the prompt had before; of an amount, its own share of before
compared as (
    select
        *,
        case
            when metric in ('usage_count', 'usage_count_change')
                then before_bad * days / 90.0 - bad
            when metric in ('cost_spike', 'forecast_cost')
                then bad - before_bad * days / 90.0
            else
                bad - looked_at * case metric
                    when 'success_rate' then 1 - threshold
                    when 'average_rating' then 5 - threshold
                    when 'p95_response_time_ms'
                        then
                            sum(bad) over whole
                            / nullif(sum(looked_at) over whole, 0)
                    when 'success_rate_change'
                        then
                            sum(before_bad) over whole
                            / nullif(sum(before_looked_at) over whole, 0)
                    when 'average_rating_change'
                        then
                            sum(before_bad) over whole
                            / nullif(sum(before_looked_at) over whole, 0)
                    when 'version_quality'
                        then
                            sum(before_bad) over whole
                            / nullif(sum(before_looked_at) over whole, 0)
                    else threshold
                end
        end as excess
    from sums
    window whole as (partition by alert_id, dimension)
),

shared as (
    select
        *,
        {{ ratio('excess', 'sum(greatest(excess, 0)) over whole') }} as share,
        count(*) over whole as segment_count,
        rank() over (
            partition by alert_id, dimension order by excess desc nulls last
        ) as place,
        case
            when metric like 'success%' or metric = 'version_quality'
                then 'success_rate'
            when metric like 'average_rating%' then 'average_rating'
            when metric like '%_ms' then 'average_response_time_ms'
            when metric = 'error_rate' then 'error_rate'
            when metric like 'usage_count%' then 'usage_count'
            else 'cost_per_use'
        end as shown_metric
    from compared
    window whole as (partition by alert_id, dimension)
),

valued as (
    select
        *,
        case shown_metric
            when 'success_rate' then 1 - {{ ratio('bad', 'looked_at') }}
            when 'average_rating' then 5 - {{ ratio('bad', 'looked_at') }}
            when 'usage_count' then bad
            else {{ ratio('bad', 'looked_at') }}
        end as value,
        case shown_metric
            when 'success_rate' then 1 - {{ ratio('before_bad', 'before_looked_at') }}
            when 'average_rating' then 5 - {{ ratio('before_bad', 'before_looked_at') }}
            when 'usage_count' then before_bad * days / 90.0
            else {{ ratio('before_bad', 'before_looked_at') }}
        end as before_value
    from shared
    -- where a dimension has one segment only, it explains nothing
    where place = 1 and segment_count > 1 and excess > 0
),

segments as (
    select
        alert_id,
        'segment' as kind,
        dimension,
        name,
        null::date as happened_on,
        usage_count::bigint as usage_count,
        value,
        before_value as baseline_value,
        share,
        share as weight,
        case
            when name is null then 'Uses without a known ' || dimension
            else initcap(dimension) || ' ' || name
        end
        || ': ' || {{ percent('share') }} || ' of what is too '
        || case
            when metric like 'usage_count%' then 'little'
            else 'much'
        end
        || case shown_metric
            when 'usage_count' then ', with '
            when 'success_rate' then ', with a success rate of '
            when 'error_rate' then ', with an error rate of '
            when 'average_rating' then ', with an average rating of '
            when 'average_response_time_ms'
                then ', with an average response time of '
            else ', at a cost per use of '
        end
        || coalesce({{ in_words('shown_metric', 'value') }}, 'none')
        || case shown_metric
            when 'usage_count' then ' uses'
            else ' over ' || looked_at
        end
        || coalesce(
            ' (before: ' || {{ in_words('shown_metric', 'before_value') }} || ')',
            ''
        ) || '.' as description
    from valued
),

error_sums as (
    select
        scopes.alert_id,
        coalesce(errors.error_type, 'not said') as name,
        coalesce(sum(errors.error_count) filter (
            where errors.usage_date >= scopes.window_start
        ), 0) as error_count,
        coalesce(sum(errors.error_count) filter (
            where errors.usage_date < scopes.window_start
        ), 0) as before_count
    from scopes
    inner join prompt_keys on scopes.prompt_id = prompt_keys.prompt_id
    inner join errors
        on
            prompt_keys.prompt_key = errors.prompt_key
            and scopes.baseline_start <= errors.usage_date
    where
        scopes.metric in (
            'success_rate', 'success_rate_change', 'error_rate', 'version_quality'
        )
    group by scopes.alert_id, coalesce(errors.error_type, 'not said')
),

error_types as (
    select
        alert_id,
        'errors' as kind,
        'error_type' as dimension,
        name,
        null::date as happened_on,
        error_count::bigint as usage_count,
        error_count::double precision as value,
        before_count::double precision as baseline_value,
        {{ ratio('error_count', 'sum(error_count) over whole') }} as share,
        error_count::double precision as weight,
        name || ': ' || error_count || ' of '
        || sum(error_count) over whole || ' errors ('
        || {{ percent(ratio('error_count', 'sum(error_count) over whole')) }}
        || coalesce(
            '; ' || {{ percent(
                ratio('before_count', 'sum(before_count) over whole')
            ) }} || ' in the 90 days before',
            ''
        ) || ').' as description
    from error_sums
    window whole as (partition by alert_id)
),

evidence as (
    select * from newcomers
    union all
    select * from traffic
    union all
    select * from segments
    union all
    select * from error_types
    where usage_count > 0
),

ranked as (
    select
        *,
        row_number() over (
            partition by alert_id, kind
            order by weight desc nulls last, dimension asc, name asc
        )::integer as rank
    from evidence
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        alert_id,
        kind,
        rank,
        dimension,
        name,
        happened_on,
        usage_count,
        value,
        baseline_value,
        share,
        description
    from ranked
    where rank <= 5
)

select * from final
