with rules as (
    select * from {{ ref('alert_rules') }}
),

overrides as (
    select * from {{ ref('alert_overrides') }}
),

targets as (
    select * from {{ ref('targets') }}
),

limits as (
    select * from {{ ref('data_quality_limits') }}
),

all_rules as (
    select
        'alert rule' as kind,
        rule as name,
        metric,
        'all' as scope,
        null::text as scope_value,
        comparator,
        threshold,
        medium_cutoff,
        high_cutoff,
        minimum_sample,
        period,
        recommendation as meaning
    from rules
    union all
    select
        'alert override' as kind,
        overrides.rule as name,
        rules.metric,
        overrides.scope,
        overrides.scope_value,
        rules.comparator,
        overrides.threshold,
        overrides.medium_cutoff,
        overrides.high_cutoff,
        rules.minimum_sample,
        rules.period,
        null::text as meaning
    from overrides
    inner join rules on overrides.rule = rules.rule
    union all
    select
        'target' as kind,
        metric as name,
        metric,
        scope,
        scope_value,
        comparator,
        target as threshold,
        null::double precision as medium_cutoff,
        null::double precision as high_cutoff,
        minimum_sample,
        null::text as period,
        null::text as meaning
    from targets
    union all
    select
        'data quality limit' as kind,
        measure as name,
        measure as metric,
        'all' as scope,
        null::text as scope_value,
        'above' as comparator,
        warning_above as threshold,
        null::double precision as medium_cutoff,
        error_above as high_cutoff,
        null::bigint as minimum_sample,
        null::text as period,
        reason as meaning
    from limits
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        *
    from all_rules
)

select * from final
