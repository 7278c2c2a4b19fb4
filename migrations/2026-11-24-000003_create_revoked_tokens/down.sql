DROP TABLE revoked_tokens;
DROP POLICY revocation ON users;
REVOKE UPDATE (tokens_valid_from) ON users FROM patchbay_app, patchbay_system;
ALTER TABLE users DROP COLUMN tokens_valid_from;
