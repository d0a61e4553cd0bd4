{{ config(meta={'dagster': {'ref': {'name': 'alert_overrides'}}}) }}

{%- set beyond -%}
case rules.comparator when 'above' then 1 else -1 end
{%- endset %}

-- Business reason: an override that names nothing would be ignored in silence, and one
-- that nobody remembers the reason of would hide what goes wrong.
{{ sound_rows(
    ref('alert_overrides'),
    "concat_ws(' ', 'rule', seed.rule, 'for', seed.scope, '''' || seed.scope_value || '''')",
    [
    (
        'seed.rule in (select rules.rule from ' ~ ref('alert_rules') ~ ' as rules)',
        'there is no such rule',
    ),
    ("seed.scope in ('domain', 'prompt')", 'its scope is neither domain nor prompt'),
    (
        'not exists (select 1 from ' ~ ref('alert_overrides') ~ ' as other
        where
            other.rule = seed.rule and other.scope = seed.scope
            and other.scope_value = seed.scope_value and other.ctid <> seed.ctid)',
        'it stands twice',
    ),
    (
        "seed.scope is distinct from 'domain' or seed.ends_on < " ~ as_of_date() ~ '
        or exists (select 1 from ' ~ ref('int_prompts') ~ ' as prompts
        where prompts.domain = seed.scope_value)',
        'there is no such domain',
    ),
    (
        "seed.scope is distinct from 'prompt' or seed.ends_on < " ~ as_of_date() ~ '
        or exists (select 1 from ' ~ ref('int_prompts') ~ ' as prompts
        where prompts.prompt_name = seed.scope_value)',
        'there is no such prompt',
    ),
    ('seed.threshold is not null', 'it has no threshold'),
    (
        'coalesce((
            select
                coalesce(' ~ beyond ~ ' * (seed.medium_cutoff - seed.threshold) >= 0, true)
                and coalesce(' ~ beyond ~ ' * (seed.high_cutoff - seed.threshold) >= 0, true)
                and coalesce(' ~ beyond ~ ' * (seed.high_cutoff - seed.medium_cutoff) >= 0, true)
            from ' ~ ref('alert_rules') ~ ' as rules
            where rules.rule = seed.rule
            limit 1
        ), true)',
        'its threshold and cut-offs are not in the order low, medium, high',
    ),
    (
        '(seed.medium_cutoff is null) = (seed.high_cutoff is null)',
        'give both cut-offs or none',
    ),
    ("seed.reason <> ''", 'it gives no reason'),
    ('seed.ends_on is not null', 'it has no end date'),
]) }}
