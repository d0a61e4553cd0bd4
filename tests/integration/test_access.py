"""Who may see what in the warehouse: each role logs in after each kind of rebuild, and nothing leaks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from orchestration import roles
from orchestration import warehouse as warehouses
from orchestration.postgres import EmbeddedServer
from orchestration.warehouse import Warehouse
from reports.domains import reading_domains
from reports.errors import ReportError
from tests.dbt import run_dbt
from tests.oracle import life, raw

pytestmark = pytest.mark.integration

AS_OF = date(2025, 3, 31)
PROGRAM = (roles.LOADER, roles.TRANSFORMER, roles.REPORTER)


def build(warehouse: Warehouse, *arguments: str, **variables: Any) -> None:
    run_dbt(warehouse, "run", *arguments, vars={"as_of_date": AS_OF.isoformat(), **variables})


@pytest.fixture(scope="module")
def built(module_warehouse: Warehouse) -> Warehouse:
    with module_warehouse.connect() as connection:
        raw.write(connection, "prompts", life.prompts())
        raw.write(connection, "prompt_usage", life.uses(5, AS_OF, "UTC", count=900))
    run_dbt(module_warehouse, "seed")
    build(module_warehouse)
    return module_warehouse


@pytest.fixture
def owner(built: Warehouse) -> Iterator[psycopg.Connection[Any]]:
    with built.connect(autocommit=True) as opened:
        yield opened


@pytest.fixture
def analyst(owner: psycopg.Connection[Any]) -> Iterator[str]:
    """A database role of an analyst, without a domain."""
    name = f"analyst_of_{owner.info.dbname}"
    owner.execute(sql.SQL("create role {} login in role prism_analyst").format(sql.Identifier(name)))
    yield name
    owner.execute("delete from ops.domain_grants")
    owner.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@contextmanager
def acting(warehouse: Warehouse, role: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of who has logged in as ``role``; as one of Prism's, which nobody logs in as, by its user."""
    if role in roles.ROLES:
        with warehouse.acting_as(role).connect(autocommit=True) as connection:
            yield connection
    else:
        with psycopg.connect(warehouse.url, user=role, autocommit=True) as connection:
            assert connection.execute("select session_user").fetchone() == (role,)
            yield connection


def grant(owner: psycopg.Connection[Any], role: str, *domains: str) -> None:
    for domain in domains:
        owner.execute("insert into ops.domain_grants (role_name, domain) values (%s, %s)", [role, domain])


def marts(owner: psycopg.Connection[Any]) -> dict[str, set[str]]:
    """Every mart with its columns."""
    found: dict[str, set[str]] = {}
    for table, column in owner.execute(
        "select table_name, column_name from information_schema.columns where table_schema = 'marts'"
    ):
        found.setdefault(table, set()).add(column)
    return found


def count(connection: psycopg.Connection[Any], mart: str, condition: str = "true") -> int:
    query = f"select count(*) from marts.{mart} where {condition}"
    row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return int(row[0])


def assert_sees_just(warehouse: Warehouse, owner: psycopg.Connection[Any], analyst: str, domain: str) -> None:
    """Of each mart the analyst sees all rows of the domain, and no other."""
    mine = {
        "domain": f"domain = '{domain}'",
        "prompt_id": f"prompt_id in (select prompt_id from marts.prompts where domain = '{domain}')",
        "alert_id": f"alert_id in (select alert_id from marts.performance_alerts where domain = '{domain}')",
    }
    special = {
        "performance_by_segment": f"scope = 'domain' and segment = '{domain}'",
        "performance_over_time": f"scope = 'domain' and segment = '{domain}'",
        "rules_in_force": f"scope_value is null or scope = 'domain' and scope_value = '{domain}'",
    }
    expected, seen = {}, {}
    with acting(warehouse, analyst) as connection:
        for mart, columns in marts(owner).items():
            if mart == "prompt_library":
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    count(connection, mart)
                continue
            identity = next((mine[one] for one in mine if one in columns), "false")
            expected[mart] = count(owner, mart, special.get(mart, identity))
            seen[mart] = count(connection, mart)
    assert seen == expected
    assert expected["prompts"] and expected["prompt_usage_daily"] and not expected["dashboard_metrics"]


def domain_of_most(owner: psycopg.Connection[Any]) -> str:
    row = owner.execute(
        "select domain from marts.prompt_performance_summary where domain <> 'unlisted' and usage_count > 0"
        " group by 1 order by sum(usage_count) desc limit 1"
    ).fetchone()
    assert row is not None
    return str(row[0])


