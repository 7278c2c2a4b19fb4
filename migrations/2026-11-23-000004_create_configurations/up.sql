CREATE TABLE configurations (
  organization_id uuid NOT NULL DEFAULT current_organization_id(),
  id uuid NOT NULL,
  owner_user_id uuid,
  owner_api_key_id uuid,
  -- `pcon_github` and the like: the catalogue is in the program.
  connector_id text NOT NULL,
  name text NOT NULL,
  configuration jsonb NOT NULL,
  enabled boolean NOT NULL DEFAULT true,
  health_status text NOT NULL DEFAULT 'unknown',
  last_sync_at timestamptz,
  last_error text,
  description text,
  metadata jsonb,
  -- Counts credentials ever stored here, so that no revision is used twice and an old one cannot be put back.
  credential_revision bigint NOT NULL DEFAULT 0,
  version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT configurations_pkey PRIMARY KEY (organization_id, id),
  CONSTRAINT configurations_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE,
  CONSTRAINT configurations_owner_user_id_fkey FOREIGN KEY (organization_id, owner_user_id) REFERENCES members (organization_id, user_id),
  CONSTRAINT configurations_owner_api_key_id_fkey FOREIGN KEY (organization_id, owner_api_key_id) REFERENCES api_keys (organization_id, id),
  CONSTRAINT configurations_owner_check CHECK (num_nonnulls(owner_user_id, owner_api_key_id) = 1),
  CONSTRAINT configurations_user_name_key UNIQUE (organization_id, owner_user_id, connector_id, name),
  CONSTRAINT configurations_api_key_name_key UNIQUE (organization_id, owner_api_key_id, connector_id, name),
  CONSTRAINT configurations_name_check CHECK (char_length(name) BETWEEN 1 AND 120),
  CONSTRAINT configurations_description_check CHECK (char_length(description) <= 2000),
  CONSTRAINT configurations_configuration_check CHECK (jsonb_typeof(configuration) = 'object'),
  CONSTRAINT configurations_metadata_check CHECK (jsonb_typeof(metadata) = 'object'),
  CONSTRAINT configurations_health_status_check CHECK (health_status IN ('healthy', 'unhealthy', 'unknown'))
);
CREATE INDEX configurations_created_at_idx ON configurations (organization_id, created_at, id);
CREATE INDEX configurations_connector_id_idx ON configurations (organization_id, connector_id, created_at, id);
CALL protect('configurations');
GRANT SELECT, INSERT, DELETE ON configurations TO patchbay_app;
GRANT UPDATE (name, configuration, enabled, health_status, last_sync_at, last_error, description, metadata,
  credential_revision, version, updated_at) ON configurations TO patchbay_app;

-- At most one credential for a configuration. The sealed bytes are the vault's: see src/vault/envelope.rs.
CREATE TABLE credentials (
  organization_id uuid NOT NULL DEFAULT current_organization_id(),
  configuration_id uuid NOT NULL,
  revision bigint NOT NULL,
  kind text NOT NULL,
  -- scheme://host:port that the secret was entered for; empty where the origin is in the program.
  bound_origin text NOT NULL,
  organization_key_version integer NOT NULL,
  sealed bytea NOT NULL,
  expires_at timestamptz,
  refreshable boolean NOT NULL,
  scopes text[] NOT NULL,
  rotated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT credentials_pkey PRIMARY KEY (organization_id, configuration_id),
  CONSTRAINT credentials_configuration_id_fkey FOREIGN KEY (organization_id, configuration_id)
    REFERENCES configurations (organization_id, id) ON DELETE CASCADE,
  -- No action: a key that still seals something cannot be deleted.
  CONSTRAINT credentials_organization_key_version_fkey FOREIGN KEY (organization_id, organization_key_version)
    REFERENCES organization_keys (organization_id, version),
  CONSTRAINT credentials_revision_check CHECK (revision > 0),
  CONSTRAINT credentials_kind_check CHECK (kind IN ('api_key', 'oauth2', 'bearer', 'basic')),
  CONSTRAINT credentials_sealed_check CHECK (octet_length(sealed) BETWEEN 138 AND 65536)
);
CALL protect('credentials');
GRANT SELECT, INSERT, DELETE ON credentials TO patchbay_app;
GRANT UPDATE (revision, kind, bound_origin, organization_key_version, sealed, expires_at, refreshable, scopes, rotated_at)
  ON credentials TO patchbay_app;
