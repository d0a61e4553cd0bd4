"""analytics: what Python computes of the marts; made empty, so that a bare dbt build works."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = """
create table analytics.usage_forecasts (
    as_of_date date not null,
    prompt_id text,
    metric text not null check (metric in ('usage_count', 'total_cost', 'success_rate')),
    forecast_date date not null check (forecast_date > as_of_date),
    value double precision,
    low double precision,
    high double precision,
    method text not null,
    backtest_error double precision,
    naive_error double precision,
    interval_coverage double precision,
    history_days integer not null,
    unique nulls not distinct (as_of_date, metric, prompt_id, forecast_date),
    constraint a_value_lies_in_its_interval check (0 <= low and low <= value and value <= high)
);

create table analytics.prompt_comparisons (
    as_of_date date not null,
    comparison_id text not null,
    kind text not null check (kind in ('version', 'experiment')),
    experiment text,
    prompt_id text,
    compares text not null check (compares in ('prompt', 'version', 'model', 'agent')),
    control text not null,
    variant text not null,
    starts_on date not null,
    ends_on date,
    metric text not null
    check (metric in ('success_rate', 'average_rating', 'response_time_ms', 'cost_per_use')),
    control_count bigint not null,
    variant_count bigint not null,
    control_value double precision,
    variant_value double precision,
    difference double precision,
    difference_low double precision,
    difference_high double precision,
    is_relative boolean not null,
    confidence double precision,
    log_e_value double precision,
    verdict text not null
    check (verdict in ('better', 'worse', 'no difference seen', 'not enough data')),
    primary key (as_of_date, comparison_id)
);

create table analytics.cost_anomalies (
    as_of_date date not null,
    usage_date date not null check (usage_date <= as_of_date),
    prompt_id text not null,
    model text,
    priced_count bigint not null,
    total_cost double precision not null,
    cost_per_use double precision not null,
    usual_cost_per_use double precision not null,
    excess_cost double precision not null,
    score double precision not null,
    unique nulls not distinct (as_of_date, usage_date, prompt_id, model)
);
"""


def upgrade() -> None:
    op.execute(STATEMENTS)
