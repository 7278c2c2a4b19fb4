//! Connectors that an organization defines for itself: what they may say, and how one is found and held.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::{Host, Url};

use super::{AuthMethod, AuthMethodGuide, Connector, ConnectorType, Definition, Transport, catalog, schema};
use crate::db::{OrgTx, connector as rows};
use crate::error::{Code, Error, Rejection, Result};
use crate::id::ConnectorId;

/// The category of those that name none.
pub const CATEGORY: &str = "custom";
/// The most that an organization may define.
pub const MAX_CONNECTORS: i32 = 100;
const MAX_CATEGORY: usize = 40;
const MAX_URL: usize = 2048;
const MAX_LABEL: usize = 120;
const MAX_INSTRUCTIONS: usize = 4000;
const MAX_REASON: usize = 500;

/// What is wrong with a category.
pub fn check_category(category: &str, field: &[&str]) -> Option<Rejection> {
    let fits =
        !category.trim().is_empty() && category.chars().count() <= MAX_CATEGORY && !category.contains(char::is_control);
    (!fits).then(|| Rejection::new(Code::Invalid, field, format!("A category has 1 to {MAX_CATEGORY} characters.")))
}

/// What is wrong with the reason for a deprecation.
pub fn check_reason(reason: &str, field: &[&str]) -> Option<Rejection> {
    let fits = !reason.trim().is_empty() && reason.chars().count() <= MAX_REASON;
    (!fits).then(|| Rejection::new(Code::Invalid, field, format!("A reason has 1 to {MAX_REASON} characters.")))
}

/// What is wrong with the address of a picture or of documentation.
pub fn check_link(address: &str, field: &[&str]) -> Option<Rejection> {
    let fits = address.len() <= MAX_URL
        && Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && !has_user(&url));
    (!fits).then(|| {
        let message =
            format!("An absolute http or https URL of at most {MAX_URL} bytes, without user name or password.");
        Rejection::new(Code::Invalid, field, message)
    })
}

fn has_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// What is wrong with the address of the server. Credentials travel there: in the clear only where they do not leave the
/// machine.
pub fn check_server(address: &str, field: &[&str]) -> Option<Rejection> {
    let refuse = |message: &str| Some(Rejection::new(Code::Invalid, field, message));
    if address.len() > MAX_URL {
        return refuse("A URL has at most 2048 bytes.");
    }
    let Ok(url) = Url::parse(address) else { return refuse("It is no absolute URL.") };
    if has_user(&url) || url.fragment().is_some() {
        return refuse("The server's URL has no user name, no password and no fragment.");
    }
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => None,
        "http" if is_local => None,
        _ => refuse("The server's URL is https; http only on this machine (localhost)."),
    }
}

/// The origin that credentials are bound to.
pub fn origin(server_url: &str) -> String {
    super::origin_of(server_url).unwrap_or_default()
}

/// What is wrong with the auth methods.
pub fn check_auth_methods(guides: &[AuthMethodGuide], field: &[&str]) -> Vec<Rejection> {
    if guides.is_empty() {
        return vec![Rejection::new(Code::Required, field, "At least one auth method is needed; `none` is one.")];
    }
    let mut rejections = Vec::new();
    for (index, guide) in guides.iter().enumerate() {
        let index_text = index.to_string();
        let mut refuse = |member: &str, message: String| {
            let path: Vec<_> = field.iter().copied().chain([index_text.as_str(), member]).collect();
            rejections.push(Rejection::new(Code::Invalid, &path, message));
        };
        if guides[..index].iter().any(|before| before.method == guide.method) {
            refuse("type", "Each auth method stands once.".to_owned());
        }
        let label = guide.label.trim();
        if label.is_empty() || label.chars().count() > MAX_LABEL || label.contains(char::is_control) {
            refuse("label", format!("A label has 1 to {MAX_LABEL} characters, on one line."));
        }
        if guide.instructions.as_ref().is_some_and(|text| text.chars().count() > MAX_INSTRUCTIONS) {
            refuse("instructions", format!("Instructions have at most {MAX_INSTRUCTIONS} characters."));
        }
    }
    rejections
}

/// What is wrong with an example: it must pass the schema, which has been checked.
pub fn check_example(example: &Value, configuration_schema: &Value, field: &[&str]) -> Vec<Rejection> {
    if let Some(rejection) = super::configuration::check_size(example, field) {
        return vec![rejection];
    }
    if breaks(configuration_schema).is_some_and(|breaks| breaks(example)) {
        return vec![Rejection::new(Code::Invalid, field, "The example does not pass the schema.")];
    }
    Vec::new()
}

