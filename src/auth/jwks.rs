//! Key sets that issuers publish: fetched, cached, refreshed.
//!
//! What would surprise: a fetch runs in a task of its own, so that a client that leaves does not cut it off; whoever asks
//! meanwhile waits for the same one, and not for long where an older set has an answer. Whatever the reason, an issuer is asked at most once in [`WINDOW`], also when ten
//! thousand tokens name keys that nobody knows. Time is the caller's: nothing here looks at a clock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, select};
use reqwest::header::CACHE_CONTROL;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use url::Url;

use super::json;
use super::key::{Algorithm, Key, read_set};

/// An issuer is asked at most once in this time.
pub const WINDOW: TimeDelta = TimeDelta::seconds(30);
/// How long a set is used without asking again, when the issuer says nothing, and the bounds of what it may say.
const TTL: TimeDelta = TimeDelta::minutes(10);
const MIN_TTL: TimeDelta = TimeDelta::minutes(5);
const MAX_TTL: TimeDelta = TimeDelta::hours(1);
/// How long a set is used when the issuer cannot be asked. Then nothing is believed any more.
pub const MAX_STALE: TimeDelta = TimeDelta::hours(24);
/// How long a name that was asked for in vain is remembered, and how many of them.
const UNKNOWN_TTL: TimeDelta = TimeDelta::minutes(5);
const MAX_UNKNOWN: usize = 256;

/// How long the refresh of a set may hold up those whom the old one could serve, from when it begins.
const PATIENCE: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// Where an issuer publishes its keys.
#[derive(Clone, Debug)]
pub enum Location {
    /// The set itself.
    KeySet(Url),
    /// OpenID Connect Discovery at the issuer's own address.
    Discovery {
        /// A place for the set that need not be of the issuer's origin.
        key_set: Option<Url>,
    },
}

/// The key set of one issuer.
pub struct KeySet {
    issuer: String,
    location: Location,
    rsa_algorithm: Algorithm,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    loaded: Option<Loaded>,
    attempted_at: Option<DateTime<Utc>>,
    flight: Option<Flight>,
    unknown: Unknown,
}

/// A fetch that is under way, for all who wait for it.
#[derive(Clone)]
struct Flight {
    landed: Shared<BoxFuture<'static, ()>>,
    /// Resolves when it has taken longer than [`PATIENCE`].
    late: Shared<BoxFuture<'static, ()>>,
}

struct Loaded {
    keys: Vec<Arc<Key>>,
    fetched_at: DateTime<Utc>,
    ttl: TimeDelta,
}

#[derive(PartialEq, Eq)]
enum Age {
    Fresh,
    /// Good, and worth a refresh in the background.
    Ageing,
    /// Good only if the issuer cannot be asked.
    Stale,
    /// There is none, or it is too old for anything.
    None,
}

impl State {
    fn age(&self, now: DateTime<Utc>) -> Age {
        let Some(Loaded { fetched_at, ttl, .. }) = &self.loaded else { return Age::None };
        match now - *fetched_at {
            age if age * 5 < *ttl * 4 => Age::Fresh,
            age if age < *ttl => Age::Ageing,
            age if age < MAX_STALE => Age::Stale,
            _ => Age::None,
        }
    }

    fn names(&self, id: &str) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| loaded.keys.iter().any(|key| key.id.as_deref() == Some(id)))
    }

    /// The key of that name; without a name, the only one of the algorithm.
    fn select(&self, algorithm: Algorithm, id: Option<&str>) -> Option<Arc<Key>> {
        let keys = self.loaded.as_ref().map(|loaded| loaded.keys.as_slice()).unwrap_or_default();
        let mut fitting =
            keys.iter().filter(|key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Some(key.clone()),
            _ => None,
        }
    }
}

/// Names of keys that were asked for in vain, oldest first.
#[derive(Default)]
struct Unknown(VecDeque<(String, DateTime<Utc>)>);

impl Unknown {
    fn holds(&self, id: &str, now: DateTime<Utc>) -> bool {
        self.0.iter().any(|(known, at)| known == id && now - *at < UNKNOWN_TTL)
    }

    fn insert(&mut self, id: &str, now: DateTime<Utc>) {
        self.0.retain(|(known, at)| known != id && now - *at < UNKNOWN_TTL);
        if self.0.len() >= MAX_UNKNOWN {
            self.0.pop_front();
        }
        self.0.push_back((id.to_owned(), now));
    }
}

impl KeySet {
    /// The set of `issuer`, not fetched yet. RSA keys that name no algorithm are for `rsa_algorithm`.
    pub fn new(issuer: &str, location: Location, rsa_algorithm: Algorithm) -> Arc<Self> {
        Arc::new(Self { issuer: issuer.to_owned(), location, rsa_algorithm, state: Mutex::default() })
    }