def test_an_analyst_sees_the_granted_domain_alone_after_every_kind_of_rebuild(
    built: Warehouse, owner: psycopg.Connection[Any], analyst: str
) -> None:
    domain = domain_of_most(owner)
    grant(owner, analyst, domain)
    assert_sees_just(built, owner, analyst, domain)
    build(built, "--select", "prompts", "performance_alerts")  # what others are looked up by
    assert_sees_just(built, owner, analyst, domain)
    build(built, "--select", "prompt_usage_daily", "cost_analysis", "--full-refresh")
    assert_sees_just(built, owner, analyst, domain)


def test_without_a_grant_there_is_nothing_and_with_the_star_everything(
    built: Warehouse, owner: psycopg.Connection[Any], analyst: str
) -> None:
    names = [mart for mart in marts(owner) if mart != "prompt_library"]
    with acting(built, analyst) as connection:
        assert {mart: count(connection, mart) for mart in names if mart != "rules_in_force"} == {
            mart: 0 for mart in names if mart != "rules_in_force"
        }
        grant(owner, analyst, "*")
        assert {mart: count(connection, mart) for mart in names} == {
            mart: count(owner, mart) for mart in names
        }


def test_the_functions_show_what_the_caller_may_see(
    built: Warehouse, owner: psycopg.Connection[Any], analyst: str
) -> None:
    domain = domain_of_most(owner)
    grant(owner, analyst, domain)
    with acting(built, analyst) as connection:
        found = connection.execute(
            "select distinct domain from api.get_prompt_performance_summary(period => 'all')"
        ).fetchall()
        assert found == [(domain,)]
        for function in ("get_top_performing_prompts(period => 'all')", "get_performance_alerts()",
                         "get_prompt_recommendations()"):  # fmt: skip
            seen = connection.execute(f"select prompt_id from api.{function}").fetchall()  # type: ignore[call-overload]
            mine = owner.execute("select prompt_id from marts.prompts where domain = %s", [domain]).fetchall()
            assert set(seen) <= set(mine), function


# what is said of all domains together and of none of them
OF_ALL = ("total_agents", "mapped_agents", "average_mappings_per_agent")
# counts of alerts: those of `dashboard_metrics` are with alerts that are of no domain
ALERTS = {"open_alerts": "true"} | {
    f"{severity}_alerts": f"severity = '{severity}'" for severity in ("high", "medium", "low")
}


def test_the_dashboard_of_an_analyst_is_the_sum_of_the_domains_granted(
    built: Warehouse, owner: psycopg.Connection[Any], analyst: str
) -> None:
    def dashboard(connection: psycopg.Connection[Any], period: str) -> dict[str, Any]:
        with connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute("select * from api.get_dashboard_metrics(%s)", [period]).fetchone()
        return row or {}

    def alerts_of(*granted: str) -> dict[str, int]:
        mine = f"state <> 'resolved' and domain = any(array{list(granted)})"
        return {
            name: count(owner, "performance_alerts", f"{mine} and {wanted}")
            for name, wanted in ALERTS.items()
        }

    domains = [row[0] for row in owner.execute("select distinct domain from marts.prompts").fetchall()]
    assert len(domains) > 2
    with acting(built, analyst) as connection:
        assert dashboard(connection, "month") == {}  # nothing was granted
        grant(owner, analyst, domain_of_most(owner))
        for period in ("month", "year", "all"):
            found = owner.execute(
                "select usage_count, success_rate, average_rating, average_response_time_ms, total_cost"
                " from marts.performance_by_segment where period = %s and scope = 'domain' and segment = %s",
                [period, domain_of_most(owner)],
            ).fetchone()
            assert found is not None
            mine = dashboard(connection, period)
            assert mine["usage_count"] == found[0] > 0
            assert list(mine.values())[13:16] == pytest.approx(list(found[1:4]))
            assert mine["total_cost"] == found[4]
            assert {name: mine[name] for name in ALERTS} == alerts_of(domain_of_most(owner))
        # the domains of prompts without one are nobody's but the star's
        owner.execute("update marts.prompts set domain = 'none' where domain is null")
        owner.execute("update marts.prompt_performance_summary set domain = 'none' where domain is null")
        try:
            grant(owner, analyst, "none", *(one for one in domains if one and one != domain_of_most(owner)))
            for period in ("day", "week", "month", "quarter", "year", "all"):
                whole, mine = dashboard(owner, period), dashboard(connection, period)
                assert [mine.pop(name) for name in OF_ALL] == [None] * len(OF_ALL)
                whole = {name: value for name, value in whole.items() if name not in OF_ALL}
                whole |= alerts_of("none", *filter(None, domains))
                assert whole["open_alerts"] > whole["high_alerts"] > 0
                assert {name: pytest.approx(value) for name, value in whole.items()} == mine, period
        finally:
            owner.execute("update marts.prompts set domain = null where domain = 'none'")
            owner.execute("update marts.prompt_performance_summary set domain = null where domain = 'none'")


