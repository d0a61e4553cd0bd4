{{ config(pre_hook="{{ forget_incorporated_batches() }}") }}

{%- set incorporated = incorporated_batches() %}

with batches as (
    select * from {{ ref('stg_prism__load_batches') }}
),

pending as (
    select batches.batch_id
    from batches
    {%- if incorporated %}
    where
        not exists (
            select 1 from {{ incorporated }} as incorporated
            where incorporated.batch_id = batches.batch_id
        )
    {%- endif %}
)

select * from pending
