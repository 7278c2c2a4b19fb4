//! The only module that speaks SQL.
//!
//! The table definitions are private to it, so a query cannot be written anywhere else:
//!
//! ```compile_fail,E0603
//! use patchbay::db::schema::configurations;
//! ```
//!
//! a transaction gives its connection to nobody outside:
//!
//! ```compile_fail,E0624
//! fn leak(tx: &patchbay::db::OrgTx) { tx.conn(); }
//! ```
//!
//! one cannot be made by hand:
//!
//! ```compile_fail,E0451
//! fn forge(other: patchbay::db::OrgTx) -> patchbay::db::OrgTx { patchbay::db::OrgTx { ..other } }
//! ```
//!
//! and neither can a caller, whom [`Db::read`] and [`Db::write`] ask for:
//!
//! ```compile_fail,E0624
//! use patchbay::{auth::{caller::Caller, policy::Role}, id::*};
//! fn forge() -> Caller { Caller::user(OrganizationId::generate(), UserId::generate(), Role::Owner, None, "", "") }
//! ```
//!
//! One file for each noun. Functions take the transaction first; those that take a [`SystemTx`] answer what must be known
//! before an organization is: find a key or a membership, make an organization, see whether the service is ready.

pub mod api_key;
pub mod audit_log;
pub mod configuration;
mod connect;
pub mod connector;
pub mod credential;
pub mod filter;
pub mod grant;
pub mod idempotency_key;
pub mod member;
pub mod migration;
pub mod organization;
pub mod organization_claim;
pub mod organization_key;
pub mod page;
pub mod revocation;
mod schema;
mod scope;
mod standing;
mod text_enum;
pub mod user;

pub use connect::Settings;
pub use scope::{Db, OrgTx, SystemTx, count_statements, statement_counter};