def test_a_report_is_read_as_who_sees_its_domains_alone(
    built: Warehouse, owner: psycopg.Connection[Any]
) -> None:
    domain = domain_of_most(owner)
    mine = {
        row[0] for row in owner.execute("select prompt_id from marts.prompts where domain = %s", [domain])
    }
    with built.acting_as(roles.REPORTER).connect(autocommit=True) as connection:
        with reading_domains(connection, "marts", AS_OF, [domain]) as seen:
            assert set(seen.prompts()["prompt_id"]) == set(seen.summary()["prompt_id"]) == mine
            assert set(seen.segments()["segment"]) == {None, domain}
            for mart, columns in marts(owner).items():
                if "domain" in columns:
                    assert count(connection, mart, f"domain is distinct from '{domain}'") == 0
                if "prompt_id" in columns:
                    strangers = f"prompt_id is null or prompt_id <> all(array{sorted(mine)})"
                    assert count(connection, mart, strangers) == 0
            for mart in ("dashboard_metrics", "usage_by_hour", "data_quality", "mail_deliveries"):
                assert count(connection, mart) == 0
        # it sees all again, and nothing where no domain is named
        assert count(connection, "prompts") == count(owner, "prompts")
        with connection.transaction():
            connection.execute("set local role prism_recipient")
            assert count(connection, "prompts") == count(connection, "prompt_library") == 0
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute("select * from ops.outbox")


def test_a_report_of_some_domains_is_refused_where_nothing_keeps_them_apart(
    built: Warehouse, owner: psycopg.Connection[Any], analyst: str
) -> None:
    domain = domain_of_most(owner)
    grant(owner, analyst, "*")

    def read(connection: psycopg.Connection[Any]) -> None:
        with reading_domains(connection, "marts", AS_OF, [domain]) as seen:
            seen.prompts()

    with built.acting_as(roles.REPORTER).connect(autocommit=True) as connection:
        for spoil, mend, message in (
            (
                "alter table marts.prompts disable row level security",
                "alter table marts.prompts enable row level security",
                "nothing guards the rows of prompts",
            ),
            (
                "revoke select on marts.prompts from prism_recipient",
                "grant select on marts.prompts to prism_recipient",
                "before there was a role",
            ),
        ):
            owner.execute(spoil)
            try:
                with pytest.raises(ReportError, match=message):
                    read(connection)
            finally:
                owner.execute(mend)
        read(connection)
    with acting(built, analyst) as connection, pytest.raises(ReportError, match="needs the role"):
        read(connection)


