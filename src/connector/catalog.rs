//! The connectors that ship with the service.
//!
//! Each schema names what we know and lets further members pass: providers have more settings than we use.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{AuthMethod, AuthMethodGuide, Connector, ConnectorType, Transport};
use crate::vault::Kind;

/// All of them, in the order they are shown.
pub fn all() -> &'static [Connector] {
    static CATALOG: LazyLock<[Connector; 5]> = LazyLock::new(|| [github(), clickup(), jira(), teams(), custom_mcp()]);
    &*CATALOG
}

/// The connector of that id.
pub fn find(id: &str) -> Option<&'static Connector> {
    all().iter().find(|connector| connector.id == id)
}

const API_KEY: AuthMethod = AuthMethod::Credential(Kind::ApiKey);
const OAUTH2: AuthMethod = AuthMethod::Credential(Kind::OAuth2);
const BEARER: AuthMethod = AuthMethod::Credential(Kind::Bearer);
const BASIC: AuthMethod = AuthMethod::Credential(Kind::Basic);

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
fn validator(schema: &Value) -> LazyLock<jsonschema::Validator, Box<dyn FnOnce() -> jsonschema::Validator + Send>> {
    let schema = schema.clone();
    LazyLock::new(Box::new(move || {
        jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema of the catalogue compiles")
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
        id: "pcon_github",
        connector_id: "github",
        connector_type: ConnectorType::Official,
        transport: Transport::Native,
        name: "GitHub",
        description: "Repositories, issues and pull requests.",
        category: "development",
        version: "1.0.0",
        documentation_url: Some("https://docs.github.com/rest"),
        auth_methods: vec![
            AuthMethodGuide {
                method: BEARER,
                label: "Personal access token",
                instructions: "GitHub → Settings → Developer settings → Personal access tokens → Fine-grained tokens. Choose the \
                               repository and grant *Contents: read* and *Metadata: read*. The token begins with `github_pat_` or `ghp_`.",
            },
            AuthMethodGuide {
                method: OAUTH2,
                label: "OAuth token",
                instructions: "An access token of a GitHub App or OAuth App, with scope `repo` for private repositories.",
            },
            AuthMethodGuide {
                method: API_KEY,
                label: "Personal access token, as an API key",
                instructions: "The same token as above, for scripts that call every key an API key.",
            },
        ],
        example_configuration: json!({
            "repository": "acme/backend", "branch": "main", "paths": ["src/", "docs/"], "fileTypes": [".py", ".md"],
        }),
        address_member: None,
        validator: validator(&configuration_schema),
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
        id: "pcon_clickup",
        connector_id: "clickup",
        connector_type: ConnectorType::Builtin,
        transport: Transport::Native,
        name: "ClickUp",
        description: "Tasks and lists.",
        category: "productivity",
        version: "1.0.0",
        documentation_url: Some("https://developer.clickup.com"),
        auth_methods: vec![
            AuthMethodGuide {
                method: API_KEY,
                label: "Personal API token",
                instructions: "ClickUp → avatar → Settings → Apps → API Token → Generate. The token begins with `pk_` and does not expire.",
            },
            AuthMethodGuide {
                method: OAUTH2,
                label: "OAuth token",
                instructions: "An access token of a ClickUp OAuth app; the person chooses the workspaces it is for.",
            },
        ],
        example_configuration: json!({
            "workspaceId": "12345", "listId": "67890", "defaultPriority": 3, "defaultStatus": "To Do",
        }),
        address_member: None,
        validator: validator(&configuration_schema),
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
        id: "pcon_jira",
        connector_id: "jira",
        connector_type: ConnectorType::Builtin,
        transport: Transport::Native,
        name: "Jira",
        description: "Issues and projects of Jira Cloud.",
        category: "productivity",
        version: "1.0.0",
        documentation_url: Some("https://developer.atlassian.com/cloud/jira/platform/rest/v3/"),
        auth_methods: vec![
            AuthMethodGuide {
                method: OAUTH2,
                label: "OAuth token",
                instructions: "An access token of an Atlassian OAuth 2.0 (3LO) app with scopes `read:jira-work` and `read:jira-user`.",
            },
            AuthMethodGuide {
                method: BASIC,
                label: "E-mail address and API token",
                instructions: "Atlassian account → Security → Create API token. User name: your e-mail address; password: the token. \
                               Set `siteUrl` too. Tokens end within a year.",
            },
            AuthMethodGuide {
                method: BEARER,
                label: "Service account key",
                instructions: "Atlassian administration → Directory → Service accounts → Create credentials.",
            },
        ],
        example_configuration: json!({
            "projectKey": "PROJ", "issueType": "Task", "defaultAssignee": "user@example.com",
        }),
        address_member: Some("siteUrl"),
        validator: validator(&configuration_schema),
        configuration_schema,
    }
}

fn teams() -> Connector {
    let id = |title: &str| json!({"type": "string", "title": title, "minLength": 1, "maxLength": 200, "pattern": "^[^\\s/]+$"});
    let configuration_schema =
        schema("Microsoft Teams", &["teamId", "channelId"], json!({"teamId": id("Team"), "channelId": id("Channel")}));
    Connector {
        id: "pcon_teams",
        connector_id: "teams",
        connector_type: ConnectorType::Builtin,
        transport: Transport::Native,
        name: "Microsoft Teams",
        description: "Teams, channels and their messages.",
        category: "communication",
        version: "1.0.0",
        documentation_url: Some("https://learn.microsoft.com/graph/teams-concept-overview"),
        auth_methods: vec![
            AuthMethodGuide {
                method: OAUTH2,
                label: "OAuth token",
                instructions: "An access token for Microsoft Graph with `Team.ReadBasic.All`, `Channel.ReadBasic.All` and, to be \
                               renewed, `offline_access`. Work or school accounts only.",
            },
            AuthMethodGuide {
                method: BEARER,
                label: "Pasted access token",
                instructions: "For a quick try: an access token from Graph Explorer. It lives for about an hour.",
            },
        ],
        example_configuration: json!({"teamId": "team-abc123", "channelId": "channel-xyz789"}),
        address_member: None,
        validator: validator(&configuration_schema),
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
        id: "pcon_custom_mcp",
        connector_id: "custom_mcp",
        connector_type: ConnectorType::Custom,
        transport: Transport::McpHttp,
        name: "Custom MCP server",
        description: "Any server that speaks the Model Context Protocol over streamable HTTP.",
        category: "custom",
        version: "1.0.0",
        documentation_url: Some("https://modelcontextprotocol.io"),
        auth_methods: vec![
            AuthMethodGuide {
                method: BEARER,
                label: "Bearer token",
                instructions: "Sent as `Authorization: Bearer ...`, to the endpoint's origin and nowhere else.",
            },
            AuthMethodGuide { method: API_KEY, label: "API key", instructions: "The key that your server asks for." },
            AuthMethodGuide {
                method: OAUTH2,
                label: "OAuth token",
                instructions: "An access token that your server accepts.",
            },
            AuthMethodGuide {
                method: BASIC,
                label: "User name and password",
                instructions: "HTTP basic authentication.",
            },
            AuthMethodGuide { method: AuthMethod::None, label: "None", instructions: "For a server that is open." },
        ],
        example_configuration: json!({"endpoint": "https://my-server.com/api", "customSettings": {"region": "eu"}}),
        address_member: Some("endpoint"),
        validator: validator(&configuration_schema),
        configuration_schema,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_compiles_and_accepts_its_own_example() {
        for connector in all() {
            assert_eq!(connector.check(&connector.example_configuration, &[]), [], "{}", connector.id);
            assert!(find(connector.id).is_some_and(|found| std::ptr::eq(found, connector)));
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