    /// The setting that says where it is.
    pub(super) fn setting(&self) -> &'static str {
        match self.location {
            Location::KeySet(_) => "jwks_url",
            Location::Discovery { .. } => "discovery",
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that a token's header names, after asking the issuer where that may help.
    pub(super) async fn find(
        self: &Arc<Self>,
        algorithm: Algorithm,
        id: Option<&str>,
        now: DateTime<Utc>,
    ) -> Option<Arc<Key>> {
        let (flight, has_stale) = {
            let mut state = self.lock();
            let age = state.age(now);
            if matches!(age, Age::Fresh | Age::Ageing) {
                let found = state.select(algorithm, id);
                // A key of that name for something else stays that until the set is refreshed anyway.
                let hopeless = id.is_none_or(|id| state.unknown.holds(id, now) || state.names(id));
                if found.is_some() || hopeless {
                    if age == Age::Ageing {
                        self.start(&mut state, now);
                    }
                    return found;
                }
            }
            let has_stale = age == Age::Stale && state.select(algorithm, id).is_some();
            (self.start(&mut state, now), has_stale)
        };
        match flight {
            // An issuer that hangs must not hold up what the old key can answer.
            Some(Flight { landed, late }) if has_stale => drop(select(landed, late).await),
            Some(Flight { landed, .. }) => landed.await,
            None => {}
        }
        let mut state = self.lock();
        let found = if state.age(now) == Age::None { None } else { state.select(algorithm, id) };
        // Only a set that was asked for after the token came proves that there is no such key: it may have come meanwhile.
        if let (None, Some(id)) = (&found, id)
            && state.loaded.as_ref().is_some_and(|loaded| loaded.fetched_at >= now)
        {
            state.unknown.insert(id, now);
        }
        found
    }

    /// Fetches the set unless that was tried a moment ago, without waiting for it.
    pub(super) fn warm(self: &Arc<Self>, now: DateTime<Utc>) {
        self.start(&mut self.lock(), now);
    }

    /// Begins a fetch; gives the one that runs, or nothing when the issuer was asked within the window.
    fn start(self: &Arc<Self>, state: &mut State, now: DateTime<Utc>) -> Option<Flight> {
        if state.attempted_at.is_some_and(|at| (now - at).abs() < WINDOW) {
            return state.flight.clone();
        }
        state.attempted_at = Some(now);
        let set = self.clone();
        // The task asks for the lock when it has finished, and whoever calls this holds it until the flight is noted.
        let task = tokio::spawn(async move {
            let fetched = set.fetch().await;
            set.finish(fetched, now);
        });
        let landed = task.map(|_| ()).boxed().shared();
        let late = tokio::time::sleep(PATIENCE).boxed().shared();
        let flight = Flight { landed, late };
        state.flight = Some(flight.clone());
        Some(flight)
    }

    fn finish(&self, fetched: Result<(Vec<Key>, TimeDelta)>, now: DateTime<Utc>) {
        let mut state = self.lock();
        state.flight = None;
        match fetched {
            Ok((keys, ttl)) => {
                tracing::debug!(issuer = self.issuer, keys = keys.len(), "the issuer's key set was fetched");
                let keys = keys.into_iter().map(Arc::new).collect();
                state.loaded = Some(Loaded { keys, fetched_at: now, ttl });
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(issuer = self.issuer, error, "the issuer's key set cannot be fetched");
            }
        }
    }

    async fn fetch(&self) -> Result<(Vec<Key>, TimeDelta)> {
        // A client of its own for each: fetches are rare, and nothing is left open between them.
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("patchbay/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let address = match &self.location {
            Location::KeySet(address) => address.clone(),
            Location::Discovery { key_set } => self.discover(&client, key_set.as_ref()).await?,
        };
        let (body, ttl) = get(&client, &address).await?;
        let keys = read_set(&body, self.rsa_algorithm).map_err(|reason| anyhow!("{address}: the key set {reason}"))?;
        Ok((keys, ttl))
    }

    /// The address of the set, from the issuer's metadata.
    async fn discover(&self, client: &Client, listed: Option<&Url>) -> Result<Url> {
        let document = discovery_address(&self.issuer).context("the issuer is no address")?;
        let (body, _) = get(client, &document).await?;
        let metadata =
            json::object(&body).with_context(|| format!("{document} is not one JSON object, or has a member twice"))?;
        ensure!(
            metadata.get("issuer").and_then(|issuer| issuer.as_str()) == Some(&self.issuer),
            "{document} is of another issuer"
        );
        let key_set = metadata.get("jwks_uri").and_then(|address| address.as_str()).unwrap_or_default();
        let key_set: Url = key_set.parse().with_context(|| format!("{document} names no key set"))?;
        if listed == Some(&key_set) || key_set.origin() == document.origin() {
            return Ok(key_set);
        }
        bail!("{document} names a key set of another origin, {key_set}; if that is right, set jwks_url to it")
    }
}

/// Where an issuer has its metadata (OpenID Connect Discovery 1.0, 4).
pub fn discovery_address(issuer: &str) -> Option<Url> {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')).parse().ok()
}

/// Whether keys may be asked for there: nobody on the way can change them, and no password stands in the address.
pub fn is_safe(address: &Url) -> bool {
    let loopback = match address.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let anonymous = address.username().is_empty() && address.password().is_none();
    anonymous && (address.scheme() == "https" || (address.scheme() == "http" && loopback))
}

/// The body of an answer, and how long it may be kept.
async fn get(client: &Client, address: &Url) -> Result<(Vec<u8>, TimeDelta)> {
    ensure!(is_safe(address), "{address} is not https");
    let mut response = client.get(address.clone()).send().await?;
    ensure!(response.status() == StatusCode::OK, "{address} answers {}", response.status());
    let said = response.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let ttl = said.and_then(max_age).unwrap_or(TTL).clamp(MIN_TTL, MAX_TTL);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        ensure!(body.len() + chunk.len() <= MAX_BODY, "{address} answers with more than 256 KiB");
        body.extend_from_slice(&chunk);
    }
    Ok((body, ttl))
}

fn max_age(cache_control: &str) -> Option<TimeDelta> {
    let directives = cache_control.split(',').map(str::trim);
    let seconds = directives.filter_map(|directive| directive.split_once('=')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse::<u32>().ok()).flatten()
    })?;
    Some(TimeDelta::seconds(i64::from(seconds)))
}
