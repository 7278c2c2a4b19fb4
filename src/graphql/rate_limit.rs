//! The caller's budget.

use async_graphql::{Context, Object, SimpleObject};

use super::context::{RequestContext as _, Result};
use super::scalar::DateTime;
use crate::auth::policy::Action;
use crate::limit::Charge;

/// Budget of the caller, a token bucket in points. Also in the RateLimit headers and in extensions.cost. Each instance of
/// the service keeps its own.
#[derive(SimpleObject)]
pub struct RateLimit {
    /// Size of the bucket; 2147483647 where the operator has set no limit.
    limit: i32,
    /// Points that this operation used.
    cost: i32,
    /// Points that are left.
    remaining: i32,
    /// Points added each second.
    restore_rate: i32,
    /// When the bucket is full again.
    reset_at: DateTime,
}

fn int(points: u32) -> i32 {
    i32::try_from(points).unwrap_or(i32::MAX)
}

/// Queries of the budget.
#[derive(Default)]
pub struct RateLimitQuery;

#[Object]
impl RateLimitQuery {
    /// The caller's budget. Costs nothing.
    #[expect(clippy::unused_async, reason = "a resolver is asynchronous; this one has all at hand")]
    async fn rate_limit(&self, ctx: &Context<'_>) -> Result<RateLimit> {
        ctx.caller().require(Action::ViewerRead)?;
        let Charge { cost, level } =
            ctx.data_opt::<Option<Charge>>().copied().flatten().unwrap_or(Charge { cost: 0, level: None });
        Ok(match level {
            Some(level) => RateLimit {
                limit: int(level.quota.limit),
                cost: int(cost),
                remaining: int(level.remaining),
                restore_rate: int(level.quota.restore),
                reset_at: DateTime(level.reset_at),
            },
            None => RateLimit {
                limit: i32::MAX,
                cost: int(cost),
                remaining: i32::MAX,
                restore_rate: i32::MAX,
                reset_at: DateTime(ctx.app().clock.now()),
            },
        })
    }
}
