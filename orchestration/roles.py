"""Who may do what in the warehouse: six roles, what each is granted, and which domains an analyst sees.

The roles are groups that nobody logs in as. The program takes on the least of them for each step, where it
is allowed to; where an administrator made none of them, it works as the user that it is.
Knows the schemas, nothing of what their tables mean. Marts and functions are granted by dbt, in the
transaction that makes them (`dbt_project/macros/guard.sql`): here is what stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

LOADER = "prism_loader"
TRANSFORMER = "prism_transformer"
REPORTER = "prism_reporter"
RECIPIENT = "prism_recipient"
ANALYST = "prism_analyst"
ADMIN = "prism_admin"
ROLES: Mapping[str, str] = {
    LOADER: "writes raw, and nothing else",
    TRANSFORMER: "owns what dbt and the statistics make; reads raw and ops",
    REPORTER: "reads the marts whole and keeps ops",
    RECIPIENT: "reads the marts of the domains that a report is made of, and nothing without one",
    ANALYST: "reads marts and api, of the domains in ops.domain_grants; no text, no person",
    ADMIN: "all of these, and grants domains",
}

# Takes its place among the roles of a server that other warehouses may share.
_CREATE: LiteralString = """
do $$
begin
    if to_regrole({literal}) is null then
        create role {role} nologin;
    end if;
exception when duplicate_object or unique_violation then
    null;  -- another warehouse of this server was quicker
end
$$;
grant {role} to {member};
"""

_MEMBERS: LiteralString = """
grant {loader}, {transformer}, {reporter}, {recipient} to {admin};
"""

# What each role may do with what is there; schemas that dbt has not made yet are dbt's own to grant.
_GRANTS: LiteralString = """
grant create, temporary on database {database} to {transformer};
grant temporary on database {database} to {loader};

grant usage on schema raw to {loader}, {transformer};
grant select, insert, update, delete on all tables in schema raw to {loader};
grant usage on all sequences in schema raw to {loader};
grant select on all tables in schema raw to {transformer};

grant usage on schema ops to {transformer}, {reporter};
grant select on all tables in schema ops to {transformer}, {reporter};
grant insert, update on ops.builds to {transformer};
grant insert, update, delete on all tables in schema ops to {reporter};
revoke insert, update, delete on ops.alembic_version, ops.domain_grants from {reporter};
grant usage on all sequences in schema ops to {transformer}, {reporter};

grant select, insert, update, delete on ops.domain_grants to {admin};
grant usage on schema ops to {admin};
-- policies look here with the rights of whoever asks; without usage of ops nobody else reads it
grant select on ops.domain_grants to {analyst};
grant execute on function ops.granted_prompts(), ops.granted_alerts()
to {analyst}, {recipient}, {transformer}, {reporter};
alter table ops.domain_grants enable row level security;
drop policy if exists everything on ops.domain_grants;
create policy everything on ops.domain_grants to {admin}, {transformer}, {reporter} using (true);
drop policy if exists own_grants on ops.domain_grants;
create policy own_grants on ops.domain_grants for select to {analyst} using (
    exists (
        select from pg_catalog.pg_roles as granted
        where granted.rolname = role_name and pg_catalog.pg_has_role(current_user, granted.oid, 'usage')
    )
);
"""

# Whatever dbt or the statistics made before there were roles becomes the transformer's.
_OWNERS: LiteralString = """
do $$
declare
    one record;
