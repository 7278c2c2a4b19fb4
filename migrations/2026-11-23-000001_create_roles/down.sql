DROP PROCEDURE protect;
DROP FUNCTION current_organization_id;
REVOKE USAGE ON SCHEMA public FROM patchbay_app, patchbay_system;
-- The roles stay: other databases of the same server may use them.
