//! The connectors that ship with the service.
//!
//! Each schema names what we know and lets further members pass: providers have more settings than we use.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use super::schema::Weight;
use super::{AuthMethod, AuthMethodGuide, Checker, Compiled, Connector, ConnectorType, Transport};
use crate::vault::Kind;

/// All of them, in the order they are shown.
pub fn all() -> &'static [Arc<Connector>] {
    static CATALOG: LazyLock<[Arc<Connector>; 5]> =
        LazyLock::new(|| [github(), clickup(), jira(), teams(), custom_mcp()].map(Arc::new));
    &*CATALOG
}

/// The connector of that id.
pub fn find(id: &str) -> Option<Arc<Connector>> {
    all().iter().find(|connector| connector.id == id).cloned()
}

const API_KEY: AuthMethod = AuthMethod::Credential(Kind::ApiKey);
const OAUTH2: AuthMethod = AuthMethod::Credential(Kind::OAuth2);
const BEARER: AuthMethod = AuthMethod::Credential(Kind::Bearer);
const BASIC: AuthMethod = AuthMethod::Credential(Kind::Basic);

fn guide(method: AuthMethod, label: &'static str, instructions: &'static str) -> AuthMethodGuide {
    AuthMethodGuide { method, label: label.into(), instructions: Some(instructions.into()) }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given as a literal")]
fn schema(title: &str, required: &[&str], properties: Value) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "required": required,
        "properties": properties,
    })
}

/// Validators are compiled when first used. The schemas are ours: one that does not compile is found by a test.
fn checker(schema: &Value) -> Checker {
    let schema = schema.clone();
    LazyLock::new(Box::new(move || {
        let validator = jsonschema::options().should_validate_formats(true).build(&schema);
        Some(Compiled { validator: validator.expect("a schema of the catalogue compiles"), weight: Weight::default() })
    }))
}

fn github() -> Connector {
    let configuration_schema = schema(
        "GitHub",
        &["repository"],
        json!({
            "repository": {
                "type": "string", "title": "Repository", "description": "owner/name",
                "pattern": "^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}$",
            },
            "branch": {"type": "string", "title": "Branch", "minLength": 1, "maxLength": 255, "default": "main"},
            "paths": {"type": "array", "title": "Paths", "items": {"type": "string", "minLength": 1}, "maxItems": 100},
            "fileTypes": {
                "type": "array", "title": "File types", "description": "Endings such as .py",
                "items": {"type": "string", "minLength": 1}, "maxItems": 100,
            },
        }),
    );
    Connector {
        id: "pcon_github".into(),
        connector_id: "github".into(),
        connector_type: ConnectorType::Official,
        transport: Transport::Native,
        name: "GitHub".into(),
        description: Some("Repositories, issues and pull requests.".into()),
        category: "development".into(),
        version: Some("1.0.0"),
        icon_url: None,
        documentation_url: Some("https://docs.github.com/rest".into()),
        server_url: None,
        auth_methods: vec![
            guide(
                BEARER,
                "Personal access token",
                "GitHub → Settings → Developer settings → Personal access tokens → Fine-grained tokens. Choose the \
                               repository and grant *Contents: read* and *Metadata: read*. The token begins with `github_pat_` or `ghp_`.",
            ),
            guide(
                OAUTH2,
                "OAuth token",
                "An access token of a GitHub App or OAuth App, with scope `repo` for private repositories.",
            ),
            guide(
                API_KEY,
                "Personal access token, as an API key",
                "The same token as above, for scripts that call every key an API key.",
            ),
        ],
        example_configuration: Some(json!({
            "repository": "acme/backend", "branch": "main", "paths": ["src/", "docs/"], "fileTypes": [".py", ".md"],
        })),
        address_member: None,
        definition: None,
        checker: checker(&configuration_schema),
        configuration_schema,
    }
}

