"""ops: which domains an analyst's database role sees, and so which prompts and alerts.

``domain_grants.domain`` ``*`` is every domain, and what is of none. The functions run with the caller's
rights: the marts that they read show the caller the granted rows alone.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

STATEMENTS = """
create table ops.domain_grants (
    role_name text not null,
    domain text not null,
    granted_at timestamptz not null default now(),
    primary key (role_name, domain)
);

create function ops.granted_prompts() returns text[]
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp as $$
begin
    return array(select prompt_id from marts.prompts);
end
$$;

create function ops.granted_alerts() returns text[]
language plpgsql stable security invoker set search_path = pg_catalog, pg_temp as $$
begin
    return array(select alert_id from marts.performance_alerts);
end
$$;
revoke execute on function ops.granted_prompts(), ops.granted_alerts() from public;
"""


def upgrade() -> None:
    op.execute(STATEMENTS)
