-- Deleting an organization takes every row of it in the first step, before Postgres looks whether what is gone is still
-- referred to: without this a credential would be in the way of the key that seals it.
ALTER TABLE credentials ADD CONSTRAINT credentials_organization_id_fkey
  FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE;
ALTER TABLE grants ADD CONSTRAINT grants_organization_id_fkey
  FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE;
