REVOKE DELETE ON users FROM patchbay_system;
REVOKE UPDATE (user_id) ON members FROM patchbay_system;
DROP INDEX identities_user_id_idx;
DROP INDEX users_email_idx;
ALTER TABLE configurations DROP CONSTRAINT configurations_owner_user_id_fkey;
ALTER TABLE configurations ADD CONSTRAINT configurations_owner_user_id_fkey
  FOREIGN KEY (organization_id, owner_user_id) REFERENCES members (organization_id, user_id);
ALTER TABLE api_keys DROP CONSTRAINT api_keys_created_by_user_id_fkey;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_created_by_user_id_fkey
  FOREIGN KEY (organization_id, created_by_user_id) REFERENCES members (organization_id, user_id);
REVOKE UPDATE (pending) ON users FROM patchbay_system;
ALTER TABLE users DROP COLUMN pending;
