REVOKE SELECT (organization_id, id) ON audit_log FROM patchbay_system;
REVOKE DELETE, UPDATE (updated_at) ON organizations FROM patchbay_system;
DROP TABLE organization_tombstones;
DROP TABLE organization_claims;
