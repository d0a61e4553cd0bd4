{#- Who may read a mart, set in the transaction that makes it: there is no moment in which it is there and
    open, and where this fails the mart stays as it was. Where the roles are not there, nobody but the owner
    was given anything, and nothing is done.

    An analyst sees the rows of the domains granted to them (`ops.domain_grants`; `*`: all), and sums over
    every domain only with `*`. Which rows are of a domain is seen by a mart's columns: `domain`, else
    `prompt_id`, else `alert_id` (these by what the caller sees of the mart that has the domain: a policy that
    named that mart would go when it is made anew). A mart with none of them says more by `meta.readers`:
    `segment` (rows of the scope domain), `unscoped` (what is said of no domain or prompt, or of a domain of
    theirs); or, whatever its columns, `nobody` (no analyst at all).

    A report of some domains is made as `prism_recipient`, who sees the rows of the domains that the program
    names for the transaction (`prism.domains`), sums over every domain never, and nothing where none is named.
    A mart that is a view is read with the rights of whoever asks, and what it is made of is guarded. -#}
{% macro guard() %}
    {%- set identity = ['domain', 'prompt_id', 'alert_id'] | select('in', model.columns) | first -%}
    {%- set readers = model.config.meta.get('readers', identity or 'all') -%}
    {%- set granted = '(select domain_grants.domain from ops.domain_grants)' -%}
    {%- set everything = "'*' in " ~ granted -%}
    {%- set named = "any((select nullif(current_setting('prism.domains', true), ''))::text[])" -%}
    {#- the rows of some domains, where `%s` stands for "is one of them" -#}
    {%- set rows = {
        'domain': 'domain %s',
        'prompt_id': 'prompt_id = any((select ops.granted_prompts())::text[])',
        'alert_id': 'alert_id = any((select ops.granted_alerts())::text[])',
        'segment': "scope = 'domain' and segment %s",
        'unscoped': "scope_value is null or (scope = 'domain' and scope_value %s)",
        'all': 'false',
        'nobody': 'false',
    } -%}
    {%- if readers not in rows %}
        {{ exceptions.raise_compiler_error(
            'meta.readers of ' ~ model.name ~ ' is "' ~ readers ~ '"; known: ' ~ rows.keys() | join(', ')
        ) }}
    {%- endif %}
    {#- what no analyst reads, a report shows of its domains: the texts of the library -#}
    {%- set of_recipients = rows[identity or 'all'] if readers == 'nobody' else rows[readers] %}
    {%- set is_table = model.config.materialized != 'view' %}
do $guard$
begin
    if to_regrole('prism_analyst') is null or to_regrole('prism_reporter') is null then
        return;
    end if;
    {%- if is_table %}
    alter table {{ this }} enable row level security;
    drop policy if exists everything on {{ this }};
    create policy everything on {{ this }} for select to prism_reporter using (true);
    drop policy if exists granted_domains on {{ this }};
    {%- if readers != 'nobody' %}
    create policy granted_domains on {{ this }} for select to prism_analyst
    using ({{ everything }} or ({{ rows[readers] | replace('%s', 'in ' ~ granted) }}));
    {%- endif %}
    {%- else %}
    alter view {{ this }} set (security_invoker = true);
    {%- endif %}
    grant select on {{ this }} to prism_reporter;
    {%- if readers != 'nobody' %}
    grant select on {{ this }} to prism_analyst;
    {%- endif %}
    if to_regrole('prism_recipient') is null then
        return;  -- set up by a version that had none
    end if;
    {%- if is_table %}
    drop policy if exists named_domains on {{ this }};
    create policy named_domains on {{ this }} for select to prism_recipient
    using ({{ of_recipients | replace('%s', '= ' ~ named) }});
    {%- endif %}
    grant select on {{ this }} to prism_recipient;
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
        if to_regrole('prism_recipient') is not null then
            grant usage on schema {{ var('marts_schema') }} to prism_recipient;
        end if;
        {%- if var('marts_schema') == 'marts' %}
        grant usage on schema marts to prism_analyst;
        {%- endif %}
    end if;
end
$guard$
    {%- endif %}
{% endmacro %}
