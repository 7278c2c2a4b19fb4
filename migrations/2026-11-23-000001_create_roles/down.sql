DROP PROCEDURE protect;
DROP FUNCTION current_organization_id;
REVOKE SELECT ON __diesel_schema_migrations FROM patchbay_system;
REVOKE USAGE ON SCHEMA public FROM patchbay_app, patchbay_system;
-- The roles stay: other databases of the same server may use them.
