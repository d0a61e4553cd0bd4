{#- Who may read a mart, set in the transaction that makes it: there is no moment in which it is there and
    open, and where this fails the mart stays as it was. Where the roles are not there, nobody but the owner
    was given anything, and nothing is done.

    An analyst sees the rows of the domains granted to them (`ops.domain_grants`; `*`: all), and sums over
    every domain only with `*`. Which rows are of a domain is seen by a mart's columns: `domain`, else
    `prompt_id`, else `alert_id` (these by what the caller sees of the mart that has the domain: a policy that
    named that mart would go when it is made anew). A mart with none of them says more by `meta.readers`:
    `segment` (rows of the scope domain), `unscoped` (what is said of no domain or prompt); or, whatever its
    columns, `nobody` (no analyst at all). -#}
{% macro guard() %}
    {%- set identity = ['domain', 'prompt_id', 'alert_id'] | select('in', model.columns) | first -%}
    {%- set readers = model.config.meta.get('readers', identity or 'all') -%}
    {%- set granted = '(select domain_grants.domain from ops.domain_grants)' -%}
    {%- set everything = "'*' in " ~ granted -%}
    {%- set rows = {
        'domain': everything ~ ' or domain in ' ~ granted,
        'prompt_id': everything ~ ' or prompt_id = any((select ops.granted_prompts())::text[])',
        'alert_id': everything ~ ' or alert_id = any((select ops.granted_alerts())::text[])',
        'segment': everything ~ " or (scope = 'domain' and segment in " ~ granted ~ ')',
        'unscoped': everything ~ ' or scope_value is null',
        'all': everything,
        'nobody': none,
    } -%}
    {%- if readers not in rows %}
        {{ exceptions.raise_compiler_error(
            'meta.readers of ' ~ model.name ~ ' is "' ~ readers ~ '"; known: ' ~ rows.keys() | join(', ')
        ) }}
    {%- endif %}
do $guard$
begin
    if to_regrole('prism_analyst') is null or to_regrole('prism_reporter') is null then
        return;
    end if;
    alter table {{ this }} enable row level security;
    drop policy if exists everything on {{ this }};
    create policy everything on {{ this }} for select to prism_reporter using (true);
    grant select on {{ this }} to prism_reporter;
    drop policy if exists granted_domains on {{ this }};
    {%- if rows[readers] %}
    create policy granted_domains on {{ this }} for select to prism_analyst using ({{ rows[readers] }});
    grant select on {{ this }} to prism_analyst;
    {%- endif %}
end
$guard$
{% endmacro %}


{#- Who may look into the schemas: dbt has made them by the time that a run starts. -#}
{% macro open_schemas() %}
    {%- if execute and flags.WHICH in ('build', 'run') %}
do $guard$
begin
    if to_regrole('prism_analyst') is null or to_regrole('prism_reporter') is null then
        return;
    end if;
    create schema if not exists api;
    grant usage on schema api to prism_reporter, prism_analyst;
    -- a run of a few models below the marts may come before there is any
    if to_regnamespace('{{ var('marts_schema') }}') is not null then
        grant usage on schema {{ var('marts_schema') }} to prism_reporter;
        {%- if var('marts_schema') == 'marts' %}
        grant usage on schema marts to prism_analyst;
        {%- endif %}
    end if;
end
$guard$
    {%- endif %}
{% endmacro %}
