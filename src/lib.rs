//! Patchbay.
pub mod app;
pub mod id;
pub mod clock;
pub mod config;
pub mod error;
pub mod vault;
pub mod auth;
pub mod db;
pub mod connector;
pub mod graphql;
