with evaluations as (
    select * from {{ ref('int_alert_evaluations') }}
    where as_of_date <= {{ as_of_date() }}
),

nights as (
    select
        as_of_date,
        row_number() over (order by as_of_date) as night,
        lead(as_of_date) over (order by as_of_date) as next_evaluated_on
    from {{ ref('int_alert_nights') }}
    where as_of_date <= {{ as_of_date() }}
),

-- evaluated nights in a row that all crossed the threshold are one episode;
-- a night that was never evaluated breaks none
islands as (
    select
        evaluations.*,
        nights.next_evaluated_on,
        nights.night - row_number() over (
            partition by evaluations.rule, evaluations.prompt_id
            order by nights.night
        ) as island
    from evaluations
    inner join nights on evaluations.as_of_date = nights.as_of_date
),

final as (
    select
        md5(
            rule || ' ' || prompt_id || ' ' || min(as_of_date) over episode
        )::uuid::text as alert_id,
        as_of_date as evaluated_on,
        rule,
        prompt_id,
        prompt_name,
        domain,
        period,
        metric,
        severity,
        observed_value,
        threshold,
        sample_size,
        p50_response_time_ms,
        p95_response_time_ms,
        next_evaluated_on,
        min(as_of_date) over episode as first_detected_on,
        max(as_of_date) over episode as last_detected_on
    from islands
    window episode as (partition by rule, prompt_id, island)
)

select * from final
