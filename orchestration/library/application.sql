-- The application's own tables: the prompt library and the log of its uses.
--
-- Names are unqualified: the caller sets the search path to the schema that is to hold them
-- (orchestration/library/application.py). Running it again changes nothing.

create table if not exists prompts (
    id uuid primary key default gen_random_uuid(),
    name text not null unique check (btrim(name) <> ''),
    display_name text,
    description text,
    domain text,
    complexity_level text
    check (complexity_level in ('basic', 'intermediate', 'advanced', 'expert')),
    status text not null default 'draft' check (status in ('draft', 'active', 'archived')),
    system_prompt text,
    user_prompt_template text,
    prompt_starter text,
    compliance_tags text[] not null default '{}',
    suite text,
    owner text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table if not exists prompt_versions (
    prompt_id uuid not null references prompts on delete cascade,
    version integer not null check (version >= 1),
    system_prompt text,
    user_prompt_template text,
    created_at timestamptz not null default now(),
    created_by text,
    note text,
    primary key (prompt_id, version)
);

create table if not exists agents (
    id uuid primary key default gen_random_uuid(),
    name text not null unique check (btrim(name) <> ''),
    display_name text,
    domain text,
    status text not null default 'active' check (status in ('draft', 'active', 'archived')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table if not exists agent_prompts (
    agent_id uuid not null references agents on delete cascade,
    prompt_id uuid not null references prompts on delete cascade,
    created_at timestamptz not null default now(),
    primary key (agent_id, prompt_id)
);
create index if not exists agent_prompts_by_prompt on agent_prompts (prompt_id);

-- Who changed what of the library through Prism, when and why: one row a change and prompt, written with
-- it. Not a foreign key: what is on record outlives the prompt.
create sequence if not exists prompt_change_ids;
create table if not exists prompt_changes (
    change_id bigint not null,
    prompt_id text not null,
    prompt_name text not null,
    action text not null,
    -- field -> {"before": …, "after": …}
    changed jsonb not null,
    -- the version that the change made of the prompt's texts
    version integer,
    changed_at timestamptz not null default now(),
    changed_by text not null,
    reason text,
    primary key (change_id, prompt_id)
);
create index if not exists prompt_changes_by_prompt on prompt_changes (prompt_id, change_id);

-- A prompt with uses can be archived, not deleted. The version is not a foreign key: a use must not
-- be lost because its version was never written down.
create table if not exists prompt_usage (
    id uuid primary key default gen_random_uuid(),
    prompt_id uuid not null references prompts,
    prompt_version integer check (prompt_version >= 1),
    agent_id uuid references agents on delete set null,
    user_id text,
    session_id text,
    user_prompt text,
    enhanced_prompt text,
    model text,
    response_time_ms integer check (response_time_ms >= 0),
    success boolean,
    error_type text,
    rating smallint check (rating between 1 and 5),
    tokens_used bigint check (tokens_used >= 0),
    input_tokens bigint check (input_tokens >= 0),
    output_tokens bigint check (output_tokens >= 0),
    cost numeric(20, 10) check (cost >= 0),
    ip_address inet,
    user_agent text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
-- the loader reads pages of this key
create index if not exists prompt_usage_by_change on prompt_usage (updated_at, id);
create index if not exists prompt_usage_by_prompt on prompt_usage (prompt_id, created_at);
create index if not exists prompt_usage_by_agent on prompt_usage (agent_id);

create or replace function set_updated_at() returns trigger
language plpgsql
as $$
begin
    new.updated_at := now();
    return new;
end
$$;

create or replace trigger prompts_updated_at
before update on prompts
for each row when (old.* is distinct from new.*)
execute function set_updated_at();

create or replace trigger agents_updated_at
before update on agents
for each row when (old.* is distinct from new.*)
execute function set_updated_at();

create or replace trigger prompt_usage_updated_at
before update on prompt_usage
for each row when (old.* is distinct from new.*)
execute function set_updated_at();
