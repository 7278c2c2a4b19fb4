-- Tokens of a person that were issued before this are refused. Authentication reads it with the memberships.
ALTER TABLE users ADD COLUMN tokens_valid_from timestamptz;
GRANT UPDATE (tokens_valid_from) ON users TO patchbay_app, patchbay_system;
CREATE POLICY revocation ON users FOR UPDATE TO patchbay_app
  USING (EXISTS (SELECT FROM members WHERE members.user_id = users.id AND members.organization_id = (SELECT current_organization_id())));

-- Tokens that were ended one by one. The person is part of the key, so that nobody ends, or keeps from being ended, the
-- token of somebody else; a person of zeros, which only the operator may write, stands for everybody.
CREATE TABLE revoked_tokens (
  issuer text NOT NULL,
  token_id text NOT NULL,
  user_id uuid NOT NULL,
  -- No token lives longer: then the row may go.
  expires_at timestamptz NOT NULL,
  CONSTRAINT revoked_tokens_pkey PRIMARY KEY (issuer, token_id, user_id),
  CONSTRAINT revoked_tokens_token_id_check CHECK (octet_length(token_id) BETWEEN 1 AND 255)
);
CREATE INDEX revoked_tokens_expires_at_idx ON revoked_tokens (expires_at);
ALTER TABLE revoked_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE revoked_tokens FORCE ROW LEVEL SECURITY;
GRANT INSERT ON revoked_tokens TO patchbay_app;
GRANT SELECT, INSERT, DELETE ON revoked_tokens TO patchbay_system;
CREATE POLICY organization ON revoked_tokens FOR INSERT TO patchbay_app
  WITH CHECK (EXISTS (SELECT FROM members WHERE members.user_id = revoked_tokens.user_id AND members.organization_id = (SELECT current_organization_id())));
CREATE POLICY system ON revoked_tokens TO patchbay_system USING (true) WITH CHECK (true);