def test_an_analyst_reads_no_text_no_person_and_nothing_private(
    built: Warehouse, owner: psycopg.Connection[Any], analyst: str
) -> None:
    grant(owner, analyst, "*")
    private = owner.execute(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c"
        " join pg_namespace n on c.relnamespace = n.oid"
        " where n.nspname in ('raw', 'ops', 'staging', 'intermediate', 'analytics')"
        " and c.relkind in ('r', 'v')"
    ).fetchall()
    assert len(private) > 30
    with acting(built, analyst) as connection:
        for (table,) in [*private, ("marts.prompt_library",)]:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"select * from {table} limit 1")  # type: ignore[call-overload]
        for statement in (
            "insert into ops.domain_grants values ('x', '*')",
            "delete from marts.prompts",
            "create table marts.mine ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_a_role_that_was_given_nothing_is_refused(built: Warehouse, owner: psycopg.Connection[Any]) -> None:
    stranger = f"stranger_of_{owner.info.dbname}"
    owner.execute(sql.SQL("create role {} login").format(sql.Identifier(stranger)))
    try:
        with acting(built, stranger) as connection:
            for statement in ("select * from marts.prompts", "select * from api.get_dashboard_metrics()"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
    finally:
        owner.execute(sql.SQL("drop role {}").format(sql.Identifier(stranger)))


@pytest.mark.parametrize(
    ("role", "refused"),
    [
        (roles.LOADER, ["select * from marts.prompts", "select * from ops.outbox", "create table raw.x ()"]),
        (roles.TRANSFORMER, ["delete from raw.prompt_usage", "delete from ops.outbox", "table app.prompts"]),
        (roles.REPORTER, ["table raw.prompt_usage", "delete from marts.prompts", "table raw.prompt_texts"]),
    ],
)
def test_each_step_may_do_its_own_and_no_more(
    built: Warehouse, owner: psycopg.Connection[Any], role: str, refused: list[str]
) -> None:
    owner.execute("create schema if not exists app")
    owner.execute("create table if not exists app.prompts ()")
    with built.acting_as(role).connect(autocommit=True) as connection:
        for statement in refused:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)  # type: ignore[call-overload]
        connection.rollback()
        assert connection.execute("select current_user").fetchone() == (role,)


def test_the_catalogue_shows_no_gap(owner: psycopg.Connection[Any]) -> None:
    open_marts = owner.execute(
        "select relname from pg_class where relnamespace = 'marts'::regnamespace"
        " and relkind in ('r', 'v', 'm') and not relrowsecurity"
    ).fetchall()
    assert open_marts == []
    strangers = owner.execute(
        "select relname, grantee::regrole::text from pg_class, aclexplode(relacl)"
        " where relnamespace = 'marts'::regnamespace and grantee::regrole::text not in"
        " ('prism_transformer', 'prism_analyst', 'prism_recipient', 'prism_reporter')"
    ).fetchall()
    assert strangers == []
    functions = owner.execute(
        "select proname, prosecdef, proconfig, has_function_privilege('public', oid, 'execute')"
        " from pg_proc where pronamespace = 'api'::regnamespace"
    ).fetchall()
    assert len(functions) >= 5
    assert {(row[1], row[2][0], row[3]) for row in functions} == {
        (False, "search_path=pg_catalog, pg_temp", False)
    }
    assert owner.execute("select count(*) from pg_default_acl").fetchone() == (0,)


def test_a_mart_that_is_a_view_is_read_with_the_rights_of_whoever_asks(
    built: Warehouse, owner: psycopg.Connection[Any], analyst: str
) -> None:
    mart, domain = "performance_distribution", domain_of_most(owner)
    grant(owner, analyst, domain)
    run_dbt(built, "run", "--select", mart, vars={"as_of_date": AS_OF.isoformat()}, views=[mart])
    try:
        assert owner.execute(
            "select reloptions from pg_class where oid = 'marts.performance_distribution'::regclass"
        ).fetchone() == (["security_invoker=true"],)
        spread = "scope = 'all' and period = 'all' and metric = 'success_rate'"
        with acting(built, analyst) as connection:
            seen = connection.execute(f"select sum(prompt_count) from marts.{mart} where {spread}").fetchone()  # type: ignore[call-overload]
        known = f"domain = '{domain}' and period = 'all' and success_rate is not null"
        assert seen == (count(owner, "prompt_performance_summary", known),) > (0,)
    finally:
        build(built, "--select", mart)


# marts that are quick to make, guarded by domain, prompt, alert and scope
REBUILT = ("prompts", "alert_events", "alert_evidence", "performance_distribution", "rules_in_force")
RUNS = 20


def test_nothing_leaks_while_marts_are_made_anew_a_hundred_times(
    built: Warehouse, owner: psycopg.Connection[Any], analyst: str
) -> None:
    grant(owner, analyst, domain_of_most(owner))
    made_by = "select relfilenode from pg_class where oid = 'marts.{}'::regclass"
    over, polls, wrong = threading.Event(), dict.fromkeys(REBUILT, 0), []
    with acting(built, analyst) as connection:
        mine = {mart: count(connection, mart) for mart in REBUILT}
        assert all(mine[mart] < count(owner, mart) for mart in ("prompts", "alert_events"))

        def poll() -> None:
            while not over.is_set():
                for mart in REBUILT:
                    try:
                        seen = count(connection, mart)
                    except psycopg.Error as error:
                        wrong.append((mart, str(error)))
                        continue
                    polls[mart] += 1
                    if seen != mine[mart]:
                        wrong.append((mart, seen))

        watcher = threading.Thread(target=poll)
        watcher.start()
        files = set()
        try:
            for _ in range(RUNS):
                build(built, "--select", *REBUILT)
                files |= {owner.execute(made_by.format(mart)).fetchone() for mart in REBUILT}  # type: ignore[call-overload]
        finally:
            over.set()
            watcher.join()
    assert len(files) == RUNS * len(REBUILT) == 100
    assert not wrong
    assert min(polls.values()) > RUNS


def test_an_administrator_of_prism_grants_domains_and_nobody_else_does(
    built: Warehouse, owner: psycopg.Connection[Any], analyst: str
) -> None:
    with acting(built, roles.ADMIN) as admin:
        grant(admin, analyst, "*")
    assert owner.execute("select role_name, domain from ops.domain_grants").fetchall() == [(analyst, "*")]
    for role in (roles.REPORTER, roles.TRANSFORMER, roles.LOADER, roles.RECIPIENT, analyst):
        with acting(built, role) as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
            grant(other, analyst, "legal")


def test_a_build_by_hand_is_handed_over_to_the_role(built: Warehouse, owner: psycopg.Connection[Any]) -> None:
    owner.execute("alter table marts.prompts owner to current_user")
    owner.execute("alter schema api owner to current_user")
    assert built.dbt_environment()["PRISM_DBT_ROLE"] == roles.TRANSFORMER
    assert owner.execute(
        "select tableowner from pg_tables where schemaname = 'marts' and tablename = 'prompts'"
    ).fetchone() == (roles.TRANSFORMER,)


@pytest.fixture
def managed(server: EmbeddedServer) -> Iterator[tuple[psycopg.Connection[Any], str]]:
    """A session of the administrator, and the URL of a database whose owner is no superuser."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
        admin.execute("create role tenant login")
        admin.execute("create database tenant owner tenant")
        yield admin, server.url("tenant").replace("prism@", "tenant@")
        admin.execute("drop database tenant with (force)")
        for role in PROGRAM:
            admin.execute(sql.SQL("revoke {} from tenant").format(sql.Identifier(role)))
        admin.execute("reassign owned by tenant to current_user")
        admin.execute("drop owned by tenant cascade")
        admin.execute("drop role tenant")


def test_where_no_roles_may_be_made_the_warehouse_works_without_them_and_an_administrator_adds_them(
    managed: tuple[psycopg.Connection[Any], str], server: EmbeddedServer
) -> None:
    _, url = managed
    house = Warehouse(url=url, dagster_url="")
    warehouses.setup(house)
    with house.acting_as(roles.LOADER).connect() as connection:
        assert set(roles.missing(connection)) == set(roles.ROLES)
        assert connection.execute("select current_user, count(*) from raw.prompts").fetchone() == (
            "tenant",
            0,
        )
    assert house.dbt_environment()["PRISM_DBT_ROLE"] == ""
    with psycopg.connect(server.url("tenant"), autocommit=True) as admin:
        for _ in range(2):  # idempotent
            admin.execute(roles.script("tenant", member="tenant"))
    with house.connect() as connection:
        assert roles.missing(connection) == []
    with house.acting_as(roles.LOADER).connect() as connection:
        assert connection.execute("select current_user").fetchone() == (roles.LOADER,)
    assert house.dbt_environment()["PRISM_DBT_ROLE"] == roles.TRANSFORMER


def test_a_user_who_may_make_roles_and_is_no_superuser_sets_up_all_of_it(tmp_path: Path) -> None:
    """As in a managed PostgreSQL: a server of its own, since roles are the whole server's."""
    server = EmbeddedServer(tmp_path / "postgres")
    server.acquire()
    try:
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute("create role tenant login createrole createdb")
            admin.execute("create database tenant owner tenant")
        house = Warehouse(url=server.url("tenant").replace("prism@", "tenant@"), dagster_url="")
        warehouses.setup(house)
        with house.connect(autocommit=True) as connection:
            assert roles.missing(connection) == []
            assert roles.apply(connection)  # idempotent
            for role in roles.ROLES:
                assert connection.execute(
                    "select rolsuper or rolcreaterole or rolcanlogin or rolbypassrls from pg_roles"
                    " where rolname = %s",
                    [role],
                ).fetchone() == (False,)
        with house.acting_as(roles.LOADER).connect(autocommit=True) as connection:
            assert connection.execute("select current_user").fetchone() == (roles.LOADER,)
            raw.write(connection, "prompts", life.prompts())
        assert house.dbt_environment()["PRISM_DBT_ROLE"] == roles.TRANSFORMER
        with house.acting_as(roles.TRANSFORMER).connect(autocommit=True) as connection:
            connection.execute("create schema marts")
            assert connection.execute("select count(*) from raw.prompts").fetchone() == (12,)
    finally:
        server.stop()
