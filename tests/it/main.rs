//! The whole service, through its real router, on a real Postgres.
//!
//! First what is true of the whole (`schema`, `architecture`, `tenancy`, `policy`, `limits`, `secrets`), then one file for
//! each noun. Outside services are absent: nothing in here leaves the machine.

#![expect(clippy::unwrap_used, reason = "what is not there fails the test, and says where")]

mod harness;

mod architecture;
mod limits;
mod policy;
mod round_trips;
mod schema;
mod secrets;
mod tenancy;

mod api_key;
mod audit_log;
mod auth;
mod bad_input;
mod bulk;
mod configuration;
mod connector;
mod credentials;
mod custom_connector;
mod custom_connector_use;
mod dev;
mod filter;
mod forged_tokens;
mod grant;
mod graphiql;
mod http;
mod idempotency;
mod issuers;
mod key_sets;
mod member;
mod migration;
mod organization;
mod organization_command;
mod other_issuers;
mod page;
mod rate_limit;
mod revocation;
mod serve;
mod soak;
