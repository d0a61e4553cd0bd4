with usage as (
    select * from {{ ref('int_prompt_usage_daily') }}
    where usage_date <= {{ as_of_date() }}
),

prompt_keys as (
    select * from {{ ref('int_prompt_keys') }}
),

prompts as (
    select * from {{ ref('int_prompts') }}
),

agent_keys as (
    select * from {{ ref('int_agent_keys') }}
),

final as (
    select
        -- the grain
        usage.usage_date,
        prompts.prompt_id,
        prompts.prompt_name,
        usage.prompt_version,
        agent_keys.agent_name,
        usage.model,
        -- counts
        sum(usage.usage_count)::bigint as usage_count,
        sum(usage.outcome_count)::bigint as outcome_count,
        sum(usage.success_count)::bigint as success_count,
        sum(usage.error_known_count)::bigint as error_known_count,
        sum(usage.error_count)::bigint as error_count,
        sum(usage.rated_count)::bigint as rated_count,
        sum(usage.response_time_count)::bigint as response_time_count,
        sum(usage.priced_count)::bigint as priced_count,
        sum(usage.priced_success_count)::bigint as priced_success_count,
        sum(usage.unpriced_count)::bigint as unpriced_count,
        -- sums, null over no known value
        sum(usage.rating_sum) as rating_sum,
        sum(usage.response_time_sum_ms) as response_time_sum_ms,
        sum(usage.input_tokens)::bigint as input_tokens,
        sum(usage.output_tokens)::bigint as output_tokens,
        sum(usage.total_tokens)::bigint as total_tokens,
        sum(usage.total_cost)::numeric(20, 10) as total_cost,
        -- what the spread of single uses is computed from
        sum(usage.rating_square_sum) as rating_square_sum,
        sum(usage.cost_square_sum) as cost_square_sum,
        sum(usage.response_time_log_count)::bigint as response_time_log_count,
        sum(usage.response_time_log_sum) as response_time_log_sum,
        sum(usage.response_time_log_square_sum) as response_time_log_square_sum
    from usage
    inner join prompt_keys on usage.prompt_key = prompt_keys.prompt_key
    inner join prompts on prompt_keys.prompt_id = prompts.prompt_id
    left join agent_keys on usage.agent_key = agent_keys.agent_key
    group by
        usage.usage_date,
        prompts.prompt_id,
        prompts.prompt_name,
        usage.prompt_version,
        agent_keys.agent_name,
        usage.model
)

select * from final
