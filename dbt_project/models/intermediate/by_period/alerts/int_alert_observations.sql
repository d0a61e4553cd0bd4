{{ config(materialized='view') }}

{%- set z = nightly_z() -%}

with sums as (
    select * from {{ ref('int_alert_sums') }}
),

response_times as (
    select * from {{ ref('int_alert_response_times') }}
),

days as (
    select * from {{ ref('int_alert_days') }}
),

-- what rules ask of a window; nothing else is worked out
asked as (
    select
        period,
        array_agg(metric) as metrics
    from {{ ref('alert_rules') }}
    where enabled
    group by period
),

windows as (
    select
        windows.*,
        asked.metrics
    from {{ ref('int_alert_windows') }} as windows
    inner join asked on windows.period = asked.period
),

usage as (
    select * from {{ ref('int_prompt_totals_daily') }}
    where
        breakdown = 'prompt_source'
        and usage_date > {{ alerts_since() }} - 90
        and usage_date <= {{ as_of_date() }}
),

comparisons as (
    select * from {{ ref('stg_analytics__prompt_comparisons') }}
    where
        as_of_date between {{ alerts_since() }} and {{ as_of_date() }}
        and kind = 'version'
        and metric in ('success_rate', 'average_rating')
),

forecasts as (
    select * from {{ ref('stg_analytics__usage_forecasts') }}
    where
        as_of_date between {{ alerts_since() }} and {{ as_of_date() }}
        and metric = 'total_cost'
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

budgets as (
    select * from {{ ref('targets') }}
    where metric = 'total_cost'
),

-- what single values spread by, now and before
spreads as (
    select
        sums.*,
        response_times.p50_response_time_ms,
        response_times.p95_response_time_ms,
        response_times.p95_low_response_time_ms,
        response_times.p95_high_response_time_ms,
        response_times.before_p95_response_time_ms,
        windows.metrics,
        {{ variance(
            'sums.response_time_count', 'response_times.response_time_sum_ms',
            'response_times.response_time_square_sum'
        ) }} as response_time_variance,
        {{ variance(
            'sums.priced_count', 'sums.total_cost', 'sums.cost_square_sum'
        ) }} as cost_variance,
        {{ variance(
            'sums.rated_count', 'sums.rating_sum', 'sums.rating_square_sum'
        ) }} as rating_variance,
        {{ variance(
            'sums.before_rated_count', 'sums.before_rating_sum',
            'sums.before_rating_square_sum'
        ) }} as before_rating_variance,
        {{ variance(
            '(sums.rated_count + sums.before_rated_count)',
            '(sums.rating_sum + sums.before_rating_sum)',
            '(sums.rating_square_sum + sums.before_rating_square_sum)'
        ) }} as pooled_rating_variance,
        -- of a prompt that was not there 90 days before, the days that it was
        nullif(
            least(90, sums.period_start - sums.first_used_on), 0
        ) as days_before
    from sums
    inner join windows
        on sums.as_of_date = windows.as_of_date and sums.period = windows.period
    left join response_times
        on
            sums.as_of_date = response_times.as_of_date
            and sums.period = response_times.period
            and sums.prompt_id = response_times.prompt_id
),

measured as (
    select
        *,
        {{ ratio('success_count', 'outcome_count') }} as success_rate,
        {{ ratio('before_success_count', 'before_outcome_count') }}
            as before_success_rate,
        {{ ratio('error_count', 'error_known_count') }} as error_rate,
        {{ ratio('before_error_count', 'before_error_known_count') }}
            as before_error_rate,
        {{ ratio('rating_sum', 'rated_count') }} as average_rating,
        {{ ratio('before_rating_sum', 'before_rated_count') }}
            as before_average_rating,
        {{ ratio('response_time_sum_ms', 'response_time_count') }}
            as average_response_time_ms,
        {{ ratio('before_response_time_sum_ms', 'before_response_time_count') }}
            as before_average_response_time_ms,
        {{ ratio('total_cost', 'priced_count') }} as cost_per_use,
        {{ ratio('before_total_cost', 'before_priced_count') }}
            as before_cost_per_use,
        1.959963984540054 * sqrt(rating_variance / nullif(rated_count, 0))
            as rating_reach,
        1.959963984540054
        * sqrt(response_time_variance / nullif(response_time_count, 0))
            as response_time_reach,
        1.959963984540054 * sqrt(cost_variance / nullif(priced_count, 0))
            as cost_reach,
        -- few ratings that are all the same look steadier than they are
        {{ z }} * sqrt(
            greatest(
                rating_variance / nullif(rated_count, 0)
                + before_rating_variance / nullif(before_rated_count, 0),
                pooled_rating_variance
                * (
                    1.0 / nullif(rated_count, 0)
                    + 1.0 / nullif(before_rated_count, 0)
                )
            )
        ) as rating_change_reach
    from spreads
),

-- the logarithm of a day's cost, by medians: one wild day neither hides another nor
-- moves what is usual
cost_days as (
    select
        windows.as_of_date,
        windows.period,
        days.prompt_id,
        ln(days.total_cost) as log_cost
    from windows
    inner join days
        on
            windows.baseline_start <= days.usage_date
            and windows.period_start > days.usage_date
    where days.total_cost > 0 and 'cost_spike' = any(windows.metrics)
),

cost_centres as (
    select
        as_of_date,
        period,
        prompt_id,
        percentile_cont(0.5) within group (order by log_cost) as centre,
        count(*) as day_count
    from cost_days
    group by as_of_date, period, prompt_id
),

usual_costs as (
    select
        centres.as_of_date,
        centres.period,
        centres.prompt_id,
        centres.day_count,
        centres.centre,
        -- as in the marts' cost anomalies: the deviation of a normal distribution
        -- from its median one, and a least deviation
        greatest(
            percentile_cont(0.5) within group (
                order by abs(cost_days.log_cost - centres.centre)
            ) / 0.6745,
            0.25
        ) as deviation
    from cost_centres as centres
    inner join cost_days
        on
            centres.as_of_date = cost_days.as_of_date
            and centres.period = cost_days.period
            and centres.prompt_id = cost_days.prompt_id
    group by
        centres.as_of_date,
        centres.period,
        centres.prompt_id,
        centres.day_count,
        centres.centre
),

-- how many uses the windows before had, as many as fit into 90 days and the
-- prompt's life
earlier_uses as (
    select
        windows.as_of_date,
        windows.period,
        days.prompt_id,
        (windows.period_start - 1 - days.usage_date) / windows.days as place,
        sum(days.usage_count) as usage_count
    from windows
    inner join days
        on
            windows.baseline_start <= days.usage_date
            and windows.period_start > days.usage_date
    where
        windows.days is not null
        and 'usage_count_change' = any(windows.metrics)
    group by
        windows.as_of_date,
        windows.period,
        days.prompt_id,
        (windows.period_start - 1 - days.usage_date) / windows.days
),

lives as (
    select
        as_of_date,
        period,
        prompt_id,
        least(90, period_start - first_used_on) / days as window_count
    from sums
),

earlier_windows as (
    select
        lives.as_of_date,
        lives.period,
        lives.prompt_id,
        lives.window_count,
        sum(earlier_uses.usage_count) as usage_count,
        case
            when count(*) < lives.window_count then 0
            else min(earlier_uses.usage_count)
        end as least_usage_count
    from lives
    inner join earlier_uses
        on
            lives.as_of_date = earlier_uses.as_of_date
            and lives.period = earlier_uses.period
            and lives.prompt_id = earlier_uses.prompt_id
            and lives.window_count > earlier_uses.place
    group by
        lives.as_of_date, lives.period, lives.prompt_id, lives.window_count
),

of_windows as (
    select
        measured.as_of_date,
        'prompt' as scope,
        measured.prompt_id as subject_id,
        measured.period,
        measured.period_start,
        observed.*
    from measured
    left join usual_costs
        on
            measured.as_of_date = usual_costs.as_of_date
            and measured.period = usual_costs.period
            and measured.prompt_id = usual_costs.prompt_id
    left join earlier_windows
        on
            measured.as_of_date = earlier_windows.as_of_date
            and measured.period = earlier_windows.period
            and measured.prompt_id = earlier_windows.prompt_id
    -- the columns are named below, once for all; a lateral is no CTE, as it asks row by row
    -- noqa: disable=AL03,ST05
    cross join lateral (
        select
            'usage_count',
            measured.usage_count::double precision,
            measured.usage_count,
            null::double precision,
            null::double precision,
            measured.before_usage_count::double precision
            * measured.days / measured.days_before,
            measured.before_usage_count,
            true,
            null::double precision,
            null::text
        where 'usage_count' = any(measured.metrics)
        union all
        select
            'success_rate',
            measured.success_rate,
            measured.outcome_count,
            {{ wilson('measured.success_count', 'measured.outcome_count', 'low') }},
            {{ wilson('measured.success_count', 'measured.outcome_count', 'high') }},
            measured.before_success_rate,
            measured.before_outcome_count,
            true,
            null,
            null
        where 'success_rate' = any(measured.metrics)
        union all
        select
            'error_rate',
            measured.error_rate,
            measured.error_known_count,
            {{ wilson('measured.error_count', 'measured.error_known_count', 'low') }},
            {{ wilson('measured.error_count', 'measured.error_known_count', 'high') }},
            measured.before_error_rate,
            measured.before_error_known_count,
            true,
            null,
            null
        where 'error_rate' = any(measured.metrics)
        union all
        select
            'average_rating',
            measured.average_rating,
            measured.rated_count,
            measured.average_rating - measured.rating_reach,
            measured.average_rating + measured.rating_reach,
            measured.before_average_rating,
            measured.before_rated_count,
            true,
            null,
            null
        where 'average_rating' = any(measured.metrics)
        union all
        select
            'average_response_time_ms',
            measured.average_response_time_ms,
            measured.response_time_count,
            greatest(
                measured.average_response_time_ms - measured.response_time_reach,
                0
            ),
            measured.average_response_time_ms + measured.response_time_reach,
            measured.before_average_response_time_ms,
            measured.before_response_time_count,
            true,
            null,
            'median ' || {{ in_words(
                "'p95_response_time_ms'", 'measured.p50_response_time_ms'
            ) }}
            || ', 95th percentile ' || {{ in_words(
                "'p95_response_time_ms'", 'measured.p95_response_time_ms'
            ) }}
        where 'average_response_time_ms' = any(measured.metrics)
        union all
        select
            'p95_response_time_ms',
            measured.p95_response_time_ms,
            measured.response_time_count,
            measured.p95_low_response_time_ms,
            measured.p95_high_response_time_ms,
            measured.before_p95_response_time_ms,
            measured.before_response_time_count,
            true,
            null,
            'median ' || {{ in_words(
                "'p95_response_time_ms'", 'measured.p50_response_time_ms'
            ) }}
            || ', mean ' || {{ in_words(
                "'p95_response_time_ms'", 'measured.average_response_time_ms'
            ) }}
        where 'p95_response_time_ms' = any(measured.metrics)
        union all
        select
            'cost_per_use',
            measured.cost_per_use,
            measured.priced_count,
            greatest(measured.cost_per_use - measured.cost_reach, 0),
            measured.cost_per_use + measured.cost_reach,
            measured.before_cost_per_use,
            measured.before_priced_count,
            true,
            measured.total_cost,
            'median day ' || {{ in_words(
                "'cost_per_use'", 'measured.median_day_cost_per_use'
            ) }}
            || ', dearest day ' || {{ in_words(
                "'cost_per_use'", 'measured.dearest_day_cost_per_use'
            ) }}
        where 'cost_per_use' = any(measured.metrics)
        union all
        select
            'cost_spike',
            measured.total_cost
            / (exp(usual_costs.centre) * coalesce(measured.days, 1)),
            measured.priced_count,
            null,
            null,
            exp(usual_costs.centre) * measured.days,
            usual_costs.day_count,
            usual_costs.day_count >= 14
            and measured.total_cost > 0
            and ln(greatest(measured.total_cost, 1e-300) / measured.days)
            - usual_costs.centre
            > 3.5 * usual_costs.deviation,
            measured.total_cost - exp(usual_costs.centre) * measured.days,
            {{ in_words("'cost_per_use'", 'measured.total_cost') }}
            || ', usual are ' || {{ in_words(
                "'cost_per_use'", 'exp(usual_costs.centre) * measured.days'
            ) }}
        where 'cost_spike' = any(measured.metrics)
        union all
        select
            'success_rate_change',
            measured.success_rate / nullif(measured.before_success_rate, 0) - 1,
            least(measured.outcome_count, measured.before_outcome_count),
            {{ share_difference(
                'measured.success_count', 'measured.outcome_count',
                'measured.before_success_count',
                'measured.before_outcome_count', 'low'
            ) }} / nullif(measured.before_success_rate, 0),
            {{ share_difference(
                'measured.success_count', 'measured.outcome_count',
                'measured.before_success_count',
                'measured.before_outcome_count', 'high'
            ) }} / nullif(measured.before_success_rate, 0),
            measured.before_success_rate,
            measured.before_outcome_count,
            {{ share_difference(
                'measured.success_count', 'measured.outcome_count',
                'measured.before_success_count',
                'measured.before_outcome_count', 'high'
            ) }} < 0,
            null,
            'from '
            || {{ in_words("'success_rate'", 'measured.before_success_rate') }}
            || ' in the 90 days before to '
            || {{ in_words("'success_rate'", 'measured.success_rate') }}
        where 'success_rate_change' = any(measured.metrics)
        union all
        select
            'average_rating_change',
            measured.average_rating / nullif(measured.before_average_rating, 0)
            - 1,
            least(measured.rated_count, measured.before_rated_count),
            (
                measured.average_rating - measured.before_average_rating
                - measured.rating_change_reach
            ) / nullif(measured.before_average_rating, 0),
            (
                measured.average_rating - measured.before_average_rating
                + measured.rating_change_reach
            ) / nullif(measured.before_average_rating, 0),
            measured.before_average_rating,
            measured.before_rated_count,
            measured.average_rating - measured.before_average_rating
            + measured.rating_change_reach
            < 0,
            null,
            'from ' || {{ in_words(
                "'average_rating'", 'measured.before_average_rating'
            ) }}
            || ' in the 90 days before to '
            || {{ in_words("'average_rating'", 'measured.average_rating') }}
        where 'average_rating_change' = any(measured.metrics)
        union all
        select
            'usage_count_change',
            measured.usage_count * earlier_windows.window_count
            / nullif(earlier_windows.usage_count, 0)::double precision - 1,
            earlier_windows.usage_count::bigint,
            null,
            null,
            earlier_windows.usage_count::double precision
            / nullif(earlier_windows.window_count, 0),
            earlier_windows.usage_count::bigint,
            earlier_windows.window_count >= 4
            and measured.usage_count < earlier_windows.least_usage_count
            -- a count of few uses a week falls under all earlier ones by luck
            and earlier_windows.usage_count / earlier_windows.window_count
            - measured.usage_count
            > {{ z }} * sqrt(
                earlier_windows.usage_count / earlier_windows.window_count
            ),
            null,
            measured.usage_count || ' uses; usual are '
            || round(
                earlier_windows.usage_count / earlier_windows.window_count
            )
            || ', never under ' || earlier_windows.least_usage_count
        where 'usage_count_change' = any(measured.metrics)
    -- noqa: enable=AL03,ST05
    ) as observed (
        metric,
        observed_value,
        sample_size,
        observed_low,
        observed_high,
        baseline_value,
        baseline_sample_size,
        is_significant,
        amount,
        detail
    )
),

-- the newest version that is in use, and the measure that suffers most
newest_versions as (
    select *
    from (
        select
            comparisons.*,
            rank() over (
                partition by comparisons.as_of_date, comparisons.prompt_id
                order by comparisons.starts_on desc, comparisons.variant desc
            ) as age
        from comparisons
    ) as aged
    where age = 1 and ends_on > as_of_date - 30 and control_value > 0
),

of_versions as (
    select distinct on (as_of_date, prompt_id)
        as_of_date,
        'prompt' as scope,
        prompt_id as subject_id,
        null::text as period,
        null::date as period_start,
        'version_quality' as metric,
        difference / control_value as observed_value,
        least(variant_count, control_count) as sample_size,
        difference_low / control_value as observed_low,
        difference_high / control_value as observed_high,
        control_value as baseline_value,
        control_count as baseline_sample_size,
        verdict = 'worse' as is_significant,
        null::double precision as amount,
        case metric
            when 'success_rate' then 'success rate '
            else 'average rating '
        end
        || {{ in_words('metric', 'variant_value') }}
        || ' of version ' || variant || ', '
        || {{ in_words('metric', 'control_value') }}
        || ' of version ' || control as detail
    from newest_versions
    where difference is not null
    order by
        as_of_date asc,
        prompt_id asc,
        verdict = 'worse' desc,
        difference / control_value asc
),

forecast_sums as (
    select
        forecasts.as_of_date,
        forecasts.prompt_id,
        max(forecasts.forecast_date) as until_date,
        min(forecasts.history_days) as history_days,
        sum(forecasts.value) as cost,
        sum(forecasts.low) as cost_low,
        sum(forecasts.high) as cost_high
    from forecasts
    group by forecasts.as_of_date, forecasts.prompt_id
),

of_budgets as (
    select
        forecast_sums.as_of_date,
        budgets.scope,
        coalesce(forecast_sums.prompt_id, 'all') as subject_id,
        null::text as period,
        null::date as period_start,
        'forecast_cost' as metric,
        forecast_sums.cost / budgets.target as observed_value,
        forecast_sums.history_days::bigint as sample_size,
        forecast_sums.cost_low / budgets.target as observed_low,
        forecast_sums.cost_high / budgets.target as observed_high,
        null::double precision as baseline_value,
        null::bigint as baseline_sample_size,
        true as is_significant,
        forecast_sums.cost as amount,
        trim_scale(round(forecast_sums.cost::numeric, 2)) || ' USD of '
        || trim_scale(round(budgets.target::numeric, 2))
        || ' USD for the 30 days to ' || forecast_sums.until_date as detail
    from forecast_sums
    left join prompts on forecast_sums.prompt_id = prompts.prompt_id
    inner join budgets
        on
            (budgets.scope = 'all' and forecast_sums.prompt_id is null)
            or (
                budgets.scope = 'prompt'
                and prompts.prompt_name = budgets.scope_value
            )
),

source_days as (
    select
        source,
        usage_date,
        usage_date
        - lag(usage_date) over (partition by source order by usage_date)
        - 1 as gap_before
    from usage
    group by source, usage_date
),

silences as (
    select
        nights.as_of_date,
        source_days.source,
        nights.as_of_date - max(source_days.usage_date) as days_without_use,
        count(*) as day_count,
        coalesce(max(source_days.gap_before), 0) as longest_gap,
        max(source_days.usage_date) as last_date
    from {{ evaluated_nights() }} as nights
    inner join source_days
        on
            nights.as_of_date >= source_days.usage_date
            and source_days.usage_date > nights.as_of_date - 90
    where nights.as_of_date between {{ alerts_since() }} and {{ as_of_date() }}
    group by nights.as_of_date, source_days.source
),

of_sources as (
    select
        as_of_date,
        'source' as scope,
        source as subject_id,
        null::text as period,
        null::date as period_start,
        'days_without_use' as metric,
        days_without_use::double precision as observed_value,
        day_count as sample_size,
        null::double precision as observed_low,
        null::double precision as observed_high,
        longest_gap::double precision as baseline_value,
        day_count as baseline_sample_size,
        days_without_use > longest_gap as is_significant,
        null::double precision as amount,
        'the last on ' || last_date || ', the longest gap before '
        || {{ in_words("'days_without_use'", 'longest_gap') }}
        || case
            when
                count(*) over (partition by as_of_date) > 1
                and min(days_without_use) over (partition by as_of_date) > 0
                then '; no other source has any either'
            else ''
        end as detail
    from silences
),

final as (
    select * from of_windows
    union all
    select * from of_versions
    union all
    select * from of_budgets
    union all
    select * from of_sources
)

select * from final
