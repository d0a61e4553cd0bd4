{{ config(meta={'dagster': {'ref': {'name': 'alert_rules'}}}) }}

-- Business reason: a rule with a slip of the pen would never fire, or fire every night.
{{ sound_rows(ref('alert_rules'), "'rule ' || coalesce(nullif(seed.rule, ''), 'without a name')", [
    ("seed.rule <> ''", 'it has no name'),
    (
        'not exists (select 1 from ' ~ ref('alert_rules') ~ ' as other'
        ' where other.rule = seed.rule and other.ctid <> seed.ctid)',
        'it stands twice',
    ),
    ('seed.metric in ' ~ alert_metric_names(), 'its metric is unknown'),
    ("seed.comparator in ('above', 'below')", 'its comparator is neither above nor below'),
    (
        "seed.period in ('day', 'week', 'month', 'quarter', 'year', 'all')",
        'its period is unknown',
    ),
    (
        "case seed.comparator
            when 'above'
                then seed.threshold <= seed.medium_cutoff and seed.medium_cutoff <= seed.high_cutoff
            when 'below'
                then seed.threshold >= seed.medium_cutoff and seed.medium_cutoff >= seed.high_cutoff
            else true
        end",
        'its threshold and cut-offs are not in the order low, medium, high',
    ),
    (
        "seed.metric not like '%\\_change'
        or (seed.comparator = 'below' and seed.threshold < 0)",
        'of a change only a drop can be looked for: below, and a threshold under 0',
    ),
    ('seed.minimum_sample >= 0', 'its minimum sample is missing or negative'),
    ('seed.minimum_amount is null or seed.minimum_amount >= 0', 'its minimum amount is negative'),
    ('seed.margin >= 0 and seed.margin < 1', 'its margin is not a share from 0 to under 1'),
    (
        'seed.open_after between 1 and 14 and seed.close_after between 1 and 14',
        'open_after and close_after must be 1 to 14 nights',
    ),
    (
        'seed.enabled is not null and seed.affects_health is not null
        and seed.needs_established_prompt is not null',
        'enabled, affects_health and needs_established_prompt must be true or false',
    ),
    (
        "not seed.affects_health or seed.metric in (
            'usage_count', 'success_rate', 'average_rating',
            'average_response_time_ms', 'error_rate'
        )",
        'a metric like this can not affect the health, which is told for every period',
    ),
    (
        "seed.owner is null or seed.owner ~ '^[^@ ]+@[^@ ]+$'",
        'its owner is no address',
    ),
    ("seed.recommendation <> ''", 'it does not say what to do'),
]) }}