/// Tells whether a configuration breaks a schema. Nothing for a schema that cannot be used.
pub fn breaks(configuration_schema: &Value) -> Option<impl Fn(&Value) -> bool> {
    let compiled = schema::compile(configuration_schema)?;
    Some(move |configuration: &Value| {
        compiled.weight.check(configuration, &[]).is_some() || !compiled.validator.is_valid(configuration)
    })
}

/// An auth method, as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredMethod<'a> {
    #[serde(rename = "type")]
    method: Cow<'a, str>,
    label: Cow<'a, str>,
    instructions: Option<Cow<'a, str>>,
}

/// The auth methods, as they are stored.
///
/// # Errors
/// None that could happen: they are text.
pub fn auth_methods_to_json(guides: &[AuthMethodGuide]) -> Result<Value> {
    let stored: Vec<_> = guides
        .iter()
        .map(|guide| StoredMethod {
            method: guide.method.as_str().into(),
            label: guide.label.as_ref().into(),
            instructions: guide.instructions.as_deref().map(Cow::from),
        })
        .collect();
    serde_json::to_value(stored).map_err(Error::internal)
}

fn auth_methods_from_json(stored: Value) -> Result<Vec<AuthMethodGuide>> {
    let stored: Vec<StoredMethod<'_>> = serde_json::from_value(stored).map_err(Error::internal)?;
    stored
        .into_iter()
        .map(|StoredMethod { method, label, instructions }| {
            let method = AuthMethod::parse(&method)
                .ok_or_else(|| Error::internal(anyhow::anyhow!("a connector has an unknown auth method")))?;
            Ok(AuthMethodGuide {
                method,
                label: label.into_owned().into(),
                instructions: instructions.map(|text| text.into_owned().into()),
            })
        })
        .collect()
}

/// The connector of a row.
///
/// # Errors
/// When the row has what this version does not know.
pub fn from_row(row: rows::Connector) -> Result<Arc<Connector>> {
    let id = row.id.to_string();
    let own_schema = row.configuration_schema.clone();
    Ok(Arc::new(Connector {
        id: id.clone().into(),
        connector_id: id.into(),
        connector_type: ConnectorType::Custom,
        transport: Transport::McpHttp,
        name: row.name.into(),
        description: row.description.map(Cow::from),
        category: row.category.into(),
        version: None,
        icon_url: row.icon_url.map(Cow::from),
        documentation_url: row.documentation_url.map(Cow::from),
        server_url: Some(row.server_url.into()),
        auth_methods: auth_methods_from_json(row.auth_methods)?,
        configuration_schema: row.configuration_schema,
        example_configuration: row.example_configuration,
        address_member: None,
        definition: Some(Definition {
            id: row.id,
            organization: row.organization_id,
            created_by: row.created_by_user_id,
            enabled: row.enabled,
            deprecation_reason: row.deprecation_reason,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }),
        checker: LazyLock::new(Box::new(move || schema::compile(&own_schema))),
    }))
}

/// The connector of that id, of the program or of the organization, held as it is until the transaction ends: nobody changes
/// or deletes it while a configuration is written that relies on it.
///
/// # Errors
/// What the database says.
pub async fn find_and_hold(tx: &OrgTx, id: &str) -> Result<Option<Arc<Connector>>> {
    if let Some(connector) = catalog::find(id) {
        return Ok(Some(connector));
    }
    let Ok(id) = id.parse::<ConnectorId>() else { return Ok(None) };
    rows::find_for_share(tx, id).await?.map(from_row).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_reached_by_https_or_is_this_machine() {
        for fine in [
            "https://mcp.example.com",
            "https://mcp.example.com:8443/api?x=1",
            "http://localhost:3000/mcp",
            "http://127.0.0.1",
            "http://[::1]:8080/",
        ] {
            assert_eq!(check_server(fine, &[]), None, "{fine}");
        }
        for wrong in [
            "http://mcp.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "https://user@example.com",
            "https://user:password@example.com",
            "https://example.com/#part",
            "ftp://example.com",
            "file:///etc/passwd",
            "data:text/plain,x",
            "mcp.example.com",
            "",
        ] {
            assert!(check_server(wrong, &[]).is_some(), "{wrong}");
        }
    }

    #[test]
    fn auth_methods_read_back_as_themselves() {
        let guides: Vec<_> = AuthMethod::ALL
            .into_iter()
            .map(|method| AuthMethodGuide { method, label: method.label().into(), instructions: Some("Ask.".into()) })
            .collect();
        let read = auth_methods_from_json(auth_methods_to_json(&guides).unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{guides:?}"));
    }
}
