//! Patchbay.
pub mod id;
pub mod clock;
pub mod error;
pub mod vault;
pub mod auth { pub mod policy; pub mod caller; }
