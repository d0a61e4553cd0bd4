{#- The daily rollups replace the days that new batches touched and leave all others.
    dbt's delete+insert finds what to delete in the new rows, and so would keep the
    rows of a day that has none left: hence a delete of its own, in the transaction
    of the insert. -#}
{% macro delete_touched_days() %}
    {#- outside the condition, so that dbt sees the dependency when it parses -#}
    {%- set touched_days = ref('int_touched_days') -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where usage_date in (select usage_date from {{ touched_days }})
    {%- endif -%}
{% endmacro %}


{#- The uses that the last run read go with the days that they were of: a rollup that is built by
    itself once days were found and their uses were not, as a kill leaves it, would else delete
    the new days and write the old ones a second time. It fails instead. -#}
{% macro drop_touched_usage() %}
    {%- if execute -%}
        {%- set read = adapter.get_relation(this.database, this.schema, 'int_touched_usage') -%}
        {%- if read -%}{%- do adapter.drop_relation(read) -%}{%- endif -%}
    {%- endif -%}
{% endmacro %}


{#- The same for rollups by month: the months that hold a touched day. -#}
{% macro delete_touched_months() %}
    {%- set touched_days = ref('int_touched_days') -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where month_start in (
            select date_trunc('month', usage_date)::date from {{ touched_days }}
        )
    {%- endif -%}
{% endmacro %}


{#- The same for what is kept by stretches of the calendar, once they are over: those that
    hold a touched day, and those that are not over any more, as the newest uses are gone. -#}
{% macro delete_touched_grains() %}
    {%- set touched_days = ref('int_touched_days') -%}
    {%- set totals = ref('int_prompt_totals_daily') -%}
    {%- if is_incremental() -%}
        delete from {{ this }} as kept
        using (
            {%- for grain in grains() %}
            select
                '{{ grain }}' as grain,
                {{ start_of_grain(grain, 'usage_date') }} as starts_on
            from {{ touched_days }}
            {{ 'union' if not loop.last }}
            {%- endfor %}
        ) as touched
        where kept.grain = touched.grain and kept.starts_on = touched.starts_on;
        delete from {{ this }} as kept
        using (
            {%- for grain in grains() %}
            select
                '{{ grain }}' as grain,
                {{ start_of_grain(grain, 'max(usage_date)') }} as starts_on
            from {{ totals }}
            where breakdown = 'all'
            {{ 'union all' if not loop.last }}
            {%- endfor %}
        ) as running
        where kept.grain = running.grain and kept.starts_on >= running.starts_on
    {%- endif -%}
{% endmacro %}


{#- What the last runs incorporated, or none before the first. The table is written at
    the end of a run and read at the beginning of the next, so it can't be a ref. -#}
{% macro incorporated_batches() %}
    {{ return(adapter.get_relation(
        this.database, 'intermediate', 'int_incorporated_batches'
    ) if execute else none) }}
{% endmacro %}


{#- Forgets what was incorporated where every day must be built anew: on a full refresh,
    in another time zone, or where a rollup or a column of one is missing, as after a
    newer version brought it. Runs before any rollup, so that a run killed between two
    of them still ends up with all days in one zone. -#}
{% macro forget_incorporated_batches() %}
    {%- set incorporated = incorporated_batches() -%}
    {%- if incorporated -%}
        {%- set missing = [] -%}
        {%- for node in graph.nodes.values() if 'rollup' in node.tags -%}
            {%- set rollup = adapter.get_relation(node.database, node.schema, node.alias) -%}
            {%- set columns = adapter.get_columns_in_relation(rollup) if rollup else [] -%}
            {%- set names = columns | map(attribute='name') | list -%}
            {%- do missing.extend(node.columns.keys() | reject('in', names)) -%}
        {%- endfor -%}
        delete from {{ incorporated }}
        {%- if not (flags.FULL_REFRESH or missing) %}
        where timezone <> '{{ var("timezone") }}'
        {%- endif -%}
    {%- endif -%}
{% endmacro %}


{#- An index that tables made by an older version get, too: dbt's `indexes` are for tables
    that it makes anew. To stand in a config, so it gives the statement as it is rendered
    later. -#}
{% macro index_by(columns) -%}
    {{ return(
        'create index if not exists "{{ this.identifier }}_by_' ~ columns[0]
        ~ '" on {{ this }} (' ~ columns | join(', ') ~ ')'
    ) }}
{%- endmacro %}


{#- Statistics for the planner, taken once the table has grown by a tenth since they were last
    taken, or once that much of it changes. A night changes one day of many, and taking them
    of a long history would cost as much as the change. (The server's own count of changes is of
    no use: taken in the transaction that wrote the rows, it goes on to count these.) -#}
{% macro analyze_changed() %}
do $analyze$
begin
    if (
        select
            pg_stat_get_xact_tuples_inserted(oid)
            + pg_stat_get_xact_tuples_deleted(oid)
            > reltuples / 10
            or pg_relation_size(oid)
            > 1.1 * relpages * current_setting('block_size')::integer
        from pg_class where oid = '{{ this }}'::regclass
    ) then
        analyze {{ this }};
    end if;
end
$analyze$
{% endmacro %}


{#- The indexes that a table of an older version has over a column that nothing looks up any
    more: each row that is written would cost a page of them. -#}
{% macro drop_indexes_over(column) %}
do $drop$
declare
    obsolete regclass;
begin
    for obsolete in
        select pg_index.indexrelid
        from pg_index
        inner join pg_attribute
            on
                pg_index.indrelid = pg_attribute.attrelid
                and pg_attribute.attnum = any(pg_index.indkey)
        where
            pg_index.indrelid = '{{ this }}'::regclass
            and pg_attribute.attname = '{{ column }}'
    loop
        execute format('drop index %s', obsolete);
    end loop;
end
$drop$
{% endmacro %}