fn clickup() -> Connector {
    let id = |title: &str| json!({"type": "string", "title": title, "pattern": "^[A-Za-z0-9_-]{1,64}$"});
    let configuration_schema = schema(
        "ClickUp",
        &["workspaceId"],
        json!({
            "workspaceId": id("Workspace"),
            "listId": id("List"),
            "defaultPriority": {
                "type": "integer", "title": "Default priority", "description": "1 urgent, 2 high, 3 normal, 4 low",
                "minimum": 1, "maximum": 4,
            },
            "defaultStatus": {"type": "string", "title": "Default status", "minLength": 1, "maxLength": 100},
        }),
    );
    Connector {
        id: "pcon_clickup".into(),
        connector_id: "clickup".into(),
        connector_type: ConnectorType::Builtin,
        transport: Transport::Native,
        name: "ClickUp".into(),
        description: Some("Tasks and lists.".into()),
        category: "productivity".into(),
        version: Some("1.0.0"),
        icon_url: None,
        documentation_url: Some("https://developer.clickup.com".into()),
        server_url: None,
        auth_methods: vec![
            guide(
                API_KEY,
                "Personal API token",
                "ClickUp → avatar → Settings → Apps → API Token → Generate. The token begins with `pk_` and does not expire.",
            ),
            guide(
                OAUTH2,
                "OAuth token",
                "An access token of a ClickUp OAuth app; the person chooses the workspaces it is for.",
            ),
        ],
        example_configuration: Some(json!({
            "workspaceId": "12345", "listId": "67890", "defaultPriority": 3, "defaultStatus": "To Do",
        })),
        address_member: None,
        definition: None,
        checker: checker(&configuration_schema),
        configuration_schema,
    }
}

fn jira() -> Connector {
    let configuration_schema = schema(
        "Jira",
        &["projectKey"],
        json!({
            "projectKey": {
                "type": "string", "title": "Project key", "pattern": "^[A-Z][A-Z0-9_]{1,254}$",
            },
            "issueType": {"type": "string", "title": "Issue type", "minLength": 1, "maxLength": 100},
            "defaultAssignee": {"type": "string", "title": "Default assignee", "minLength": 1, "maxLength": 320},
            "siteUrl": {
                "type": "string", "title": "Site", "description": "https://your-site.atlassian.net; needed with an API token",
                "pattern": "^https://[a-z0-9-]{1,63}\\.atlassian\\.net/?$",
            },
        }),
    );
    Connector {
        id: "pcon_jira".into(),
        connector_id: "jira".into(),
        connector_type: ConnectorType::Builtin,
        transport: Transport::Native,
        name: "Jira".into(),
        description: Some("Issues and projects of Jira Cloud.".into()),
        category: "productivity".into(),
        version: Some("1.0.0"),
        icon_url: None,
        documentation_url: Some("https://developer.atlassian.com/cloud/jira/platform/rest/v3/".into()),
        server_url: None,
        auth_methods: vec![
            guide(
                OAUTH2,
                "OAuth token",
                "An access token of an Atlassian OAuth 2.0 (3LO) app with scopes `read:jira-work` and `read:jira-user`.",
            ),
            guide(
                BASIC,
                "E-mail address and API token",
                "Atlassian account → Security → Create API token. User name: your e-mail address; password: the token. \
                               Set `siteUrl` too. Tokens end within a year.",
            ),
            guide(
                BEARER,
                "Service account key",
                "Atlassian administration → Directory → Service accounts → Create credentials.",
            ),
        ],
        example_configuration: Some(json!({
            "projectKey": "PROJ", "issueType": "Task", "defaultAssignee": "user@example.com",
        })),
        address_member: Some("siteUrl"),
        definition: None,
        checker: checker(&configuration_schema),
        configuration_schema,
    }
}

fn teams() -> Connector {
    let id = |title: &str| json!({"type": "string", "title": title, "minLength": 1, "maxLength": 200, "pattern": "^[^\\s/]+$"});
    let configuration_schema =
        schema("Microsoft Teams", &["teamId", "channelId"], json!({"teamId": id("Team"), "channelId": id("Channel")}));
    Connector {
        id: "pcon_teams".into(),
        connector_id: "teams".into(),
        connector_type: ConnectorType::Builtin,
        transport: Transport::Native,
        name: "Microsoft Teams".into(),
        description: Some("Teams, channels and their messages.".into()),
        category: "communication".into(),
        version: Some("1.0.0"),
        icon_url: None,
        documentation_url: Some("https://learn.microsoft.com/graph/teams-concept-overview".into()),
        server_url: None,
        auth_methods: vec![
            guide(
                OAUTH2,
                "OAuth token",
                "An access token for Microsoft Graph with `Team.ReadBasic.All`, `Channel.ReadBasic.All` and, to be \
                               renewed, `offline_access`. Work or school accounts only.",
            ),
            guide(
                BEARER,
                "Pasted access token",
                "For a quick try: an access token from Graph Explorer. It lives for about an hour.",
            ),
        ],
        example_configuration: Some(json!({"teamId": "team-abc123", "channelId": "channel-xyz789"})),
        address_member: None,
        definition: None,
        checker: checker(&configuration_schema),
        configuration_schema,
    }
}

