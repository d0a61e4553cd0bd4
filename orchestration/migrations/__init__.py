"""The warehouse's own tables (raw, analytics, ops), as Alembic migrations. The dbt schemas are dbt's."""
