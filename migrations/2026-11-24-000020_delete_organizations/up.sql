-- Deleting an organization takes every row of it in the first step, before Postgres looks whether what is gone is still
-- referred to: without this a credential would be in the way of the key that seals it.
ALTER TABLE credentials ADD CONSTRAINT credentials_organization_id_fkey
  FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE;
ALTER TABLE grants ADD CONSTRAINT grants_organization_id_fkey
  FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE;

-- For the operator alone, whom the service's login is not. (A column of UPDATE, without which no row can be locked.)
GRANT SELECT, DELETE, UPDATE (updated_at) ON organizations TO patchbay_operator;
CREATE POLICY operator ON organizations TO patchbay_operator USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON organization_tombstones TO patchbay_operator;
CREATE POLICY operator ON organization_tombstones TO patchbay_operator USING (true) WITH CHECK (true);
