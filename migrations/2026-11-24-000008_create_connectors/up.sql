-- The connectors that an organization has defined for itself. Those of the program are in the program.
CREATE TABLE connectors (
  organization_id uuid NOT NULL DEFAULT current_organization_id(),
  id uuid NOT NULL,
  name text NOT NULL,
  description text,
  category text NOT NULL,
  icon_url text,
  documentation_url text,
  -- The one server that every configuration of this connector uses: credentials are bound to its origin.
  server_url text NOT NULL,
  -- [{"type": "bearer", "label": "...", "instructions": "..."}], the recommended way first.
  auth_methods jsonb NOT NULL,
  configuration_schema jsonb NOT NULL,
  example_configuration jsonb,
  enabled boolean NOT NULL DEFAULT true,
  deprecation_reason text,
  -- Null when an API key did it. The definition outlives the membership of whoever made it.
  created_by_user_id uuid,
  version integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT connectors_pkey PRIMARY KEY (organization_id, id),
  CONSTRAINT connectors_organization_id_name_key UNIQUE (organization_id, name),
  CONSTRAINT connectors_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE,
  CONSTRAINT connectors_created_by_user_id_fkey FOREIGN KEY (created_by_user_id) REFERENCES users (id),
  CONSTRAINT connectors_name_check CHECK (char_length(name) BETWEEN 1 AND 120),
  CONSTRAINT connectors_description_check CHECK (char_length(description) <= 2000),
  CONSTRAINT connectors_category_check CHECK (char_length(category) BETWEEN 1 AND 40),
  CONSTRAINT connectors_icon_url_check CHECK (char_length(icon_url) <= 2048),
  CONSTRAINT connectors_documentation_url_check CHECK (char_length(documentation_url) <= 2048),
  CONSTRAINT connectors_server_url_check CHECK (server_url ~* '^https?://' AND char_length(server_url) <= 2048),
  CONSTRAINT connectors_auth_methods_check CHECK (jsonb_typeof(auth_methods) = 'array' AND auth_methods <> '[]'),
  CONSTRAINT connectors_configuration_schema_check CHECK (jsonb_typeof(configuration_schema) = 'object'),
  CONSTRAINT connectors_example_configuration_check CHECK (jsonb_typeof(example_configuration) = 'object'),
  CONSTRAINT connectors_deprecation_reason_check CHECK (char_length(deprecation_reason) BETWEEN 1 AND 500)
);
CALL protect('connectors');
GRANT SELECT, INSERT, DELETE ON connectors TO patchbay_app;
GRANT UPDATE (name, description, category, icon_url, documentation_url, server_url, auth_methods, configuration_schema,
  example_configuration, enabled, deprecation_reason, version, updated_at) ON connectors TO patchbay_app;

-- The id as clients know it: pcon_ and 26 digits of Crockford's base 32, as src/id.rs writes it.
CREATE FUNCTION connector_text_id(id uuid) RETURNS text
  LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
  AS $$
    SELECT 'pcon_' || string_agg(substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + substring(bits FROM 1 + 5 * digit FOR 5)::bit(5)::integer, 1), '' ORDER BY digit)
    FROM (SELECT B'00' || ('x' || replace(id::text, '-', ''))::bit(128) AS bits) AS whole, generate_series(0, 25) AS digit
  $$;

-- The same connector as in connector_id, for the reference; null for those of the program.
ALTER TABLE configurations ADD COLUMN custom_connector_id uuid;
ALTER TABLE configurations ADD CONSTRAINT configurations_custom_connector_id_fkey
  FOREIGN KEY (organization_id, custom_connector_id) REFERENCES connectors (organization_id, id);
ALTER TABLE configurations ADD CONSTRAINT configurations_custom_connector_id_check CHECK (
  CASE WHEN custom_connector_id IS NULL THEN connector_id !~ '^pcon_[0-9a-z]{26}$'
       ELSE connector_id = connector_text_id(custom_connector_id) END);
CREATE INDEX configurations_custom_connector_id_idx ON configurations (organization_id, custom_connector_id, id)
  WHERE custom_connector_id IS NOT NULL;
