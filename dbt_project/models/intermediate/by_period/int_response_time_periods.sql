{{ config(post_hook="analyze {{ this }}") }}

{#- counts of each period, added up from rows that have them -#}
{%- set sums = [] -%}
{%- for period in period_lengths() -%}
{%- do sums.append('sum(' ~ period ~ '_count)::bigint as ' ~ period ~ '_count') -%}
{%- endfor -%}
{%- set sums = sums | join(',\n        ') %}

with periods as (
    select * from {{ ref('int_periods') }}
),

days as not materialized (
    select * from {{ ref('int_response_times_daily') }}
),

kept as not materialized (
    select * from {{ ref('int_response_times_by_grain') }}
),

prompt_keys as (
    select
        keys.prompt_key,
        keys.prompt_id,
        prompts.domain
    from {{ ref('int_prompt_keys') }} as keys
    inner join {{ ref('int_prompts') }} as prompts
        on keys.prompt_id = prompts.prompt_id
),

agent_keys as (
    select * from {{ ref('int_agent_keys') }}
),

extent as (
    select
        period_start as first_date,
        period_end as last_date
    from periods
    where period = 'all'
),

edges as (
    select period_start as edge from periods
),

spans as (
    {{ spans(grains(), 'kept') | indent }}
),

-- the one pass over history: whatever follows reads as many rows as there are buckets
counted as (
    select
        times.breakdown,
        -- what it is by, be it a prompt, an agent or a model
        coalesce(times.prompt_key, times.agent_key, times.model) as share,
        {%- for period in period_lengths() %}
        coalesce(
            sum(times.usage_count) filter (
                where spans.section_start >= (
                    select periods.period_start from periods
                    where periods.period = '{{ period }}'
                )
            ),
            0
        ) as {{ period }}_count,
        {%- endfor %}
        times.bucket
    from spans
    {{ response_times_of_spans() }}
    group by
        times.breakdown,
        coalesce(times.prompt_key, times.agent_key, times.model),
        times.bucket
),

-- under the names that segments are made by
times as (
    select
        *,
        share as prompt_key,
        share as agent_key,
        share as model
    from counted
),

final as (
    select
        times.bucket,
        'prompt' as scope,
        prompt_keys.prompt_id as segment,
        {{ sums }}
    from times
    inner join prompt_keys on times.prompt_key = prompt_keys.prompt_key
    where times.breakdown = 'prompt'
    group by times.bucket, prompt_keys.prompt_id
    union all
    {{ segments_of('times', 'bucket', sums) }}
)

select * from final
