DROP POLICY organization_adds ON users;
REVOKE INSERT (id, email, pending) ON users FROM patchbay_app;
REVOKE UPDATE (owner_user_id, owner_api_key_id) ON configurations FROM patchbay_app;
REVOKE INSERT, DELETE, UPDATE (role, updated_at) ON members FROM patchbay_app;
REVOKE UPDATE (name, scopes, expires_at, allowed_networks, hash, pepper_id) ON api_keys FROM patchbay_app;
-- A key whose creator has left has nobody to refer to. The owner of the tables is behind their policies too, and no policy
-- is the owner's.
ALTER TABLE configurations NO FORCE ROW LEVEL SECURITY;
ALTER TABLE api_keys NO FORCE ROW LEVEL SECURITY;
ALTER TABLE members NO FORCE ROW LEVEL SECURITY;
DELETE FROM configurations c USING api_keys k
  WHERE c.organization_id = k.organization_id AND c.owner_api_key_id = k.id
    AND NOT EXISTS (SELECT FROM members m WHERE m.organization_id = k.organization_id AND m.user_id = k.created_by_user_id);
DELETE FROM api_keys k
  WHERE NOT EXISTS (SELECT FROM members m WHERE m.organization_id = k.organization_id AND m.user_id = k.created_by_user_id);
ALTER TABLE configurations FORCE ROW LEVEL SECURITY;
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
ALTER TABLE members FORCE ROW LEVEL SECURITY;
ALTER TABLE api_keys
  DROP COLUMN previous_hash,
  DROP COLUMN previous_pepper_id,
  DROP COLUMN previous_valid_until,
  DROP COLUMN allowed_networks,
  DROP COLUMN last_used_at,
  DROP CONSTRAINT api_keys_created_by_user_id_fkey,
  ADD CONSTRAINT api_keys_created_by_user_id_fkey FOREIGN KEY (organization_id, created_by_user_id) REFERENCES members (organization_id, user_id);
REVOKE UPDATE (name, slug, updated_at) ON organizations FROM patchbay_app;
ALTER TABLE organizations DROP COLUMN api_keys_may_never_expire;
