DROP POLICY operator ON organization_tombstones;
REVOKE ALL ON organization_tombstones FROM patchbay_operator;
DROP POLICY operator ON organizations;
REVOKE ALL ON organizations FROM patchbay_operator;
ALTER TABLE grants DROP CONSTRAINT grants_organization_id_fkey;
ALTER TABLE credentials DROP CONSTRAINT credentials_organization_id_fkey;
