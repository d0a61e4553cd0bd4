{%- set counts = [
    'rows_read', 'loaded_rows', 'unchanged_rows', 'superseded_rows',
    'rejected_rows', 'rejected_values', 'usage_count', 'late_rows',
    'unpriced_uses', 'unlisted_uses',
] -%}

with usage as (
    select * from {{ ref('int_prompt_totals_daily') }}
    where breakdown = 'prompt_source' and usage_date <= {{ as_of_date() }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

batches as (
    select * from {{ ref('stg_prism__load_batches') }}
),

reconciliations as (
    select * from {{ ref('stg_prism__reconciliations') }}
    where usage_date <= {{ as_of_date() }}
),

limits as (
    select * from {{ ref('data_quality_limits') }}
),

used as (
    select
        usage.source,
        usage.usage_date,
        sum(usage.usage_count) as usage_count,
        sum(usage.late_count) as late_rows,
        sum(usage.unpriced_count) as unpriced_uses,
        sum(usage.usage_count) filter (where not prompt_keys.is_listed)
            as unlisted_uses,
        sum(usage.priced_count + usage.unpriced_count) as priceable_uses,
        max(usage.last_used_at) as last_used_at,
        max(usage.last_loaded_at) as last_loaded_at
    from usage
    inner join prompt_keys on usage.prompt_key = prompt_keys.prompt_key
    group by usage.source, usage.usage_date
),

-- a nightly load begins after midnight and is part of the day that has ended
loaded as (
    select
        source,
        {{ day_of('started_at') }} - 1 as usage_date,
        sum(rows_read) as rows_read,
        sum(loaded_rows) as loaded_rows,
        sum(unchanged_rows) as unchanged_rows,
        sum(superseded_rows) as superseded_rows,
        sum(rejected_rows) as rejected_rows,
        sum(rejected_values) as rejected_values,
        -- each file may have one of its own
        left(string_agg(distinct note, '; ' order by note), 1000) as notes,
        max(finished_at) as last_batch_at
    from batches
    where {{ day_of('started_at') }} - 1 <= {{ as_of_date() }}
    group by source, {{ day_of('started_at') }} - 1
),

first_days as (
    select
        source,
        min(usage_date) as first_date
    from (
        select
            source,
            usage_date
        from used
        union all
        select
            source,
            usage_date
        from loaded
    ) as seen
    group by source
),

-- a day on which nothing came is a row, too, and a source that fell silent has them up to
-- the as-of date
days as (
    select
        first_days.source,
        dates.usage_date::date as usage_date
    from first_days
    cross join lateral generate_series(
        first_days.first_date::timestamp,
        {{ as_of_date() }},
        interval '1 day'
    ) as dates (usage_date)
),

measured as (
    select
        days.source,
        days.usage_date,
        {%- for name in counts %}
        coalesce({{ name }}, 0)::bigint as {{ name }},
        {%- endfor %}
        used.priceable_uses,
        greatest(used.last_loaded_at, loaded.last_batch_at)
            as last_loaded_at,
        max(used.last_used_at) over line as last_used_at,
        -- the same weekday in the four weeks before
        (
            lag(coalesce(used.usage_count, 0), 7) over line
            + lag(coalesce(used.usage_count, 0), 14) over line
            + lag(coalesce(used.usage_count, 0), 21) over line
            + lag(coalesce(used.usage_count, 0), 28) over line
        )::double precision / 4 as usual_usage_count,
        reconciliations.source_count,
        reconciliations.kept_count,
        reconciliations.reported_count,
        reconciliations.is_reconciled,
        reconciliations.is_as_reported,
        loaded.notes
    from days
    left join used
        on
            days.source = used.source
            and days.usage_date = used.usage_date
    left join loaded
        on
            days.source = loaded.source
            and days.usage_date = loaded.usage_date
    left join reconciliations
        on
            days.source = reconciliations.source
            and days.usage_date = reconciliations.usage_date
    window line as (partition by days.source order by days.usage_date)
),

fresh as (
    select
        *,
        extract(
            epoch from {{ start_of('(usage_date + 1)') }} - last_used_at
        )::double precision / 3600 as hours_without_use
    from measured
),

-- each measure as a share of what it could have been at most
shares as (
    select
        fresh.source,
        fresh.usage_date,
        limits.reason,
        limits.measure,
        case limits.measure
            when 'rejected_rows'
                then {{ ratio('fresh.rejected_rows', 'fresh.rows_read') }}
            when 'rejected_values'
                then {{ ratio('fresh.rejected_values', 'fresh.rows_read') }}
            when 'late_rows'
                then {{ ratio('fresh.late_rows', 'fresh.usage_count') }}
            when 'unpriced_uses'
                then {{ ratio('fresh.unpriced_uses', 'fresh.priceable_uses') }}
            when 'unlisted_uses'
                then {{ ratio('fresh.unlisted_uses', 'fresh.usage_count') }}
            when 'hours_without_use' then fresh.hours_without_use
            -- a few uses come and go by chance
            when 'missing_uses'
                then
                    case
                        when fresh.usual_usage_count >= 20
                            then 1 - fresh.usage_count / fresh.usual_usage_count
                    end
            when 'unreconciled_uses'
                then
                    case
                        when not fresh.is_reconciled
                            then
                                abs(fresh.source_count - fresh.kept_count)
                                / greatest(fresh.source_count, 1)
                                ::double precision
                    end
            when 'unreconciled_values'
                then
                    case
                        when
                            not fresh.is_reconciled
                            and fresh.source_count = fresh.kept_count
                            then 1
                    end
            when 'unreported_uses'
                then
                    case
                        when not fresh.is_as_reported
                            then
                                abs(fresh.reported_count - fresh.source_count)
                                / greatest(fresh.reported_count, 1)
                                ::double precision
                    end
        end as observed,
        limits.warning_above,
        limits.error_above
    from fresh
    cross join limits
),

verdicts as (
    select
        source,
        usage_date,
        bool_or(observed > error_above) as is_error,
        string_agg(
            case measure
                when 'hours_without_use' then round(observed)::text || ' '
                when 'unreconciled_values' then ''
                else
                    trim_scale(round((100 * observed)::numeric, 1))::text
                    || ' % '
            end
            || reason,
            '; ' order by measure
        ) as reasons
    from shares
    where observed > warning_above or observed > error_above
    group by source, usage_date
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        fresh.source,
        fresh.usage_date,
        {%- for name in counts %}
        fresh.{{ name }},
        {%- endfor %}
        fresh.usual_usage_count,
        fresh.source_count,
        fresh.kept_count,
        fresh.reported_count,
        fresh.is_reconciled,
        fresh.is_as_reported,
        fresh.last_used_at,
        fresh.last_loaded_at,
        fresh.hours_without_use,
        case
            when verdicts.is_error then 'error'
            when verdicts.source is not null then 'warning'
            else 'ok'
        end as verdict,
        verdicts.reasons,
        fresh.notes
    from fresh
    left join verdicts
        on
            fresh.source = verdicts.source
            and fresh.usage_date = verdicts.usage_date
)

select * from final
