"""A warehouse with marts for the report's tests: sample data straight into raw, then the real dbt project.

Leaves out sources and loading, which have tests of their own.
"""

from __future__ import annotations

from datetime import date, timedelta

import psycopg

from orchestration.sample.write import write_sample
from orchestration.warehouse import Warehouse
from tests.dbt import run_dbt

AS_OF = date(2026, 3, 1)
_INTO_RAW = """
insert into raw.load_batches (
    source, entity, started_at, finished_at, rows_read, inserted, updated, unchanged, superseded, rejected,
    values_rejected
)
select
    'app', 'usage', %(loaded_at)s, %(loaded_at)s, count(*) + 3, count(*), 0, 0, 0, 3, 2
from app.prompt_usage;

insert into raw.load_days (batch_id, usage_date)
select distinct max(batches.batch_id), (uses.created_at at time zone 'UTC')::date
from app.prompt_usage as uses cross join raw.load_batches as batches
group by 2;

insert into raw.prompts
select
    'app', id::text, name, display_name, description, domain, complexity_level, status, system_prompt,
    user_prompt_template, prompt_starter, compliance_tags, suite, owner, created_at, updated_at,
    1, %(loaded_at)s, null
from app.prompts;

insert into raw.prompt_versions
select 'app', prompt_id::text, version::text, md5(coalesce(system_prompt, '')), system_prompt,
    user_prompt_template, created_at, created_by::text, note, 1, %(loaded_at)s, null
from app.prompt_versions;

insert into raw.agents
select 'app', id::text, name, display_name, domain, status, created_at, updated_at, 1, %(loaded_at)s, null
from app.agents;

insert into raw.agent_prompts
select 'app', agent_id::text, prompt_id::text, created_at, 1, %(loaded_at)s, null
from app.agent_prompts;

insert into raw.prompt_usage (
    source, usage_id, prompt_key, prompt_version, agent_key, user_key, session_id, model, used_at, updated_at,
    response_time_ms, success, error_type, rating, input_tokens, output_tokens, total_tokens, cost, batch_id,
    loaded_at
)
select
    'app', id::text, prompt_id::text, prompt_version::text, agent_id::text, user_id::text, session_id::text,
    model, created_at, updated_at, response_time_ms, success, error_type, rating, input_tokens, output_tokens,
    tokens_used, cost, 1, least(created_at + interval '20 hours', %(loaded_at)s)
from app.prompt_usage;

drop schema app cascade;
analyze;
"""

HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror=window.hacked=2>",
    '"><svg onload=window.hacked=3>',
    "{{ 7 * 7 }}{% raw %}",
    '=HYPERLINK("https://example.com")',
    "javascript:window.hacked=4",
    "\u202eright to left \U0001f4a5 <b>",
)
# Each hostile text as name, description, domain, owner, texts (one of some 10 MB), version, agent, model
# and key of an unlisted prompt.
_HOSTILE = """
update raw.prompts set display_name = %(text)s, description = %(text)s, domain = %(text)s, suite = %(text)s,
    owner = %(text)s, compliance_tags = array[%(text)s], system_prompt = %(text)s,
    prompt_starter = %(text)s, user_prompt_template = repeat(%(text)s || chr(10), 200000)
where prompt_id = (select prompt_id from raw.prompts order by prompt_id offset %(n)s limit 1);
update raw.agents set name = %(text)s, display_name = %(text)s
where agent_id = (select agent_id from raw.agents order by agent_id offset %(n)s limit 1);
update raw.prompt_usage set model = %(text)s, prompt_version = %(text)s, prompt_key = %(text)s
where usage_id in (select usage_id from raw.prompt_usage order by used_at desc offset 40 * %(n)s limit 40);
update raw.prompt_usage set model = %(text)s, prompt_version = %(text)s
where prompt_key = (select prompt_id from raw.prompts order by prompt_id offset %(n)s limit 1)
    and used_at > '2026-02-20';
"""


def fill(
    warehouse: Warehouse,
    *,
    as_of: date = AS_OF,
    prompts: int = 62,
    agents: int = 52,
    days: int = 90,
    rows: int = 20_000,
    hostile: bool = False,
) -> None:
    """Sample data up to ``as_of`` in raw, with ``hostile`` texts in place of some; no marts yet."""
    with warehouse.connect() as connection:
        write_sample(
            connection,
            prompts=prompts,
            agents=agents,
            days=days,
            rows=rows,
            seed=7,
            until=as_of + timedelta(days=1),
        )
        connection.commit()
        # client-side binding, since one string holds many statements
        cursor = psycopg.ClientCursor(connection)
        cursor.execute(_INTO_RAW, {"loaded_at": f"{as_of}T23:30:00Z"})
        for n, text in enumerate(HOSTILE if hostile else ()):
            cursor.execute(_HOSTILE, {"n": n, "text": text})
        connection.commit()


def build(warehouse: Warehouse, as_of: date = AS_OF, schema: str = "marts") -> None:
    """The marts of ``as_of``, as dbt makes them."""
    run_dbt(
        warehouse,
        "build",
        "--exclude-resource-type", "test", "unit_test",
        vars={"as_of_date": as_of.isoformat(), "marts_schema": schema},
    )  # fmt: skip
