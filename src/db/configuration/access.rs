//! Who sees which configuration, and what they may do with it.

use super::{Configuration, Owner};
use crate::auth::caller::{Actor, Caller};
use crate::db::grant::Permission;

/// One's own, on any source that has the table.
macro_rules! owned_by {
    ($owner:expr) => {
        match $owner {
            crate::auth::caller::Actor::User(id) => crate::db::filter::and(
                Box::new(crate::db::schema::configurations::owner_user_id.is_not_null()),
                Box::new(crate::db::schema::configurations::owner_user_id.assume_not_null().eq(id)),
            ),
            crate::auth::caller::Actor::ApiKey(id) => crate::db::filter::and(
                Box::new(crate::db::schema::configurations::owner_api_key_id.is_not_null()),
                Box::new(crate::db::schema::configurations::owner_api_key_id.assume_not_null().eq(id)),
            ),
        }
    };
}

/// The caller's own, on any source that has the table.
macro_rules! owned_by_viewer {
    ($tx:expr) => {
        crate::db::configuration::owned_by!($tx.caller().actor())
    };
}

/// Granted to the caller, on any source that has the table.
macro_rules! granted_to_viewer {
    ($tx:expr) => {
        Box::new(
            crate::db::schema::configurations::id.eq_any(
                <crate::db::schema::grants::table as crate::db::scope::OrgTable>::of($tx)
                    .filter(crate::db::grant::to_actor!($tx.caller().actor()))
                    .select(crate::db::schema::grants::configuration_id),
            ),
        )
    };
}

/// What the caller may see, on any source that has the table.
macro_rules! visible {
    ($tx:expr) => {
        if $tx.caller().sees_all() {
            crate::db::filter::always(true)
        } else {
            crate::db::filter::or(
                crate::db::configuration::owned_by_viewer!($tx),
                crate::db::configuration::granted_to_viewer!($tx),
            )
        }
    };
}
pub(in crate::db) use {granted_to_viewer, owned_by, owned_by_viewer, visible};

/// What the caller may do with a configuration that it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    is_owner: bool,
    is_admin: bool,
    granted: Option<Permission>,
}

impl Access {
    /// Change its settings.
    pub fn may_update(self) -> bool {
        self.may_control() || self.granted == Some(Permission::Manage)
    }

    /// Delete it, replace its credential, see what is known of that, change where it is sent.
    pub fn may_control(self) -> bool {
        self.is_owner || self.is_admin
    }

    /// Have its credential used: test it, see and call its tools. Not an admin's by itself.
    pub fn may_use(self) -> bool {
        self.is_owner || self.granted.is_some()
    }

    /// Give others access.
    pub fn may_grant(self) -> bool {
        self.is_owner
    }
}

impl Configuration {
    /// Who it belongs to.
    ///
    /// # Panics
    /// Never: a check of the table says that it has exactly one owner.
    pub fn owner(&self) -> Owner {
        let user = self.owner_user_id.map(Actor::User);
        user.or(self.owner_api_key_id.map(Actor::ApiKey)).expect("a configuration has an owner")
    }

    /// What `caller` may do with it, when `granted` is what was granted to it.
    pub fn access(&self, caller: &Caller, granted: Option<Permission>) -> Access {
        Access { is_owner: self.owner() == caller.actor(), is_admin: caller.sees_all(), granted }
    }
}
