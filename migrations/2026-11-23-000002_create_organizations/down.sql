DROP TABLE organization_keys;
DROP POLICY organization ON users;
DROP TABLE members;
DROP TABLE identities;
DROP TABLE users;
DROP TABLE organizations;
