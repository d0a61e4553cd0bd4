"""raw: what was loaded, typed, one table an entity; and what each load did."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = """
create schema if not exists raw;
create schema if not exists analytics;

create table raw.load_batches (
    batch_id bigint generated always as identity primary key,
    source text not null,
    entity text not null,
    location text,
    started_at timestamptz not null,
    finished_at timestamptz not null,
    rows_read bigint not null,
    inserted bigint not null,
    updated bigint not null,
    unchanged bigint not null,
    superseded bigint not null,
    rejected bigint not null,
    values_rejected bigint not null default 0,
    deleted bigint not null default 0,
    watermark jsonb,
    constraint every_row_is_accounted_for
    check (rows_read = inserted + updated + unchanged + superseded + rejected)
);
create index load_batches_by_source on raw.load_batches (source, entity, batch_id desc);

create table raw.load_days (
    batch_id bigint not null references raw.load_batches,
    usage_date date not null,
    primary key (batch_id, usage_date)
);

create table raw.rejected_rows (
    rejected_row_id bigint generated always as identity primary key,
    batch_id bigint not null references raw.load_batches,
    source text not null,
    entity text not null,
    location text not null,
    field text,
    reason text not null,
    payload text,
    rejected_at timestamptz not null default now()
);
create index rejected_rows_by_batch on raw.rejected_rows (batch_id);

create table raw.prompts (
    source text not null,
    prompt_id text not null,
    name text not null,
    display_name text,
    description text,
    domain text,
    complexity_level text,
    status text,
    system_prompt text,
    user_prompt_template text,
    prompt_starter text,
    compliance_tags text[],
    suite text,
    owner text,
    created_at timestamptz,
    updated_at timestamptz,
    batch_id bigint not null,
    loaded_at timestamptz not null,
    deleted_at timestamptz,
    primary key (source, prompt_id)
);

create table raw.prompt_versions (
    source text not null,
    prompt_id text not null,
    version text not null,
    content_hash text not null,
    system_prompt text,
    user_prompt_template text,
    created_at timestamptz,
    created_by text,
    note text,
    batch_id bigint not null,
    loaded_at timestamptz not null,
    deleted_at timestamptz,
    primary key (source, prompt_id, version)
);

create table raw.agents (
    source text not null,
    agent_id text not null,
    name text not null,
    display_name text,
    domain text,
    status text,
    created_at timestamptz,
    updated_at timestamptz,
    batch_id bigint not null,
    loaded_at timestamptz not null,
    deleted_at timestamptz,
    primary key (source, agent_id)
);

create table raw.agent_prompts (
    source text not null,
    agent_id text not null,
    prompt_id text not null,
    created_at timestamptz,
    batch_id bigint not null,
    loaded_at timestamptz not null,
    deleted_at timestamptz,
    primary key (source, agent_id, prompt_id)
);

create table raw.prompt_usage (
    source text not null,
    usage_id text not null,
    prompt_key text not null,
    prompt_version text,
    agent_key text,
    user_key text,
    session_id text,
    model text,
    used_at timestamptz not null,
    updated_at timestamptz,
    response_time_ms double precision,
    success boolean,
    is_error boolean,
    error_type text,
    rating double precision,
    rating_source text,
    input_tokens bigint,
    output_tokens bigint,
    total_tokens bigint,
    cost numeric(20, 10),
    cost_source text,
    ip_hash text,
    user_agent_hash text,
    batch_id bigint not null,
    loaded_at timestamptz not null,
    deleted_at timestamptz,
    primary key (source, usage_id)
);
create index prompt_usage_by_time on raw.prompt_usage (used_at);

create table raw.prompt_texts (
    source text not null,
    usage_id text not null,
    user_prompt text,
    enhanced_prompt text,
    batch_id bigint not null,
    loaded_at timestamptz not null,
    primary key (source, usage_id)
);
"""


def upgrade() -> None:
    op.execute(STATEMENTS)
