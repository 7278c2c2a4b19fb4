-- Roles belong to the whole server, tables to this database: another Patchbay database may have made them already.
DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['patchbay_app', 'patchbay_system'] LOOP
    BEGIN
      IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
      END IF;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL; -- made by somebody else in this moment
    END;
    IF NOT pg_has_role(current_user, wanted, 'MEMBER') THEN
      EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
    END IF;
  END LOOP;
END $$;

GRANT USAGE ON SCHEMA public TO patchbay_app, patchbay_system;

-- The service asks whether it and its tables are of one version.
GRANT SELECT ON __diesel_schema_migrations TO patchbay_system;

-- After SET LOCAL has ended on a connection the setting is '' and not NULL.
CREATE FUNCTION current_organization_id() RETURNS uuid
  LANGUAGE sql STABLE PARALLEL SAFE
  AS $$ SELECT nullif(current_setting('patchbay.organization_id', true), '')::uuid $$;

-- Puts a table behind row-level security: rows of the transaction's organization for patchbay_app, all for
-- patchbay_system (whose table privileges are few). The restrictive twin keeps a later, careless permissive policy
-- from widening access. The sub-select makes Postgres evaluate the setting once and not for each row.
CREATE PROCEDURE protect(protected regclass, scope_column name DEFAULT 'organization_id')
  LANGUAGE plpgsql
  AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', protected);
  EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', protected);
  EXECUTE format('CREATE POLICY organization ON %s TO patchbay_app
    USING (%2$I = (SELECT current_organization_id())) WITH CHECK (%2$I = (SELECT current_organization_id()))', protected, scope_column);
  EXECUTE format('CREATE POLICY organization_guard ON %s AS RESTRICTIVE TO patchbay_app
    USING (%2$I = (SELECT current_organization_id())) WITH CHECK (%2$I = (SELECT current_organization_id()))', protected, scope_column);
  EXECUTE format('CREATE POLICY system ON %s TO patchbay_system USING (true) WITH CHECK (true)', protected);
END $$;
REVOKE ALL ON PROCEDURE protect FROM PUBLIC;
