ALTER TABLE grants DROP CONSTRAINT grants_organization_id_fkey;
ALTER TABLE credentials DROP CONSTRAINT credentials_organization_id_fkey;
