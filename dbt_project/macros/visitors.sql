{#- Whoever came, counted exactly, without reading all who ever came. Three tables change in one
    transaction, that of int_prompt_visitors: the last day of each visitor, the counts of these
    days (int_prompt_last_days), and of which build of which day they are (int_daily_basis). A kill
    leaves all of it or nothing, and the next build compares. -#}

{#- The last visits as the last runs left them, or none before the first and on a full
    refresh, when they are made whole. Like int_incorporated_batches no ref. -#}
{% macro known_visitors() %}
    {{ return(adapter.get_relation(
        this.database, 'intermediate', 'int_prompt_visitors'
    ) if execute and not flags.FULL_REFRESH else none) }}
{% endmacro %}


{#- What may be kept is changed where it stands: the last day is in no index, so that a new one
    costs no page of any. -#}
{% macro move_touched_visitors() %}
    {#- outside the condition, so that dbt sees the dependency when it parses -#}
    {%- set touched_visitors = ref('int_touched_visitors') -%}
    {%- set is_theirs -%}
        known.prompt_key = touched.prompt_key
            and known.visitor_key = touched.visitor_key
            and known.kind = touched.kind
            and known.source = touched.source
    {%- endset -%}
    {%- if is_incremental() -%}
        delete from {{ this }} as known
        using {{ touched_visitors }} as touched
        where
            {{ is_theirs }}
            and touched.last_date is null;
        update {{ this }} as known
        set last_date = touched.last_date
        from {{ touched_visitors }} as touched
        where
            {{ is_theirs }}
            and touched.known_date is not null
            and touched.last_date is not null
    {%- endif -%}
{% endmacro %}


{#- One off the day that was the last, one onto the day that is. -#}
{% macro count_last_days() %}
    {%- set touched_visitors = ref('int_touched_visitors') -%}
    {%- set last_days = ref('int_prompt_last_days') -%}
    {%- if is_incremental() -%}
        insert into {{ last_days }} as standing (prompt_key, kind, last_date, visitor_count)
        select
            moved.prompt_key,
            moved.kind,
            moved.last_date,
            sum(moved.visitor_count)
        from (
            select prompt_key, kind, last_date, 1 as visitor_count
            from {{ touched_visitors }}
            where last_date is not null
            union all
            select prompt_key, kind, known_date, -1
            from {{ touched_visitors }}
            where known_date is not null
        ) as moved
        group by moved.prompt_key, moved.kind, moved.last_date
        on conflict (prompt_key, kind, last_date) do update
        set visitor_count = standing.visitor_count + excluded.visitor_count;
        delete from {{ last_days }} where visitor_count = 0;
        {#- applied once; and no key stays here that an erasure would have to look for -#}
        truncate {{ touched_visitors }};
    {%- else -%}
        delete from {{ last_days }};
        insert into {{ last_days }} (prompt_key, kind, last_date, visitor_count)
        select prompt_key, kind, last_date, count(*)
        from {{ this }}
        group by prompt_key, kind, last_date;
    {%- endif %}
    analyze {{ last_days }}
{% endmacro %}


{% macro remember_visitor_days() %}
    {%- set basis = ref('int_daily_basis') -%}
    {%- set visitor_days = ref('int_visitor_days') -%}
    delete from {{ basis }}
    where
        mart = '{{ this.identifier }}'
        {%- if is_incremental() %}
        and input_key in (select usage_date::text from {{ visitor_days }})
        {%- endif %};
    insert into {{ basis }} (mart, kind, input_key, made_from)
    select '{{ this.identifier }}', 'day', usage_date::text, built_at::text
    from {{ visitor_days }}
    where built_at is not null
{% endmacro %}
