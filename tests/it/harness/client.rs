//! Whoever calls: a person, a script, nobody.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::FIELDS;

/// Sends requests straight into the router.
#[derive(Clone)]
pub struct Client {
    router: Router,
    headers: Vec<(String, String)>,
    peer: Option<SocketAddr>,
}

impl Client {
    pub fn anonymous(router: Router) -> Self {
        Self { router, headers: Vec::new(), peer: None }
    }

    /// The same, with a header more.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    /// The same, from that address.
    pub fn at_address(&self, address: &str) -> Self {
        let mut client = self.clone();
        client.peer = Some(SocketAddr::new(address.parse().unwrap(), 4711));
        client
    }

    pub fn header(&self, name: &str) -> &str {
        &self.headers.iter().find(|(known, _)| known == name).unwrap().1
    }

    /// One operation, as clients send it.
    pub async fn gql(&self, document: &str, variables: Value) -> Answer {
        let body = json!({"query": document, "variables": variables}).to_string();
        self.with("content-type", "application/json").send(Method::POST, "/graphql", body).await
    }

    pub async fn send(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut request = request.body(body.into()).unwrap();
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::Null), text }
    }

    /// Creates a configuration and gives it with the fields of the reference page.
    pub async fn create(&self, input: Value) -> Value {
        let answer = self.try_create(input).await;
        assert_eq!(answer.user_errors(), Vec::<String>::new(), "{}", answer.text);
        answer.data("/personalConnectorConfigurationCreate/personalConnectorConfiguration").clone()
    }

    pub async fn try_create(&self, input: Value) -> Answer {
        let document = format!(
            "mutation Create($input: PersonalConnectorConfigurationCreateInput!) {{
               personalConnectorConfigurationCreate(input: $input) {{
                 personalConnectorConfiguration {{ {FIELDS} }}
                 userErrors {{ code message field ... on ConfigurationSchemaError {{ instancePath schemaPath keyword }}
                   ... on NameTakenError {{ existingId }} }}
               }}
             }}"
        );
        self.gql(&document, json!({"input": input})).await
    }

    pub async fn update(&self, id: &Value, input: Value, expected_version: Option<i64>) -> Answer {
        let document = format!(
            "mutation Update($id: ID!, $input: PersonalConnectorConfigurationUpdateInput!, $version: Int) {{
               personalConnectorConfigurationUpdate(id: $id, input: $input, expectedVersion: $version) {{
                 personalConnectorConfiguration {{ {FIELDS} }}
                 userErrors {{ code message field ... on VersionConflictError {{ expectedVersion currentVersion }} }}
               }}
             }}"
        );
        self.gql(&document, json!({"id": id, "input": input, "version": expected_version})).await
    }

    /// Who this is: `user_...` or `key_...`.
    pub async fn id(&self) -> Value {
        let answer = self.gql("{ viewer { user { id } apiKey { id } } }", json!({})).await;
        let viewer = answer.data("/viewer");
        if viewer["user"].is_null() { viewer["apiKey"]["id"].clone() } else { viewer["user"]["id"].clone() }
    }

    /// Gives access to a configuration.
    pub async fn grant(&self, id: &Value, to: Value, permission: &str) -> Answer {
        let document = "mutation($id: ID!, $to: GranteeInput!, $permission: GrantPermission!) {
            personalConnectorConfigurationGrant(id: $id, to: $to, permission: $permission) {
              grant { id permission userId apiKeyId grantedByUserId createdAt }
              userErrors { code field ... on LimitExceededError { limit current } } } }";
        self.gql(document, json!({"id": id, "to": to, "permission": permission})).await
    }

    /// The newest entries of the audit log, oldest first: `action target`.
    pub async fn audit_log(&self, last: usize) -> Vec<Value> {
        let document = "query($first: Int) { organization { auditLog(first: $first) { nodes {
            id action actorId actor { __typename } targetType targetId target { __typename id } requestId ipAddress userAgent createdAt
            changes { field before after } } } } }";
        let answer = self.gql(document, json!({"first": last})).await;
        let mut nodes = answer.data("/organization/auditLog/nodes").as_array().unwrap().clone();
        nodes.reverse();
        nodes
    }

    /// One configuration by id; null when it is not there.
    pub async fn find(&self, id: &Value) -> Value {
        let document = format!("query($id: ID!) {{ personalConnectorConfiguration(id: $id) {{ {FIELDS} }} }}");
        let answer = self.gql(&document, json!({"id": id})).await;
        assert!(answer.body["errors"].is_null(), "{}", answer.text);
        answer.data("/personalConnectorConfiguration").clone()
    }

    /// Names of the configurations that a filter lets through, in the default order.
    pub async fn names(&self, filter: Value) -> Vec<String> {
        let document = "query($filter: PersonalConnectorConfigurationFilter) {
            personalConnectorConfigurations(filter: $filter, first: 100) { totalCount nodes { name } } }";
        let answer = self.gql(document, json!({"filter": filter})).await;
        assert!(answer.body["errors"].is_null(), "{}", answer.text);
        let nodes = answer.data("/personalConnectorConfigurations/nodes").as_array().unwrap();
        let names: Vec<_> = nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(answer.data("/personalConnectorConfigurations/totalCount"), &json!(names.len()));
        names
    }
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    /// A part of `data`, by JSON Pointer. Fails the test when there are errors.
    pub fn data(&self, pointer: &str) -> &Value {
        assert!(self.body["errors"].is_null(), "{}", self.text);
        self.body["data"].pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {}", self.text))
    }

    /// The code of the first top-level error; empty when there is none.
    pub fn code(&self) -> &str {
        self.body["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
    }

    /// The argument that the first top-level error names.
    pub fn argument(&self) -> &str {
        self.body["errors"][0]["extensions"]["argument"].as_str().unwrap_or_default()
    }

    /// `CODE at path` of every user error of the one mutation.
    pub fn user_errors(&self) -> Vec<String> {
        assert!(self.body["errors"].is_null(), "{}", self.text);
        let payload = self.body["data"].as_object().and_then(|data| data.values().next()).unwrap();
        payload["userErrors"]
            .as_array()
            .unwrap_or_else(|| panic!("no userErrors in {}", self.text))
            .iter()
            .map(|error| {
                let path = error["field"]
                    .as_array()
                    .map(|path| path.iter().map(|part| part.as_str().unwrap()).collect::<Vec<_>>().join("."));
                format!("{} at {}", error["code"].as_str().unwrap(), path.unwrap_or_default())
            })
            .collect()
    }
}
