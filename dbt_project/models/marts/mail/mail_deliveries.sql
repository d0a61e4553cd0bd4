with mails as (
    select * from {{ ref('stg_ops__outbox') }}
    where report_date <= {{ as_of_date() }}
),

deliveries as (
    select * from {{ ref('stg_ops__deliveries') }}
),

attempts as (
    select
        mail_id,
        count(*) as attempt_count,
        count(*) filter (where outcome = 'uncertain') as uncertain_count,
        min(attempted_at) as first_attempt_at,
        max(attempted_at) as last_attempt_at,
        max(attempted_at) filter (where outcome = 'sent') as delivered_at
    from deliveries
    group by mail_id
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        mails.mail_id,
        mails.report,
        mails.report_date,
        mails.copy_number,
        mails.recipient_domain,
        mails.state,
        coalesce(attempts.attempt_count, 0) as attempt_count,
        coalesce(attempts.uncertain_count, 0) as uncertain_count,
        mails.queued_at,
        attempts.first_attempt_at,
        attempts.last_attempt_at,
        attempts.delivered_at,
        mails.reply_code
    from mails
    left join attempts on mails.mail_id = attempts.mail_id
)

select * from final
