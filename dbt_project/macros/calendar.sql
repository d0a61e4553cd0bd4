{#- The periods: name -> how many days before the as-of date's end they begin; none for all
    that was ever used. -#}
{% macro period_lengths() -%}
    {{ return({
        'day': 1, 'week': 7, 'month': 30, 'quarter': 90, 'year': 365, 'all': none
    }) }}
{%- endmacro %}


{#- The stretches of the calendar that sums of days are kept by, from the shortest; each
    lies whole within one of the next. A pentad is a sixth of a month and a dekad a third
    (the last ones end with the month), as meteorologists count. -#}
{% macro grains() -%}
    {{ return(['pentad', 'dekad', 'month', 'quarter', 'year']) }}
{%- endmacro %}


{#- The first day of the stretch that a day lies in. -#}
{% macro start_of_grain(grain, day) -%}
    {%- set days = {'pentad': 5, 'dekad': 10}.get(grain) -%}
    {%- if grain == 'day' -%}
        {{ day }}
    {%- elif days -%}
        (
            date_trunc('month', {{ day }})::date
            + {{ days }} * least(
                (extract(day from {{ day }})::integer - 1) / {{ days }},
                {{ 30 // days - 1 }}
            )
        )
    {%- else -%}
        date_trunc('{{ grain }}', {{ day }})::date
    {%- endif -%}
{%- endmacro %}


{#- The fewest stretches that hold every day of the CTE `extent` (first_date, last_date)
    and that no `edges` (edge) lie within: a day belongs to the section that begins at the
    last edge up to it, and what happened before the first date did not happen. `kept` is
    where the sums of stretches lie, if not of every one: those that are not there are
    left to shorter ones. -#}
{% macro spans(grains, kept=none) %}
    with dated as (
        select
            series.usage_date::date as usage_date,
            extent.last_date,
            coalesce(
                (
                    select max(edges.edge) from edges
                    where edges.edge <= series.usage_date
                ),
                '-infinity'
            ) as section_start
        from extent
        cross join lateral generate_series(
            extent.first_date::timestamp, extent.last_date, interval '1 day'
        ) as series (usage_date)
    ),

    marked as (
        select
            dated.usage_date,
            dated.section_start
            {%- for grain in grains %}
            {%- set start = start_of_grain(grain, 'dated.usage_date') %},
            {{ start }} as {{ grain }}_start,
            {{ start }} < {{ start_of_grain(grain, '(dated.last_date + 1)') }}
            and min(dated.section_start) over (partition by {{ start }})
            = max(dated.section_start) over (partition by {{ start }})
                as {{ grain }}_is_whole
            {%- endfor %}
        from dated
    )

    select distinct
        longest.grain,
        longest.starts_on,
        marked.section_start
    from marked
    cross join
        lateral (
            select
                stretches.grain,
                stretches.starts_on
            from (
                values
                {%- for grain in grains %}
                (
                    {{ loop.index }},
                    '{{ grain }}',
                    marked.{{ grain }}_start,
                    marked.{{ grain }}_is_whole
                ),
                {%- endfor %}
                (0, 'day', marked.usage_date, true)
            ) as stretches (width, grain, starts_on, is_whole)
            where
                stretches.is_whole
                {%- if kept %}
                and (
                    stretches.grain = 'day'
                    or exists (
                        select 1 from {{ kept }}
                        where
                            {{ kept }}.grain = stretches.grain
                            and {{ kept }}.starts_on = stretches.starts_on
                    )
                )
                {%- endif %}
            order by stretches.width desc
            limit 1
        ) as longest
    where marked.section_start >= (select min(edges.edge) from edges)
{% endmacro %}


{#- What the spans hold of response times, joined to them: from `days` and from `kept`, one
    span after the other, each a range of an index. `breakdown`: of one alone. -#}
{% macro response_times_of_spans(breakdown=none) %}
    cross join
        lateral (
            select shares.*
            from (
                {%- for table, where in [
                    ('days', "spans.grain = 'day' and days.usage_date = spans.starts_on"),
                    ('kept', 'kept.grain = spans.grain and kept.starts_on = spans.starts_on'),
                ] %}
                select
                    {{ table }}.breakdown,
                    {{ table }}.prompt_key,
                    {{ table }}.agent_key,
                    {{ table }}.model,
                    {{ table }}.bucket,
                    {{ table }}.usage_count
                from {{ table }}
                where
                    {{ where }}
                    {%- if breakdown %}
                    and {{ table }}.breakdown = '{{ breakdown }}'
                    {%- endif %}
                {{ 'union all' if not loop.last }}
                {%- endfor %}
            ) as shares
            offset 0  -- noqa: AM09
        ) as times
{% endmacro %}
