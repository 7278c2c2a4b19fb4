-- Which organization an issuer means by a value of its organization claim. The operator says so; a token never does.
CREATE TABLE organization_claims (
  issuer text NOT NULL,
  value text NOT NULL,
  organization_id uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT organization_claims_pkey PRIMARY KEY (issuer, value),
  CONSTRAINT organization_claims_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id) ON DELETE CASCADE,
  CONSTRAINT organization_claims_value_check CHECK (octet_length(value) BETWEEN 1 AND 255)
);
CREATE INDEX organization_claims_organization_id_idx ON organization_claims (organization_id);
ALTER TABLE organization_claims ENABLE ROW LEVEL SECURITY;
ALTER TABLE organization_claims FORCE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, DELETE ON organization_claims TO patchbay_system;
CREATE POLICY system ON organization_claims TO patchbay_system USING (true) WITH CHECK (true);

-- What is left of an organization that was deleted.
CREATE TABLE organization_tombstones (
  id uuid NOT NULL,
  name text NOT NULL,
  slug text NOT NULL,
  deleted_at timestamptz NOT NULL DEFAULT now(),
  -- How many entries its audit log had.
  audit_entries bigint NOT NULL,
  CONSTRAINT organization_tombstones_pkey PRIMARY KEY (id)
);
ALTER TABLE organization_tombstones ENABLE ROW LEVEL SECURITY;
ALTER TABLE organization_tombstones FORCE ROW LEVEL SECURITY;
GRANT SELECT ON organization_tombstones TO patchbay_system;
CREATE POLICY system ON organization_tombstones TO patchbay_system USING (true) WITH CHECK (true);

