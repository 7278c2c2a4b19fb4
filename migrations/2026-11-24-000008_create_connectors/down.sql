-- Configurations of connectors that are no more would belong to nothing. The owner of the tables is behind their policies
-- too, and no policy is the owner's.
ALTER TABLE configurations NO FORCE ROW LEVEL SECURITY;
DELETE FROM configurations WHERE custom_connector_id IS NOT NULL;
ALTER TABLE configurations FORCE ROW LEVEL SECURITY;
ALTER TABLE configurations DROP COLUMN custom_connector_id;
DROP FUNCTION connector_text_id;
DROP TABLE connectors;
