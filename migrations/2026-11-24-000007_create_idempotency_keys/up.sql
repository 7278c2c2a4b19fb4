-- What a mutation answered, so that the same request sent twice is done once. Kept for 24 hours. Holds no secret: the
-- arguments are a keyed hash, and what was shown once is not in the answer.
CREATE TABLE idempotency_keys (
  organization_id uuid NOT NULL DEFAULT current_organization_id(),
  actor_id text NOT NULL,
  mutation text NOT NULL,
  key text NOT NULL,
  arguments_hash bytea NOT NULL,
  answer jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT idempotency_keys_pkey PRIMARY KEY (organization_id, actor_id, mutation, key),
  CONSTRAINT idempotency_keys_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE,
  CONSTRAINT idempotency_keys_key_check CHECK (char_length(key) BETWEEN 1 AND 255),
  CONSTRAINT idempotency_keys_arguments_hash_check CHECK (octet_length(arguments_hash) = 32)
);
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (organization_id, created_at);
CALL protect('idempotency_keys');
GRANT SELECT, INSERT, DELETE ON idempotency_keys TO patchbay_app;