begin
    for one in
        select nspname from pg_namespace
        where (
            nspname in ('analytics', 'staging', 'intermediate', 'marts', 'api')
            or nspname ~ '^marts_[0-9]{{8}}$'
        ) and nspowner <> to_regrole({literal})::oid
    loop
        execute format('alter schema %I owner to {transformer}', one.nspname);
    end loop;
    for one in
        select
            n.nspname, c.relname,
            case c.relkind when 'v' then 'view' when 'c' then 'type' else 'table' end as kind
        from pg_class as c inner join pg_namespace as n on c.relnamespace = n.oid
        where (
            n.nspname in ('analytics', 'staging', 'intermediate', 'marts', 'api')
            or n.nspname ~ '^marts_[0-9]{{8}}$'
        ) and c.relkind in ('r', 'v', 'c') and c.relowner <> to_regrole({literal})::oid
    loop
        execute format('alter %s %I.%I owner to {transformer}', one.kind, one.nspname, one.relname);
    end loop;
    for one in
        select p.oid::regprocedure as name
        from pg_proc as p inner join pg_namespace as n on p.pronamespace = n.oid
        where n.nspname = 'api' and p.proowner <> to_regrole({literal})::oid
    loop
        execute format('alter function %s owner to {transformer}', one.name);
    end loop;
end
$$;
"""


def _names(database: str) -> dict[str, sql.Composable]:
    return {
        "loader": sql.Identifier(LOADER),
        "transformer": sql.Identifier(TRANSFORMER),
        "reporter": sql.Identifier(REPORTER),
        "recipient": sql.Identifier(RECIPIENT),
        "analyst": sql.Identifier(ANALYST),
        "admin": sql.Identifier(ADMIN),
        "database": sql.Identifier(database),
        "literal": sql.Literal(TRANSFORMER),
    }


def script(database: str, *, member: str | None = None) -> sql.Composed:
    """All of it as SQL, to be run in the warehouse ``database`` by who owns it, or an administrator.

    ``member`` is the user that Prism connects as, who may take on the roles; None: who runs it. Idempotent:
    it is run again after an update of Prism.
    """
    names = _names(database)
    created = [
        sql.SQL(_CREATE).format(
            role=sql.Identifier(role),
            literal=sql.Literal(role),
            member=sql.Identifier(member) if member else sql.SQL("current_user"),
        )
        for role in ROLES
    ]
    return sql.SQL("").join(
        [*created, *(sql.SQL(part).format(**names) for part in (_MEMBERS, _GRANTS, _OWNERS))]
    )


def script_for(url: str) -> str:
    """The same as text for an administrator's `psql`, for the warehouse and the user of ``url``."""
    parts = conninfo_to_dict(url)
    database, user = str(parts.get("dbname") or "prism"), parts.get("user")
    return script(database, member=str(user) if user else None).as_string(None)


def missing(connection: psycopg.Connection) -> list[str]:
    """The roles that are not there, or that this user may not take on."""
    rows = connection.execute(
        "select rolname from pg_roles where rolname = any(%s) and pg_has_role(oid, 'member')", [list(ROLES)]
    ).fetchall()
    return [role for role in ROLES if role not in {row[0] for row in rows}]


def apply(connection: psycopg.Connection) -> bool:
    """Makes roles and grants, in one step, where the user may: False, and nothing changed, where not."""
    row = connection.execute(
        "select current_database(), rolcreaterole or rolsuper from pg_roles where rolname = current_user"
    ).fetchone()
    if row is None or (not row[1] and missing(connection)):
        return False
    try:
        with connection.transaction():
            # two at once would both change the roles, which all databases of the server share
            connection.execute("select pg_advisory_xact_lock(hashtextextended('prism.roles', 0))")
            connection.execute(script(row[0]))
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def hand_over(connection: psycopg.Connection) -> None:
    """Makes the transformer the owner of all that dbt has made as somebody else, where it is there.

    A bare `dbt build` makes marts of the user's own, which no night could replace.
    """
    if TRANSFORMER not in missing(connection):
        connection.execute(sql.SQL(_OWNERS).format(**_names(connection.info.dbname)))
        connection.commit()


def take_on(connection: psycopg.Connection, role: str) -> bool:
    """Goes on as ``role`` where it is there and this user is a member; False where not."""
    taken = connection.execute(
        "select set_config('role', rolname, false) from pg_roles"
        " where rolname = %s and pg_has_role(oid, 'member')",
        [role],
    ).fetchone()
    if not connection.autocommit:
        connection.commit()  # a rollback would take the role back
    return taken is not None
