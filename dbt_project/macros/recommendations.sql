{#- What a rule of recommendation_rules may name: metrics with what they are, see the
    model int_prompt_evidence and the mart prompt_recommendations. -#}
{% macro recommendation_words() %}
    {{ return({
        'metric': [
            'success_rate', 'error_rate', 'average_rating', 'p50_response_time_ms',
            'usage_count', 'outcome_count', 'days_unused', 'mapped_agents',
            'rated_share', 'outcome_share', 'priced_share', 'uses_while_archived',
            'uses_while_unlisted', 'version_success_change', 'version_rating_change',
            'version_response_time_change', 'version_cost_change', 'model_saving',
        ],
        'comparator': ['below', 'above', 'near'],
        'priority': ['high', 'medium', 'low'],
        'placeholder': [
            'value', 'low', 'high', 'threshold', 'sample', 'current', 'alternative',
            'margin',
        ],
    }) }}
{% endmacro %}


{#- Ends the load of the seed with a message that names each faulty row and what is wrong
    with it: a rule with a slip of the pen would else be ignored in silence. -#}
{% macro refuse_faulty_rules(rules) %}
    {%- set words = recommendation_words() -%}
    {%- set one_of = {} -%}
    {%- set known = {} -%}
    {%- for kind, names in words.items() -%}
        {%- do one_of.update({kind: "array['" ~ names | join("', '") ~ "']"}) -%}
        {%- do known.update({kind: "'; known: " ~ names | join(", ") ~ "'"}) -%}
    {%- endfor %}
    do $rules$
    declare
        faults text;
    begin
        select string_agg(
            format('rule %s: %s', coalesce(rule, '(without a name)'), fault),
            '. ' order by rule, fault
        )
        into faults
        from {{ rules }} as rules
        cross join lateral unnest(array[
            case when rule is null then 'it has no name' end,
            case when rule in (
                select rule from {{ rules }} group by rule having count(*) > 1
            ) then 'it stands twice' end,
            case when (metric = any({{ one_of.metric }})) is not true
                then format('unknown metric %L', metric) || {{ known.metric }} end,
            case when (comparator = any({{ one_of.comparator }})) is not true
                then format('unknown comparator %L', comparator) || {{ known.comparator }} end,
            case when threshold is null or threshold in ('nan', 'infinity', '-infinity')
                then 'it has no threshold' end,
            case when num_nulls(also_metric, also_comparator, also_threshold) not in (0, 3)
                then 'also_metric, also_comparator and also_threshold go together' end,
            case when also_metric <> all({{ one_of.metric }})
                then format('unknown also_metric %L', also_metric) || {{ known.metric }} end,
            case when also_comparator <> all({{ one_of.comparator }})
                then format('unknown also_comparator %L', also_comparator)
                || {{ known.comparator }} end,
            case when (minimum_sample >= 0) is not true
                then 'minimum_sample must be 0 or more' end,
            case when unless <> 'any' and unless not in (
                select rule from {{ rules }} where rule is not null
            ) then format('unless names the unknown rule %L', unless) end,
            case when action is null then 'it has no action' end,
            case when title is null then 'it has no title' end,
            case when "text" is null then 'it has no text' end,
            case when (priority = any({{ one_of.priority }})) is not true
                then format('unknown priority %L', priority) || {{ known.priority }} end,
            case when enabled is null then 'enabled must be true or false' end,
            (
                select 'unknown placeholder ' || string_agg(matches[1], ', ')
                    || {{ known.placeholder }}
                from regexp_matches(concat(title, "text"), '\{[^}]*\}?', 'g') as matches
                where matches[1] <> all(
                    array['{{ "{" ~ words.placeholder | join("}', '{") ~ "}" }}']
                )
            )
        ]) as fault
        where fault is not null;
        if faults is not null then
            raise exception 'seeds/recommendation_rules.csv: %.', faults;
        end if;
    end
    $rules$
{% endmacro %}


{#- Whether a value, with its interval where it has one, is surely beyond a threshold; or,
    for `near`, neither surely below nor surely above. -#}
{% macro is_beyond(evidence, comparator, threshold) -%}
    case {{ comparator }}
        when 'below'
            then
                coalesce({{ evidence }}.value_high, {{ evidence }}.observed_value)
                < {{ threshold }}
        when 'above'
            then
                coalesce({{ evidence }}.value_low, {{ evidence }}.observed_value)
                > {{ threshold }}
        else
            {{ threshold }} between
            coalesce({{ evidence }}.value_low, {{ evidence }}.observed_value)
            and coalesce({{ evidence }}.value_high, {{ evidence }}.observed_value)
    end
{%- endmacro %}


{#- A metric's value as a reader would write it; a change by its size, as the rule's
    text says which way it goes. -#}
{% macro evidence_in_words(metric, value) -%}
    case
        when {{ metric }} = 'version_success_change'
            then trim_scale(round((100 * abs({{ value }}))::numeric, 1)) || ' points'
        when {{ metric }} in ('version_response_time_change', 'version_cost_change')
            then round((100 * abs({{ value }}))::numeric) || ' %'
        when {{ metric }} = 'version_rating_change'
            then round(abs({{ value }})::numeric, 2)::text
        when {{ metric }} in ('success_rate', 'error_rate') or {{ metric }} like '%_share'
            then trim_scale(round((100 * {{ value }})::numeric, 1)) || ' %'
        when {{ metric }} like '%_ms'
            then trim_scale(round(({{ value }} / 1000)::numeric, 1)) || ' s'
        when {{ metric }} = 'model_saving'
            then to_char({{ value }}, 'FM999,999,999,990.00') || ' USD'
        when {{ metric }} = 'average_rating'
            then round({{ value }}::numeric, 2)::text
        when {{ metric }} in ('usage_count', 'uses_while_archived', 'uses_while_unlisted')
            then case
                when {{ value }} = 1 then 'once'
                else to_char({{ value }}, 'FM999,999,999,990') || ' times'
            end
        else to_char({{ value }}, 'FM999,999,999,990')
    end
{%- endmacro %}


{#- A rule's text with its placeholders filled in. -#}
{% macro filled_in(text, values) -%}
    {%- set ns = namespace(sql=text) -%}
    {%- for name, value in values.items() -%}
        {%- set ns.sql = "replace(" ~ ns.sql ~ ", '{" ~ name ~ "}', coalesce(" ~ value ~ ", 'unknown'))" -%}
    {%- endfor -%}
    {{ ns.sql }}
{%- endmacro %}
