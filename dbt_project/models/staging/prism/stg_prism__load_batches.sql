with source as (
    select * from {{ source('raw', 'load_batches') }}
),

renamed as (
    select
        -- ids
        batch_id,
        source,
        -- counts
        rows_read,
        inserted + updated as loaded_rows,
        unchanged as unchanged_rows,
        superseded as superseded_rows,
        rejected as rejected_rows,
        values_rejected as rejected_values,
        -- texts
        note,
        -- times
        started_at,
        finished_at
    from source
)

select * from renamed
