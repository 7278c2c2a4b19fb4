CREATE TABLE api_keys (
  organization_id uuid NOT NULL DEFAULT current_organization_id(),
  id uuid NOT NULL,
  name text NOT NULL,
  -- The public part of the secret: finds the row before the organization is known.
  key_id text NOT NULL,
  -- HMAC-SHA-256 of the whole secret under a pepper that derives from the root key `pepper_id`.
  hash bytea NOT NULL,
  pepper_id text NOT NULL,
  scopes text[] NOT NULL,
  created_by_user_id uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  version integer NOT NULL DEFAULT 1,
  CONSTRAINT api_keys_pkey PRIMARY KEY (organization_id, id),
  CONSTRAINT api_keys_organization_id_key_id_key UNIQUE (organization_id, key_id),
  CONSTRAINT api_keys_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE,
  CONSTRAINT api_keys_created_by_user_id_fkey FOREIGN KEY (organization_id, created_by_user_id) REFERENCES members (organization_id, user_id),
  CONSTRAINT api_keys_name_check CHECK (char_length(name) BETWEEN 1 AND 120),
  CONSTRAINT api_keys_hash_check CHECK (octet_length(hash) = 32)
);
CREATE INDEX api_keys_key_id_idx ON api_keys (key_id);
CREATE INDEX api_keys_created_at_idx ON api_keys (organization_id, created_at, id);
CALL protect('api_keys');
GRANT SELECT, INSERT, UPDATE (revoked_at, version) ON api_keys TO patchbay_app;
GRANT SELECT ON api_keys TO patchbay_system;
