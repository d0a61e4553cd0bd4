{{ config(meta={'dagster': {'ref': {'name': 'recommendation_rules'}}}) }}

-- Business reason: a rule with a slip of the pen would never speak, or say nonsense to managers.
{{ sound_rows(
    ref('recommendation_rules'),
    "'rule ' || coalesce(nullif(seed.rule, ''), 'without a name')",
    [
    ("seed.rule <> ''", 'it has no name'),
    (
        'not exists (select 1 from ' ~ ref('recommendation_rules') ~ ' as other'
        ' where other.rule = seed.rule and other.ctid <> seed.ctid)',
        'it stands twice',
    ),
    ('seed.metric = any(' ~ recommendation_metrics() ~ ')', 'its metric is unknown'),
    ("seed.comparator in ('below', 'above', 'near')", 'its comparator is neither below, above nor near'),
    ('abs(seed.threshold) < 1e15', 'it has no threshold'),
    (
        'num_nulls(seed.also_metric, seed.also_comparator, seed.also_threshold) in (0, 3)',
        'also_metric, also_comparator and also_threshold go together',
    ),
    (
        'seed.also_metric is null or seed.also_metric = any(' ~ recommendation_metrics() ~ ')',
        'its also_metric is unknown',
    ),
    (
        "seed.also_comparator is null or seed.also_comparator in ('below', 'above', 'near')",
        'its also_comparator is neither below, above nor near',
    ),
    ('seed.minimum_sample >= 0', 'its minimum sample is missing or negative'),
    (
        "seed.unless is null or seed.unless = 'any' or seed.unless in (
            select other.rule from " ~ ref('recommendation_rules') ~ " as other
            where other.rule <> seed.rule
        )",
        'unless names no other rule, nor any',
    ),
    ("seed.action <> ''", 'it has no action'),
    ("seed.priority in ('high', 'medium', 'low')", 'its priority is neither high, medium nor low'),
    ("seed.title <> '' and seed.text <> ''", 'it has no title or no text'),
    (
        "not exists (
            select 1
            from regexp_matches(concat(seed.title, seed.text), '\\{[^}]*\\}?', 'g') as placeholder
            where placeholder[1] <> all(" ~ recommendation_placeholders() ~ ")
        )",
        'its title or text has an unknown placeholder',
    ),
    ('seed.enabled is not null', 'enabled must be true or false'),
    ]
) }}
