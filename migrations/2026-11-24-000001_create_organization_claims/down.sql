DROP TABLE organization_tombstones;
DROP TABLE organization_claims;
