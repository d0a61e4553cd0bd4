with source as (
    select * from {{ source('raw', 'reconciliations') }}
),

renamed as (
    select
        -- ids
        source,
        -- days
        usage_date,
        -- counts
        source_count,
        kept_count,
        reported_count,
        inserted as inserted_rows,
        updated as updated_rows,
        deleted as deleted_rows,
        -- verdicts
        agrees as is_reconciled,
        reported_agrees as is_as_reported,
        -- times
        compared_at,
        differed_at
    from source
)

select * from renamed
