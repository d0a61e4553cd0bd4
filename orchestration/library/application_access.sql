-- Who may do what in the application's own tables: row level security for people who come through a gateway
-- such as PostgREST or Supabase, which set the role and the claims of the request's token.
--
--   anon            nobody is logged in: nothing
--   authenticated   a person: sees the active prompts, sees and rates their own uses, records new ones;
--                   an administrator (app_metadata.role = "admin", which no person sets themselves): all
--   service_role    the application's own server: everything
--
-- Names are unqualified, as in application.sql. Running it again changes nothing.

do $$
declare
    wanted text;
begin
    foreach wanted in array array['anon', 'authenticated', 'service_role'] loop
        if to_regrole(wanted) is null then
            execute format('create role %I nologin', wanted);
        end if;
    end loop;
end
$$;

create or replace function request_user() returns text
language sql stable
as $$ select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub' $$;

create or replace function request_is_admin() returns boolean
language sql stable
as $$
select coalesce(
    nullif(current_setting('request.jwt.claims', true), '')::jsonb #>> '{app_metadata,role}' = 'admin', false
)
$$;

do $$
declare
    schema_name text := current_schema();
    table_name text;
    rule record;
begin
    execute format('grant usage on schema %I to authenticated, service_role', schema_name);
    foreach table_name in array array[
        'prompts', 'prompt_versions', 'agents', 'agent_prompts', 'prompt_changes', 'prompt_usage'
    ] loop
        execute format('alter table %I enable row level security', table_name);
        execute format('revoke all on %I from public, anon, authenticated', table_name);
        execute format('grant select, insert, update, delete on %I to service_role', table_name);
        execute format('drop policy if exists server on %I', table_name);
        execute format('create policy server on %I to service_role using (true) with check (true)', table_name);
    end loop;
    execute 'grant usage on sequence prompt_change_ids to service_role, authenticated';

    -- the library: people read what is active, administrators keep it
    grant select, insert, update, delete on prompts, prompt_versions, agents, agent_prompts to authenticated;
    grant select, insert on prompt_changes to authenticated;
    for rule in
        select * from (values
            ('prompts', 'status = ''active'''),
            ('prompt_versions', 'exists (select from prompts where id = prompt_id)'),
            ('agents', 'status = ''active'''),
            ('agent_prompts', 'exists (select from prompts where id = prompt_id)'),
            ('prompt_changes', 'false')
        ) as rules (tab, condition)
    loop
        execute format('drop policy if exists people on %I', rule.tab);
        execute format(
            'create policy people on %I for select to authenticated using (%s)', rule.tab, rule.condition
        );
        execute format('drop policy if exists administrators on %I', rule.tab);
        execute format(
            'create policy administrators on %I to authenticated '
            'using ((select request_is_admin())) with check ((select request_is_admin()))',
            rule.tab
        );
    end loop;

    -- the uses: a person's own, and of those the rating alone can be changed
    grant select, insert on prompt_usage to authenticated;
    grant update (rating) on prompt_usage to authenticated;
    drop policy if exists own_uses on prompt_usage;
    create policy own_uses on prompt_usage for select to authenticated
    using (user_id = (select request_user()) or (select request_is_admin()));
    drop policy if exists own_new_uses on prompt_usage;
    create policy own_new_uses on prompt_usage for insert to authenticated
    with check (user_id = (select request_user()) or (select request_is_admin()));
    drop policy if exists own_ratings on prompt_usage;
    create policy own_ratings on prompt_usage for update to authenticated
    using (user_id = (select request_user()) or (select request_is_admin()))
    with check (user_id = (select request_user()) or (select request_is_admin()));
end
$$;
