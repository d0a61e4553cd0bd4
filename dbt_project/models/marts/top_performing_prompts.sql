with summary as (
    select * from {{ ref('prompt_performance_summary') }}
),

targets as (
    select * from {{ ref('targets') }}
    where scope = 'all'
),

-- what a prompt of which nothing is known would be expected to have
typical as (
    select
        summary.period,
        sum(summary.average_rating * summary.rated_count)
        / nullif(sum(summary.rated_count), 0) as average_rating,
        percentile_cont(0.5) within group (order by summary.cost_per_use)
            as cost_per_use
    from summary
    group by summary.period
),

terms as (
    select
        summary.*,
        -- a few good ratings are drawn to the mean of all: ten ratings of doubt
        (
            coalesce(summary.average_rating * summary.rated_count, 0)
            + {{ var('rating_doubt') }} * coalesce(typical.average_rating, 3)
        ) / (summary.rated_count + {{ var('rating_doubt') }})
            as shrunken_rating,
        -- 0.5 at the target, 1 at no time at all
        coalesce(
            targets.target
            / nullif(targets.target + summary.average_response_time_ms, 0),
            0.5
        ) as speed_score,
        -- 0.5 at the median of all prompts, 1 at no cost at all
        coalesce(
            typical.cost_per_use
            / nullif(typical.cost_per_use + summary.cost_per_use, 0),
            0.5
        ) as cost_score
    from summary
    inner join typical on summary.period = typical.period
    left join targets on targets.metric = 'average_response_time_ms'
    where summary.outcome_count >= {{ var('minimum_outcomes_to_rank') }}
),

weighed as (
    select
        *,
        0.60 * success_rate_low as success_points,
        0.30 * (shrunken_rating - 1) / 4 as rating_points,
        0.05 * speed_score as speed_points,
        0.05 * cost_score as cost_points
    from terms
),

scored as (
    select
        *,
        success_points + rating_points + speed_points + cost_points as score
    from weighed
),

ranked as (
    select
        *,
        row_number() over (
            partition by period
            -- rounded, so that the last bits of a sum decide nothing
            order by
                round(score::numeric, 9) desc,
                usage_count desc,
                prompt_name asc,
                prompt_id asc
        ) as rank
    from scored
),

final as (
    select
        as_of_date,
        period,
        rank,
        row_number() over (partition by period, domain order by rank)
            as domain_rank,
        prompt_id,
        prompt_name,
        domain,
        score,
        success_rate_low,
        shrunken_rating,
        speed_score,
        cost_score,
        success_points,
        rating_points,
        speed_points,
        cost_points,
        {{ points('score') }} || ' of 100 points: '
        || {{ points('success_points') }} || ' of 60 for success (at least '
        || {{ percent('success_rate_low') }} || ', by '
        || outcome_count || ' known outcomes), '
        || {{ points('rating_points') }} || ' of 30 for ratings ('
        || case
            when rated_count = 0 then 'none; taken as '
            else
                round(average_rating::numeric, 2) || ' by ' || rated_count
                || case rated_count when 1 then ' rating' else ' ratings' end
                || '; taken as '
        end
        || round(shrunken_rating::numeric, 2) || '), '
        || {{ points('speed_points') }} || ' of 5 for speed ('
        || coalesce(
            trim_scale(round((average_response_time_ms / 1000)::numeric, 2))
            || ' s on average',
            'not known'
        )
        || ') and '
        || {{ points('cost_points') }} || ' of 5 for cost ('
        || coalesce({{ small_amount('cost_per_use') }} || ' a use', 'not known')
        || ').' as score_explanation,
        usage_count,
        outcome_count,
        success_rate,
        average_rating,
        average_response_time_ms,
        cost_per_use
    from ranked
)

select * from final
