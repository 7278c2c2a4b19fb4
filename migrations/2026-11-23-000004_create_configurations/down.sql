DROP TABLE credentials;
DROP TABLE configurations;
