ALTER TABLE organizations ADD COLUMN api_keys_may_never_expire boolean NOT NULL DEFAULT false;
GRANT UPDATE (name, slug, api_keys_may_never_expire, updated_at) ON organizations TO patchbay_app;

-- A rotated key keeps its id and its public part; the secret before the last rotation works for a while.
ALTER TABLE api_keys
  ADD COLUMN previous_hash bytea,
  ADD COLUMN previous_pepper_id text,
  ADD COLUMN previous_valid_until timestamptz,
  ADD COLUMN allowed_networks text[] NOT NULL DEFAULT '{}',
  ADD COLUMN last_used_at timestamptz,
  ADD CONSTRAINT api_keys_previous_check CHECK (num_nonnulls(previous_hash, previous_pepper_id, previous_valid_until) IN (0, 3)),
  ADD CONSTRAINT api_keys_previous_hash_check CHECK (octet_length(previous_hash) = 32),
  -- The person may leave and the key, which then does nothing, stays. Users belong to no organization.
  DROP CONSTRAINT api_keys_created_by_user_id_fkey,
  ADD CONSTRAINT api_keys_created_by_user_id_fkey FOREIGN KEY (created_by_user_id) REFERENCES users (id);
GRANT UPDATE (name, scopes, expires_at, allowed_networks, hash, pepper_id, previous_hash, previous_pepper_id, previous_valid_until)
  ON api_keys TO patchbay_app;
GRANT UPDATE (last_used_at) ON api_keys TO patchbay_system;

-- People are added, get another role, and go.
GRANT INSERT, DELETE, UPDATE (role, updated_at) ON members TO patchbay_app;
GRANT UPDATE (owner_user_id, owner_api_key_id) ON configurations TO patchbay_app;
-- Somebody who is added by e-mail address is a person without an identity until the first sign-in.
GRANT INSERT (id, email, pending) ON users TO patchbay_app;
CREATE POLICY organization_adds ON users FOR INSERT TO patchbay_app WITH CHECK (true);
