{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='append_new_columns',
        indexes=[{'columns': ['ends_on']}],
        pre_hook="{{ delete_changed_blocks() }}",
        post_hook=["{{ remember_daily_basis() }}", "analyze {{ this }}"],
    )
}}

{#- A block that is over is the same whatever the as-of date, so it is made once, and made anew
    where one of its days was. -#}

with blocks as (
    select * from {{ ref('int_blocks') }}
),

scopes as (
    select *
    from (
        values
        ('all', 'all'),
        ('model', 'model'),
        ('agent', 'agent'),
        ('domain', 'prompt')
    ) as scopes (scope, breakdown)
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

daily_totals as (
    select * from {{ ref('int_prompt_totals_daily') }}
),

daily_times as (
    select * from {{ ref('int_response_times_daily') }}
),

missing as (
    select
        scopes.scope,
        scopes.breakdown,
        blocks.grain,
        blocks.starts_on,
        blocks.ends_on
    from blocks
    cross join scopes
    {%- if is_incremental() %}
    where
        not exists (
            select 1 from {{ this }} as standing
            where
                standing.ends_on = blocks.ends_on
                and standing.grain = blocks.grain
                and standing.scope = scopes.scope
        )
    {%- endif %}
),

-- a join of days and blocks by equality, which reads no day twice
days as (
    select
        missing.scope,
        missing.breakdown,
        missing.grain,
        missing.starts_on,
        missing.ends_on,
        missing.starts_on + numbers.n as usage_date
    from missing
    cross join generate_series(0, 6) as numbers (n)
    where missing.starts_on + numbers.n <= missing.ends_on
),

wanted as (
    select distinct
        breakdown,
        usage_date
    from days
),

-- day by day, each a range of an index: joined by the day, all days would be read for the few that
-- are wanted. The offset keeps PostgreSQL from making it that join.
totals as not materialized (
    select
        wanted.breakdown,
        wanted.usage_date,
        found.prompt_key,
        found.agent_key,
        found.model,
        {%- for name in segment_counts() %}
        found.{{ name }},
        {%- endfor %}
        found.rating_sum,
        found.response_time_sum_ms,
        found.total_cost
    from wanted
    cross join
        lateral (
            select daily_totals.*
            from daily_totals
            where
                daily_totals.breakdown = wanted.breakdown
                and daily_totals.usage_date = wanted.usage_date
            offset 0  -- noqa: AM09
        ) as found
),

times as not materialized (
    select
        wanted.breakdown,
        wanted.usage_date,
        found.prompt_key,
        found.agent_key,
        found.model,
        found.bucket,
        found.usage_count
    from wanted
    cross join
        lateral (
            select daily_times.*
            from daily_times
            where
                daily_times.breakdown = wanted.breakdown
                and daily_times.usage_date = wanted.usage_date
            offset 0  -- noqa: AM09
        ) as found
),

-- by day first, which makes few rows of many, and then by block
counted_days as (
    {{ segments_of('totals', 'usage_date', segment_sums()) }}
),

counted as (
    select
        days.grain,
        days.starts_on,
        days.ends_on,
        days.scope,
        counted_days.segment,
        {{ segment_sums() }}
    from counted_days
    inner join days
        on
            counted_days.usage_date = days.usage_date
            and counted_days.scope = days.scope
    group by
        days.grain,
        days.starts_on,
        days.ends_on,
        days.scope,
        counted_days.segment
),

bucket_days as (
    {{ segments_of(
        'times', 'usage_date, bucket', 'sum(usage_count) as usage_count'
    ) }}
),

buckets as (
    select
        days.grain,
        days.ends_on,
        days.scope,
        bucket_days.segment,
        bucket_days.bucket,
        sum(bucket_days.usage_count) as usage_count
    from bucket_days
    inner join days
        on
            bucket_days.usage_date = days.usage_date
            and bucket_days.scope = days.scope
    -- dates and numbers first: millions of rows are sorted by them
    group by
        days.ends_on,
        bucket_days.bucket,
        bucket_days.segment,
        days.scope,
        days.grain
),

ranked as (
    select
        *,
        sum(usage_count) over (
            partition by ends_on, segment, scope, grain
            order by bucket
            rows between unbounded preceding and current row
        ) as last_rank,
        sum(usage_count) over (partition by ends_on, segment, scope, grain)
            as total_count
    from buckets
),

-- materialized: inside of a nested loop it would be made anew for every row
percentiles as materialized (
    select
        grain,
        ends_on,
        scope,
        segment,
        {{ ranked_percentile('0.50') }} as p50_response_time_ms,
        {{ ranked_percentile('0.95') }} as p95_response_time_ms
    from ranked
    group by grain, ends_on, scope, segment
),

final as (
    select
        counted.*,
        percentiles.p50_response_time_ms,
        percentiles.p95_response_time_ms
    from counted
    left join percentiles
        on
            counted.grain = percentiles.grain
            and counted.ends_on = percentiles.ends_on
            and counted.scope = percentiles.scope
            and counted.segment is not distinct from percentiles.segment
)

select * from final
