//! Who has asked too much: the budget of a caller, and what failed to authenticate from one address.
//!
//! A credential that holds is never refused for what others at its address did: many people share one proxy. So who is
//! calling is found out first, and only what fails is counted and refused.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::Shared;
use crate::auth::caller::Caller;
use crate::limit::{Charge, Exhausted, Level};

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What a document costs that is refused before it is known what it would cost.
pub(super) const REFUSED: u32 = 1;

/// One household or office: an IPv6 network of 64 bits is handed out to one customer, who may use any address in it.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// Counts a request that failed to authenticate.
///
/// # Errors
/// When there were too many from its address.
pub(super) fn count_failure(shared: &Shared, address: Option<IpAddr>) -> Result<(), Exhausted> {
    match (&shared.app.failures, address) {
        (Some(failures), Some(address)) => failures.take(neighbourhood(address), 1).map(|_| ()),
        _ => Ok(()),
    }
}

/// Takes the cost of an operation from the caller's budget.
///
/// # Errors
/// When there is not so much left, with what there is.
pub(super) fn charge(shared: &Shared, caller: &Caller, cost: u32) -> Result<Charge, Exhausted> {
    let Some(budgets) = &shared.app.budgets else { return Ok(Charge { cost, level: None }) };
    let level = budgets.take((caller.organization(), caller.actor()), cost)?;
    Ok(Charge { cost, level: Some(level) })
}

/// `extensions.cost`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cost {
    requested_query_cost: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttle_status: Option<ThrottleStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ThrottleStatus {
    maximum_available: u32,
    currently_available: u32,
    restore_rate: u32,
}

impl From<Charge> for Cost {
    fn from(Charge { cost, level }: Charge) -> Self {
        let throttle_status = level.map(|level| ThrottleStatus {
            maximum_available: level.quota.limit,
            currently_available: level.remaining,
            restore_rate: level.quota.restore,
        });
        Self { requested_query_cost: cost, throttle_status }
    }
}

/// Structured fields, as draft-ietf-httpapi-ratelimit-headers has them.
pub(super) fn set_headers(headers: &mut HeaderMap, level: Level) {
    let policy = format!("\"default\";q={};w={}", level.quota.limit, level.quota.window());
    let state = format!("\"default\";r={};t={}", level.remaining, level.reset);
    for (name, text) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, state)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_its_neighbourhood() {
        for (address, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::", "2001:db8:1:2::"),
        ] {
            assert_eq!(neighbourhood(address.parse().unwrap()).to_string(), expected);
        }
    }
}
