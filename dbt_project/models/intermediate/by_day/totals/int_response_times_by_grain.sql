{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='sync_all_columns',
        full_refresh=false,
        indexes=[{'columns': ['grain', 'starts_on']}],
        pre_hook="{{ delete_touched_grains() }}",
        post_hook="{{ analyze_changed() }}",
    )
}}

{#- No rollup of uses: where an older version has none of it, it is made of the days that
    are there, and no use is read anew. -#}
{%- set shares = ['breakdown', 'prompt_key', 'agent_key', 'model', 'bucket'] %}

with totals as (
    select * from {{ ref('int_prompt_totals_daily') }}
    where breakdown = 'all'
),

days as not materialized (
    select * from {{ ref('int_response_times_daily') }}
),

newest as (
    select max(usage_date) as usage_date from totals
),

-- Whatever is over and not there, each with what it is put together from. Those that a
-- load has touched are not there any more, so nothing depends on the run before.
missing as (
    {%- for grain in grains() %}
    {%- set start = start_of_grain(grain, 'totals.usage_date') %}
    {%- set part = 'day' if loop.first else loop.previtem %}
    select distinct
        '{{ grain }}' as grain,
        {{ start }} as starts_on,
        {{ start_of_grain(part, 'totals.usage_date') }} as part_starts_on
    from totals
    inner join newest
        on {{ start }} < {{ start_of_grain(grain, 'newest.usage_date') }}
    where
        totals.response_time_count > 0
        {%- if is_incremental() %}
        and not exists (
            select 1 from {{ this }} as kept
            where kept.grain = '{{ grain }}' and kept.starts_on = {{ start }}
        )
        {%- endif %}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

{%- for grain in grains() %}
{%- set part = 'day' if loop.first else loop.previtem %}

{{ grain }}_parts as (
    {%- if part == 'day' or is_incremental() %}
    select
        missing.starts_on,
        parts.{{ shares | join(', parts.') }},
        parts.usage_count
    from missing
    -- one after the other, each a range of an index
    cross join
        lateral (
            {%- if part == 'day' %}
            select days.* from days
            where missing.part_starts_on = days.usage_date
            {%- else %}
            select kept.* from {{ this }} as kept
            where
                kept.grain = '{{ part }}'
                and missing.part_starts_on = kept.starts_on
            {%- endif %}
            offset 0  -- noqa: AM09
        ) as parts
    where missing.grain = '{{ grain }}'
    {%- endif %}
    {%- if part != 'day' %}
    {{ 'union all' if is_incremental() }}
    -- an array, as a join of what PostgreSQL can't know the size of may be a nested loop
    select
        {{ start_of_grain(grain, 'starts_on') }} as starts_on,
        {{ shares | join(', ') }},
        usage_count
    from {{ part }}s
    where
        {{ start_of_grain(grain, 'starts_on') }} = any(
            array(
                select missing.starts_on from missing
                where missing.grain = '{{ grain }}'
            )
        )
    {%- endif %}
),

{{ grain }}s as (
    select
        '{{ grain }}' as grain,
        starts_on,
        {{ shares | join(', ') }},
        sum(usage_count)::bigint as usage_count
    from {{ grain }}_parts
    group by starts_on, {{ shares | join(', ') }}
),
{%- endfor %}

final as (
    {%- for grain in grains() %}
    select * from {{ grain }}s
    {{ 'union all' if not loop.last }}
    {%- endfor %}
)

-- read by the stretch, so rows of one lie together, also where all are made at once
select * from final
order by grain, starts_on