fn custom_mcp() -> Connector {
    let configuration_schema = schema(
        "Custom MCP server",
        &["endpoint"],
        json!({
            "endpoint": {
                "type": "string", "title": "Endpoint", "description": "Address of the MCP server",
                "format": "uri", "pattern": "^https?://", "maxLength": 2048,
            },
            "customSettings": {"type": "object", "title": "Settings of your own"},
        }),
    );
    Connector {
        id: "pcon_custom_mcp".into(),
        connector_id: "custom_mcp".into(),
        connector_type: ConnectorType::Custom,
        transport: Transport::McpHttp,
        name: "Custom MCP server".into(),
        description: Some("Any server that speaks the Model Context Protocol over streamable HTTP.".into()),
        category: "custom".into(),
        version: Some("1.0.0"),
        icon_url: None,
        documentation_url: Some("https://modelcontextprotocol.io".into()),
        server_url: None,
        auth_methods: vec![
            guide(
                BEARER,
                "Bearer token",
                "Sent as `Authorization: Bearer ...`, to the endpoint's origin and nowhere else.",
            ),
            guide(API_KEY, "API key", "The key that your server asks for."),
            guide(OAUTH2, "OAuth token", "An access token that your server accepts."),
            guide(BASIC, "User name and password", "HTTP basic authentication."),
            guide(AuthMethod::None, "None", "For a server that is open."),
        ],
        example_configuration: Some(
            json!({"endpoint": "https://my-server.com/api", "customSettings": {"region": "eu"}}),
        ),
        address_member: Some("endpoint"),
        definition: None,
        checker: checker(&configuration_schema),
        configuration_schema,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_compiles_and_accepts_its_own_example() {
        for connector in all() {
            let example = connector.example_configuration.as_ref().unwrap();
            assert_eq!(connector.check(example, &[]), [], "{}", connector.id);
            assert!(find(&connector.id).is_some_and(|found| Arc::ptr_eq(&found, connector)));
            for guide in &connector.auth_methods {
                assert!(jsonschema::meta::is_valid(&guide.method.credentials_schema()));
            }
        }
    }

    /// The examples of the reference page, as they stand there.
    #[test]
    fn the_examples_of_the_reference_page_are_accepted() {
        for (id, configuration) in [
            ("pcon_github", json!({"repository": "acme/backend", "branch": "main", "paths": ["src/", "docs/"]})),
            ("pcon_clickup", json!({"workspaceId": "12345", "listId": "67890", "defaultPriority": 3})),
            ("pcon_jira", json!({"projectKey": "PROJ", "issueType": "Task", "defaultAssignee": "user@example.com"})),
            ("pcon_jira", json!({"projectKey": "PROJ", "issueType": "Task"})),
            ("pcon_teams", json!({"teamId": "team-abc123", "channelId": "channel-xyz789"})),
            ("pcon_custom_mcp", json!({"endpoint": "https://my-server.com/api", "customSettings": {}})),
        ] {
            assert_eq!(find(id).unwrap().check(&configuration, &[]), [], "{id}");
        }
    }

    #[test]
    fn a_mismatch_names_where_it_is_and_not_what_was_there() {
        let rejections = find("pcon_github")
            .unwrap()
            .check(&json!({"repository": "a/b", "paths": ["src/", {"token": "s3cret"}]}), &["input", "configuration"]);
        assert_eq!(rejections.len(), 1);
        assert_eq!(rejections[0].field, ["input", "configuration", "paths", "1"]);
        assert!(!rejections[0].message.contains("s3cret"), "{}", rejections[0].message);
    }

    #[test]
    fn the_origin_is_canonical_and_an_address_without_one_is_refused() {
        let mcp = find("pcon_custom_mcp").unwrap();
        for (endpoint, origin) in [
            ("https://MCP.example.com/api?x=1", "https://mcp.example.com"),
            ("https://mcp.example.com:443/", "https://mcp.example.com"),
            ("http://127.1:8080/mcp", "http://127.0.0.1:8080"),
        ] {
            assert_eq!(mcp.origin(&json!({"endpoint": endpoint})), origin);
        }
        for endpoint in
            ["https://", "https://user:pw@example.com", "ftp://example.com", "example.com", "https://example.com/#a"]
        {
            assert!(!mcp.check(&json!({"endpoint": endpoint}), &[]).is_empty(), "{endpoint}");
        }
    }
}
