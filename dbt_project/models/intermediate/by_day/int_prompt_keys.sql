{{ config(post_hook="analyze {{ this }}") }}

with usage as (
    select
        prompt_key,
        min(first_source) = max(last_source) as has_one_source
    from {{ ref('int_prompt_totals_monthly') }}
    where breakdown = 'prompt'
    group by prompt_key
),

library as (
    select * from {{ ref('int_library_prompts') }}
),

-- two prompts of one name: the elder, so that a newcomer takes no uses from it
names as (
    select distinct on (prompt_name)
        prompt_name,
        prompt_id
    from library
    order by
        prompt_name asc, created_at asc nulls last, source asc, prompt_id asc
),

resolved as (
    select
        usage.prompt_key,
        usage.has_one_source,
        coalesce(
            library.prompt_id,
            names.prompt_id,
            md5('unlisted prompt ' || usage.prompt_key)::uuid::text
        ) as prompt_id,
        coalesce(library.prompt_id, names.prompt_id) is not null as is_listed
    from usage
    left join library on usage.prompt_key = library.prompt_id
    left join names on usage.prompt_key = names.prompt_name
),

final as (
    select
        prompt_key,
        prompt_id,
        is_listed,
        count(*) over (partition by prompt_id) as key_count,
        has_one_source and count(*) over (partition by prompt_id) = 1
            as is_sole_key
    from resolved
)

select * from final
