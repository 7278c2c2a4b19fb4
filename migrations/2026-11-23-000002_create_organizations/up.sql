CREATE TABLE organizations (
  id uuid NOT NULL,
  name text NOT NULL,
  slug text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT organizations_pkey PRIMARY KEY (id),
  CONSTRAINT organizations_slug_key UNIQUE (slug),
  CONSTRAINT organizations_name_check CHECK (char_length(name) BETWEEN 1 AND 120),
  CONSTRAINT organizations_slug_check CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$')
);
CALL protect('organizations', 'id');
GRANT SELECT ON organizations TO patchbay_app;
GRANT SELECT, INSERT ON organizations TO patchbay_system;

-- People. They belong to no organization: one person may be a member of several.
CREATE TABLE users (
  id uuid NOT NULL,
  name text,
  email text,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT users_pkey PRIMARY KEY (id),
  CONSTRAINT users_name_check CHECK (char_length(name) BETWEEN 1 AND 120),
  CONSTRAINT users_email_check CHECK (char_length(email) BETWEEN 3 AND 320)
);
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
GRANT SELECT ON users TO patchbay_app;
GRANT SELECT, INSERT ON users TO patchbay_system;
CREATE POLICY system ON users TO patchbay_system USING (true) WITH CHECK (true);

-- Who a token's issuer and subject are to us.
CREATE TABLE identities (
  issuer text NOT NULL,
  subject text NOT NULL,
  user_id uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT identities_pkey PRIMARY KEY (issuer, subject),
  CONSTRAINT identities_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);
ALTER TABLE identities ENABLE ROW LEVEL SECURITY;
ALTER TABLE identities FORCE ROW LEVEL SECURITY;
GRANT SELECT, INSERT ON identities TO patchbay_system;
CREATE POLICY system ON identities TO patchbay_system USING (true) WITH CHECK (true);

CREATE TABLE members (
  organization_id uuid NOT NULL DEFAULT current_organization_id(),
  id uuid NOT NULL,
  user_id uuid NOT NULL,
  role text NOT NULL,
  joined_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT members_pkey PRIMARY KEY (organization_id, id),
  CONSTRAINT members_organization_id_user_id_key UNIQUE (organization_id, user_id),
  CONSTRAINT members_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE,
  CONSTRAINT members_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
  CONSTRAINT members_role_check CHECK (role IN ('owner', 'admin', 'member', 'viewer'))
);
CREATE INDEX members_user_id_idx ON members (user_id);
CREATE INDEX members_joined_at_idx ON members (organization_id, joined_at, id);
CALL protect('members');
GRANT SELECT ON members TO patchbay_app;
GRANT SELECT, INSERT, UPDATE (role, updated_at) ON members TO patchbay_system;

-- A person is visible to the organizations that the person is a member of.
CREATE POLICY organization ON users FOR SELECT TO patchbay_app
  USING (EXISTS (SELECT FROM members WHERE members.user_id = users.id AND members.organization_id = (SELECT current_organization_id())));

-- The keys that credentials of an organization are sealed with, each wrapped by a root key.
CREATE TABLE organization_keys (
  organization_id uuid NOT NULL DEFAULT current_organization_id(),
  version integer NOT NULL,
  root_key_id text NOT NULL,
  wrapped bytea NOT NULL,
  state text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  rewrapped_at timestamptz,
  CONSTRAINT organization_keys_pkey PRIMARY KEY (organization_id, version),
  CONSTRAINT organization_keys_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE,
  CONSTRAINT organization_keys_version_check CHECK (version > 0),
  CONSTRAINT organization_keys_state_check CHECK (state IN ('active', 'decrypt_only')),
  CONSTRAINT organization_keys_wrapped_check CHECK (octet_length(wrapped) BETWEEN 40 AND 1024)
);
CREATE UNIQUE INDEX organization_keys_active_key ON organization_keys (organization_id) WHERE state = 'active';
CALL protect('organization_keys');
GRANT SELECT ON organization_keys TO patchbay_app;
GRANT SELECT, INSERT ON organization_keys TO patchbay_system;
