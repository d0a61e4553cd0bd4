{%- set counts = [
    'usage_count', 'outcome_count', 'success_count', 'error_known_count',
    'error_count', 'rated_count', 'response_time_count', 'priced_count',
    'unpriced_count',
] %}

with prompts as (
    select * from {{ ref('int_prompts') }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

usage as (
    select * from {{ ref('int_prompt_totals_daily') }}
    where
        breakdown = 'prompt'
        and usage_date between {{ as_of_date() }} - 29 and {{ as_of_date() }}
),

percentiles as (
    select * from {{ ref('int_response_time_percentiles') }}
    where scope = 'prompt' and period = 'month'
),

sums as (
    select
        prompt_keys.prompt_id,
        {%- for name in counts %}
        sum(usage.{{ name }})::bigint as {{ name }},
        {%- endfor %}
        sum(usage.priced_count + usage.unpriced_count)::bigint
            as priceable_count,
        sum(usage.rating_sum) as rating_sum,
        sum(usage.rating_square_sum) as rating_square_sum
    from usage
    inner join prompt_keys on usage.prompt_key = prompt_keys.prompt_key
    group by prompt_keys.prompt_id
),

known as (
    select
        prompts.prompt_id,
        prompts.mapped_agents,
        prompts.is_listed,
        percentiles.p50_response_time_ms,
        {%- for name in counts + ['priceable_count'] %}
        coalesce(sums.{{ name }}, 0) as {{ name }},
        {%- endfor %}
        sums.rating_sum / nullif(sums.rated_count, 0) as average_rating,
        -- half of a 95 % interval of the mean; null of one rating, which may lie anywhere
        1.959963984540054 * sqrt(
            greatest(
                sums.rating_square_sum
                - sums.rating_sum * sums.rating_sum
                / nullif(sums.rated_count, 0),
                0
            )
            / nullif(sums.rated_count - 1, 0)
            / nullif(sums.rated_count, 0)
        ) as rating_reach,
        coalesce(prompts.status = 'archived', false) as is_archived,
        prompts.is_listed and coalesce(prompts.status = 'active', false)
            as is_active,
        {{ day_of(
            'coalesce(prompts.created_at, prompts.first_used_at)'
        ) }} as known_since,
        {{ as_of_date() }} - {{ day_of(
            'coalesce(prompts.last_used_at, prompts.created_at)'
        ) }} as days_unused
    from prompts
    left join sums on prompts.prompt_id = sums.prompt_id
    left join percentiles on prompts.prompt_id = percentiles.segment
),

-- a draft or an archived prompt that nobody uses needs no advice
advised as (
    select * from known
    where is_active or usage_count > 0
),

shares as (
    select
        advised.prompt_id,
        metrics.metric,
        {{ ratio('metrics.part', 'metrics.whole') }} as observed_value,
        {{ wilson('metrics.part', 'metrics.whole', 'low') }} as value_low,
        {{ wilson('metrics.part', 'metrics.whole', 'high') }} as value_high,
        metrics.whole as sample_size
    from advised
    cross join lateral (
        values
        ('success_rate', advised.success_count, advised.outcome_count),
        ('error_rate', advised.error_count, advised.error_known_count),
        ('rated_share', advised.rated_count, advised.usage_count),
        ('outcome_share', advised.outcome_count, advised.usage_count),
        ('priced_share', advised.priced_count, advised.priceable_count)
    ) as metrics (metric, part, whole)
),

ratings as (
    select
        prompt_id,
        'average_rating' as metric,
        average_rating as observed_value,
        greatest(average_rating - rating_reach, 1) as value_low,
        least(average_rating + rating_reach, 5) as value_high,
        rated_count as sample_size
    from advised
),

-- what has no interval; null where it says nothing of such a prompt
numbers as (
    select
        advised.prompt_id,
        metrics.metric,
        metrics.observed_value,
        null::double precision as value_low,
        null::double precision as value_high,
        metrics.sample_size
    from advised
    cross join lateral (
        values
        (
            'p50_response_time_ms',
            advised.p50_response_time_ms,
            advised.response_time_count
        ),
        ('outcome_count', advised.outcome_count, advised.outcome_count),
        (
            'usage_count',
            case
                when
                    advised.is_active
                    and advised.known_since <= {{ as_of_date() }} - 30
                    then advised.usage_count
            end,
            advised.usage_count
        ),
        (
            'days_unused',
            case when advised.is_active then advised.days_unused end,
            advised.usage_count
        ),
        (
            'mapped_agents',
            case when advised.is_listed then advised.mapped_agents end,
            advised.usage_count
        ),
        (
            'uses_while_archived',
            case when advised.is_archived then advised.usage_count end,
            advised.usage_count
        ),
        (
            'uses_while_unlisted',
            case when not advised.is_listed then advised.usage_count end,
            advised.usage_count
        )
    ) as metrics (metric, observed_value, sample_size)
),

united as (
    select * from shares
    union all
    select * from ratings
    union all
    select * from numbers
),

final as (
    select * from united
    where observed_value is not null
)

select * from final
