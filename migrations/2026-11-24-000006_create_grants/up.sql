-- Who besides the owner may do what with a configuration: a person, an API key, or (neither) the whole organization.
CREATE TABLE grants (
  organization_id uuid NOT NULL DEFAULT current_organization_id(),
  id uuid NOT NULL,
  configuration_id uuid NOT NULL,
  user_id uuid,
  api_key_id uuid,
  permission text NOT NULL,
  granted_by_user_id uuid,
  granted_by_api_key_id uuid,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT grants_pkey PRIMARY KEY (organization_id, id),
  CONSTRAINT grants_configuration_id_fkey FOREIGN KEY (organization_id, configuration_id)
    REFERENCES configurations (organization_id, id) ON DELETE CASCADE,
  CONSTRAINT grants_user_id_fkey FOREIGN KEY (organization_id, user_id)
    REFERENCES members (organization_id, user_id) ON DELETE CASCADE ON UPDATE CASCADE,
  CONSTRAINT grants_api_key_id_fkey FOREIGN KEY (organization_id, api_key_id)
    REFERENCES api_keys (organization_id, id) ON DELETE CASCADE,
  CONSTRAINT grants_grantee_check CHECK (num_nonnulls(user_id, api_key_id) <= 1),
  CONSTRAINT grants_permission_check CHECK (permission IN ('use', 'manage')),
  CONSTRAINT grants_granted_by_check CHECK (num_nonnulls(granted_by_user_id, granted_by_api_key_id) <= 1)
);
CREATE UNIQUE INDEX grants_user_id_key ON grants (organization_id, configuration_id, user_id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX grants_api_key_id_key ON grants (organization_id, configuration_id, api_key_id) WHERE api_key_id IS NOT NULL;
CREATE UNIQUE INDEX grants_organization_key ON grants (organization_id, configuration_id) WHERE user_id IS NULL AND api_key_id IS NULL;
-- What was granted to whoever asks: the other side of each list.
CREATE INDEX grants_user_id_idx ON grants (organization_id, user_id, configuration_id);
CREATE INDEX grants_api_key_id_idx ON grants (organization_id, api_key_id, configuration_id);
CALL protect('grants');
GRANT SELECT, INSERT, DELETE, UPDATE (permission) ON grants TO patchbay_app;
