-- read once a scope, each time just what is of it: kept aside it would be written out whole
with totals as not materialized (
    select * from {{ ref('int_prompt_spans') }}
),

prompt_keys as (
    select
        keys.prompt_key,
        prompts.domain
    from {{ ref('int_prompt_keys') }} as keys
    inner join {{ ref('int_prompts') }} as prompts
        on keys.prompt_id = prompts.prompt_id
),

agent_keys as (
    select * from {{ ref('int_agent_keys') }}
),

periods as (
    select * from {{ ref('int_periods') }}
),

percentiles as (
    select * from {{ ref('int_response_time_percentiles') }}
    where scope <> 'prompt'
),

-- every section is read once, however many periods hold it
sections as (
    {{ segments_of('totals', 'section_start', segment_sums()) }}
),

counted as (
    select
        periods.as_of_date,
        periods.period,
        sections.scope,
        sections.segment,
        {{ segment_sums() }}
    from sections
    inner join periods on sections.section_start >= periods.period_start
    group by
        periods.as_of_date,
        periods.period,
        sections.scope,
        sections.segment
),

final as (
    select
        counted.as_of_date,
        counted.period,
        counted.scope,
        counted.segment,
        {{ segment_metrics() }}
    from counted
    left join percentiles
        on
            counted.period = percentiles.period
            and counted.scope = percentiles.scope
            and counted.segment is not distinct from percentiles.segment
)

select * from final
