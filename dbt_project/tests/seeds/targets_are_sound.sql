{{ config(meta={'dagster': {'ref': {'name': 'targets'}}}) }}

-- Business reason: a target for an unknown metric or scope would be ignored in silence.
{{ sound_rows(
    ref('targets'),
    "concat_ws(' ', seed.metric, 'for', seed.scope, '''' || seed.scope_value || '''')",
    [
    (
        "seed.metric in (
            'usage_count', 'success_rate', 'average_rating',
            'average_response_time_ms', 'error_rate', 'total_cost'
        )",
        'its metric is unknown',
    ),
    ("seed.comparator in ('above', 'below')", 'its comparator is neither above nor below'),
    (
        'not exists (select 1 from ' ~ ref('targets') ~ ' as other
        where
            other.metric = seed.metric and other.scope = seed.scope
            and other.scope_value is not distinct from seed.scope_value
            and other.ctid <> seed.ctid)',
        'it stands twice',
    ),
    (
        "(seed.scope = 'all' and seed.scope_value is null)
        or (seed.scope in ('domain', 'prompt') and seed.scope_value <> '')",
        'its scope is not all, a domain or a prompt by name',
    ),
    ('seed.target > 0', 'its target is missing or not above 0'),
    ('seed.minimum_sample >= 0', 'its minimum sample is missing or negative'),
    (
        "seed.metric <> 'total_cost'
        or (seed.comparator = 'below' and seed.scope in ('all', 'prompt'))",
        'a budget (total_cost) is a target to stay below, for all or for a prompt',
    ),
]) }}
