-- Somebody who was added by e-mail is a row of `users` without an identity. When the person comes, the membership moves to
-- the row that the person has already, and what hangs on it moves along.
ALTER TABLE api_keys DROP CONSTRAINT api_keys_created_by_user_id_fkey;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_created_by_user_id_fkey
  FOREIGN KEY (organization_id, created_by_user_id) REFERENCES members (organization_id, user_id) ON UPDATE CASCADE;
ALTER TABLE configurations DROP CONSTRAINT configurations_owner_user_id_fkey;
ALTER TABLE configurations ADD CONSTRAINT configurations_owner_user_id_fkey
  FOREIGN KEY (organization_id, owner_user_id) REFERENCES members (organization_id, user_id) ON UPDATE CASCADE;

-- Added by e-mail address, and not come yet: by whom. What an organization alone has offered must be asked for by name.
ALTER TABLE users ADD COLUMN pending text
  CONSTRAINT users_pending_check CHECK (pending IN ('organization', 'operator'));
GRANT UPDATE (pending) ON users TO patchbay_system;

CREATE INDEX users_email_idx ON users (lower(email));
CREATE INDEX identities_user_id_idx ON identities (user_id);
GRANT UPDATE (user_id) ON members TO patchbay_system;
GRANT DELETE ON users TO patchbay_system;
