{#- The marts by day grow with every day, so they are kept and changed where what they are
    made of has changed: days that were built anew, prompts and agents that are called
    otherwise, prompts that have moved to another domain. So are the blocks of days of
    segments. What each was made of stands in int_daily_basis, which it writes in its own
    transaction; int_daily_changes is the difference. -#}
{% macro daily_marts() -%}
    {{ return(['prompt_usage_daily', 'usage_daily_totals', 'int_segment_blocks']) }}
{%- endmacro %}


{#- Those of them that are there with all their columns. The others are made whole, and so
    are all of them on a full refresh and beside the marts, where nothing is remembered. -#}
{% macro daily_marts_that_stand() -%}
    {%- set standing = [] -%}
    {%- if execute and not flags.FULL_REFRESH and var('marts_schema') == 'marts' -%}
        {%- for name in daily_marts() -%}
            {%- set node = graph.nodes['model.prism.' ~ name] -%}
            {%- set mart = adapter.get_relation(node.database, node.schema, node.alias) -%}
            {%- set columns = adapter.get_columns_in_relation(mart) if mart else [] -%}
            {%- set missing = node.columns.keys()
                | reject('in', columns | map(attribute='name') | list) | list -%}
            {%- if mart and not missing -%}
                {%- do standing.append(name) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(standing) }}
{%- endmacro %}


{% macro delete_daily_changes() %}
    {#- outside the condition, so that dbt sees the dependency when it parses -#}
    {%- set changes = ref('int_daily_changes') -%}
    {%- if is_incremental() %}
        delete from {{ this }} where usage_date > {{ as_of_date() }};
        {%- for column in ['usage_date', 'prompt_id', 'agent_name']
            if column in model.columns %}
        delete from {{ this }}
        where {{ column }} in (
            select {{ column }} from {{ changes }} as changes
            where changes.mart = '{{ this.identifier }}' and changes.{{ column }} is not null
        );
        {%- endfor %}
    {%- endif -%}
{% endmacro %}


{#- Blocks that hold a day that was built anew, those of a scope in which something is called
    otherwise or has moved, and those that are looked at no more: from before any, and the last
    week as it was so far. -#}
{% macro delete_changed_blocks() %}
    {#- outside the condition, so that dbt sees the dependency when it parses -#}
    {%- set changes = ref('int_daily_changes') -%}
    {%- set blocks = ref('int_blocks') -%}
    {%- if is_incremental() %}
        delete from {{ this }} as standing
        where
            not exists (
                select 1 from {{ blocks }} as blocks
                where
                    blocks.grain = standing.grain
                    and blocks.starts_on = standing.starts_on
                    and blocks.ends_on = standing.ends_on
            )
            or exists (
                select 1 from {{ changes }} as changes
                where
                    changes.mart = '{{ this.identifier }}'
                    and (
                        changes.usage_date between standing.starts_on and standing.ends_on
                        or changes.domain is not null and standing.scope = 'domain'
                        or changes.agent_name is not null and standing.scope = 'agent'
                    )
            )
    {%- endif -%}
{% endmacro %}


{% macro remember_daily_basis() %}
    {%- set basis = ref('int_daily_basis') -%}
    {%- set inputs = ref('int_daily_inputs') -%}
    {%- if var('marts_schema') == 'marts' -%}
        delete from {{ basis }} where mart = '{{ this.identifier }}';
        insert into {{ basis }} (mart, kind, input_key, made_from, shown_as)
        select '{{ this.identifier }}', kind, input_key, made_from, shown_as from {{ inputs }}
    {%- endif -%}
{% endmacro %}


{#- In a build the days that it has changed are tested; by hand (`dbt test`) all of them. -#}
{% macro days_to_test(mart, column='usage_date') -%}
    {%- set changes = ref('int_daily_changes') -%}
    {%- if flags.WHICH == 'test' -%}
        true
    {%- else -%}
        {{ column }} in (
            select changes.usage_date from {{ changes }} as changes
            where changes.mart = '{{ mart }}'
        )
    {%- endif -%}
{%- endmacro %}
