DROP TABLE audit_heads;
DROP TABLE audit_log;
CREATE TABLE audit_log (
  organization_id uuid NOT NULL DEFAULT current_organization_id(),
  id uuid NOT NULL,
  action text NOT NULL,
  actor_user_id uuid,
  actor_api_key_id uuid,
  subject text,
  request_id text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT audit_log_pkey PRIMARY KEY (organization_id, id),
  CONSTRAINT audit_log_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE,
  CONSTRAINT audit_log_actor_check CHECK (num_nonnulls(actor_user_id, actor_api_key_id) = 1)
);
CALL protect('audit_log');
GRANT SELECT, INSERT ON audit_log TO patchbay_app;
REVOKE USAGE ON SCHEMA public FROM patchbay_operator;
