-- The log of the first days had no chain, and one cannot be made afterwards: its rows, of development databases only, go.
DROP TABLE audit_log;

-- Prunes the log and deletes organizations. The service's login is not in it: what serves requests cannot delete a row of
-- the log, nor have one deleted.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'patchbay_operator') THEN
    CREATE ROLE patchbay_operator NOLOGIN;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL; -- made by somebody else in this moment
END $$;
DO $$
BEGIN
  IF NOT pg_has_role(current_user, 'patchbay_operator', 'MEMBER') THEN
    GRANT patchbay_operator TO CURRENT_USER;
  END IF;
END $$;
GRANT USAGE ON SCHEMA public TO patchbay_operator;

-- One row for each committed write, in the same transaction, and for refused and failed attempts. Each row's hash covers
-- the row and the hash before it: see src/db/audit_log.rs.
CREATE TABLE audit_log (
  organization_id uuid NOT NULL DEFAULT current_organization_id(),
  -- 1, 2, 3, ...: a gap is a row that is missing.
  sequence bigint NOT NULL,
  id uuid NOT NULL,
  action text NOT NULL,
  -- `user_...` or `key_...`, kept when the actor is gone; NULL when the service did it by itself, and then it has a name.
  actor_id text,
  actor_name text,
  target_type text NOT NULL,
  target_id text NOT NULL,
  -- JSON, as text: the hash covers these very characters.
  changes text NOT NULL,
  request_id text,
  ip_address text,
  user_agent text,
  created_at timestamptz NOT NULL,
  previous_hash bytea NOT NULL,
  hash bytea NOT NULL,
  CONSTRAINT audit_log_pkey PRIMARY KEY (organization_id, sequence),
  CONSTRAINT audit_log_organization_id_id_key UNIQUE (organization_id, id),
  CONSTRAINT audit_log_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE,
  CONSTRAINT audit_log_actor_check CHECK (num_nonnulls(actor_id, actor_name) = 1),
  CONSTRAINT audit_log_hash_check CHECK (octet_length(hash) = 32 AND octet_length(previous_hash) = 32)
);
CREATE INDEX audit_log_target_id_idx ON audit_log (organization_id, target_id, sequence);
CREATE INDEX audit_log_actor_id_idx ON audit_log (organization_id, actor_id, sequence);
CREATE INDEX audit_log_created_at_idx ON audit_log (organization_id, created_at);
CALL protect('audit_log');
GRANT SELECT, INSERT ON audit_log TO patchbay_app, patchbay_system;
GRANT SELECT, DELETE ON audit_log TO patchbay_operator;
CREATE POLICY operator ON audit_log TO patchbay_operator USING (true);

-- Where each organization's chain stands: rows that are missing at its end, or that were pruned at its beginning. The
-- row is locked from the moment a write is recorded until it commits, so that the chain has no forks.
CREATE TABLE audit_heads (
  organization_id uuid NOT NULL DEFAULT current_organization_id(),
  sequence bigint NOT NULL,
  hash bytea NOT NULL,
  pruned_sequence bigint NOT NULL DEFAULT 0,
  pruned_hash bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
  CONSTRAINT audit_heads_pkey PRIMARY KEY (organization_id),
  CONSTRAINT audit_heads_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE
);
CALL protect('audit_heads');
GRANT SELECT, INSERT, UPDATE (sequence, hash) ON audit_heads TO patchbay_app, patchbay_system;
GRANT SELECT, UPDATE (pruned_sequence, pruned_hash) ON audit_heads TO patchbay_operator;
CREATE POLICY operator ON audit_heads TO patchbay_operator USING (true) WITH CHECK (true);
