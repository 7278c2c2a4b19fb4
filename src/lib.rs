//! Patchbay: connect an account once; every frontend, script and assistant of the organization can use it, and no secret
//! leaves the service.
//!
//! The path of a request: [`http`] takes it and asks [`auth`] who is calling; [`graphql`] checks the document and runs its
//! resolvers; a resolver opens one transaction for one action in [`db`], which is the only module that speaks SQL, and
//! hands credentials to [`vault`], which is the only one that seals and opens them.

pub mod dev;
pub mod http;

pub mod graphql;

pub mod app;
pub mod config;

pub mod connector;

pub mod auth;
pub mod db;
pub mod vault;

pub mod clock;
pub mod error;
pub mod id;
pub mod limit;
