//! Who may do what, as a table that a person can read, and as the API does it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use async_graphql::parser::types::TypeKind;

use patchbay::auth::jwt::sign;
use patchbay::auth::policy::{Action, KeyRule, Role, Scope};
use patchbay::db;
use secrecy::SecretString;
use serde_json::json;

use crate::harness::{JWT_SECRET, TestApp, github, subject};

#[test]
fn the_policy_reads_like_this() {
    let mut table = format!(
        "{:<72}{:<8}{:<8}{:<8}{:<8}{:<26}{}\n",
        "what", "viewer", "member", "admin", "owner", "API key", "name in the audit log"
    );
    for action in Action::ALL.iter().copied() {
        let (lowest, key) = action.rule();
        let _ = write!(table, "{:<72}", action.description());
        for role in Role::ALL {
            let _ = write!(table, "{:<8}", if role >= lowest { "yes" } else { "-" });
        }
        let key = match key {
            KeyRule::Always => "yes".to_owned(),
            KeyRule::With(scope) => format!("with {}", scope.as_str()),
            KeyRule::Itself => "itself only".to_owned(),
            KeyRule::Never => "never".to_owned(),
        };
        let _ = writeln!(table, "{key:<26}{}", action.as_str());
    }
    insta::assert_snapshot!(table);
}

const PCONF: &str = "pconf_00000000000000000000000000";

/// Each field of `Query` and `Mutation`, the action that it needs, and a document that asks for it and changes nothing.
const ROOT_FIELDS: &[(&str, Action, &str)] = &[
    ("viewer", Action::ViewerRead, "{ viewer { role scopes } }"),
    (
        "viewerTokensRevoke",
        Action::ViewerTokensRevoke,
        "mutation { viewerTokensRevoke(tokenId: \"one\") { userErrors { code } } }",
    ),
    ("organization", Action::OrganizationRead, "{ organization { name } }"),
    ("node", Action::ViewerRead, "{ node(id: \"x\") { id } }"),
    ("nodes", Action::ViewerRead, "{ nodes(ids: [\"x\"]) { id } }"),
    ("service", Action::ViewerRead, "{ service { version } }"),
    ("personalConnector", Action::ConnectorRead, "{ personalConnector(id: \"x\") { id } }"),
    ("rateLimit", Action::ViewerRead, "{ rateLimit { cost } }"),
    (
        "personalConnectorCreate",
        Action::ConnectorCreate,
        "mutation { personalConnectorCreate(input: {name: \"\", serverUrl: \"https://example.com\", authMethods: []}) {
           userErrors { code } } }",
    ),
    (
        "personalConnectorUpdate",
        Action::ConnectorUpdate,
        "mutation { personalConnectorUpdate(id: \"x\", input: {enabled: true}) { userErrors { code } } }",
    ),
    (
        "personalConnectorDelete",
        Action::ConnectorDelete,
        "mutation { personalConnectorDelete(id: \"x\") { userErrors { code } } }",
    ),
    ("personalConnectors", Action::ConnectorRead, "{ personalConnectors { totalCount } }"),
    (
        "validateConfiguration",
        Action::ConnectorRead,
        "{ validateConfiguration(personalConnectorId: \"pcon_github\", configuration: {}) { valid } }",
    ),
    ("apiKey", Action::ApiKeyRead, "{ apiKey(id: \"x\") { id } }"),
    (
        "personalConnectorConfiguration",
        Action::ConfigurationRead,
        "{ personalConnectorConfiguration(id: \"x\") { id } }",
    ),
    (
        "personalConnectorConfigurations",
        Action::ConfigurationRead,
        "{ personalConnectorConfigurations { totalCount } }",
    ),
    (
        "personalConnectorConfigurationCreate",
        Action::ConfigurationCreate,
        "mutation($create: PersonalConnectorConfigurationCreateInput!) {
           personalConnectorConfigurationCreate(input: $create) { userErrors { code } } }",
    ),
    (
        "personalConnectorConfigurationUpdate",
        Action::ConfigurationUpdate,
        "mutation($id: ID!) { personalConnectorConfigurationUpdate(id: $id, input: {}) { userErrors { code } } }",
    ),
    (
        "personalConnectorConfigurationEnable",
        Action::ConfigurationUpdate,
        "mutation($id: ID!) { personalConnectorConfigurationEnable(id: $id) { userErrors { code } } }",
    ),
    (
        "personalConnectorConfigurationDisable",
        Action::ConfigurationUpdate,
        "mutation($id: ID!) { personalConnectorConfigurationDisable(id: $id) { userErrors { code } } }",
    ),
    (
        "personalConnectorConfigurationsBulkUpdate",
        Action::ConfigurationUpdate,
        "mutation($id: ID!) { personalConnectorConfigurationsBulkUpdate(selector: {ids: [$id]}, patch: {enabled: true}) { userErrors { code } } }",
    ),
    (
        "personalConnectorConfigurationDelete",
        Action::ConfigurationDelete,
        "mutation($id: ID!) { personalConnectorConfigurationDelete(id: $id) { userErrors { code } } }",
    ),
    (
        "personalConnectorConfigurationsBulkDelete",
        Action::ConfigurationDelete,
        "mutation($id: ID!) { personalConnectorConfigurationsBulkDelete(selector: {ids: [$id]}) { userErrors { code } } }",
    ),
    (
        "personalConnectorConfigurationClearCredentials",
        Action::CredentialWrite,
        "mutation($id: ID!) { personalConnectorConfigurationClearCredentials(id: $id) { userErrors { code } } }",
    ),
    (
        "personalConnectorConfigurationRotateCredentials",
        Action::CredentialWrite,
        "mutation($id: ID!) { personalConnectorConfigurationRotateCredentials(id: $id, credentials: {bearer: {token: \"t\"}}) { userErrors { code } } }",
    ),
    (
        "personalConnectorConfigurationGrant",
        Action::GrantCreate,
        "mutation($id: ID!) { personalConnectorConfigurationGrant(id: $id, to: {organization: true}, permission: use) { userErrors { code } } }",
    ),
    (
        "personalConnectorConfigurationRevokeGrant",
        Action::GrantRevoke,
        "mutation($id: ID!) { personalConnectorConfigurationRevokeGrant(id: $id, grantId: \"x\") { userErrors { code } } }",
    ),
    (
        "apiKeyCreate",
        Action::ApiKeyCreate,
        "mutation { apiKeyCreate(input: {name: \"\", scopes: []}) { userErrors { code } } }",
    ),
    ("apiKeyUpdate", Action::ApiKeyUpdate, "mutation { apiKeyUpdate(id: \"x\", input: {}) { userErrors { code } } }"),
    ("apiKeyRotate", Action::ApiKeyRotate, "mutation { apiKeyRotate(id: \"x\") { userErrors { code } } }"),
    ("apiKeyRevoke", Action::ApiKeyRevoke, "mutation { apiKeyRevoke(id: \"x\") { userErrors { code } } }"),
    (
        "organizationUpdate",
        Action::OrganizationUpdate,
        "mutation { organizationUpdate(name: \"\") { userErrors { code } } }",
    ),
    (
        "organizationUpdate",
        Action::OrganizationPolicyUpdate,
        "mutation { organizationUpdate(name: \"\", apiKeysMayNeverExpire: false) { userErrors { code } } }",
    ),
    (
        "organizationMemberAdd",
        Action::MemberAdd,
        "mutation { organizationMemberAdd(email: \"\") { userErrors { code } } }",
    ),
    (
        "organizationMemberAdd",
        Action::OwnerChange,
        "mutation { organizationMemberAdd(email: \"\", role: owner) { userErrors { code } } }",
    ),
    (
        "organizationMemberSetRole",
        Action::MemberSetRole,
        "mutation { organizationMemberSetRole(id: \"x\", role: viewer) { userErrors { code } } }",
    ),
    (
        "organizationMemberRemove",
        Action::MemberRemove,
        "mutation { organizationMemberRemove(id: \"x\") { userErrors { code } } }",
    ),
];

/// Each relation, the action that it needs, and a document that asks for it. Without a document it needs what its parent
/// needs, and a caller who may not have more gets null.
const RELATIONS: &[(&str, Action, &str)] = &[
    ("Viewer.user", Action::ViewerRead, "{ viewer { user { id } } }"),
    ("Viewer.apiKey", Action::ViewerRead, "{ viewer { apiKey { id } } }"),
    ("Viewer.organization", Action::OrganizationRead, "{ viewer { organization { id } } }"),
    ("Viewer.organizations", Action::OrganizationRead, "{ viewer { organizations { id } } }"),
    (
        "Viewer.personalConnectorConfigurations",
        Action::ConfigurationRead,
        "{ viewer { personalConnectorConfigurations { totalCount } } }",
    ),
    ("Organization.members", Action::MemberRead, "{ organization { members { totalCount } } }"),
    ("Organization.apiKeys", Action::ApiKeyRead, "{ organization { apiKeys { totalCount } } }"),
    ("Organization.auditLog", Action::AuditRead, "{ organization { auditLog { totalCount } } }"),
    ("Organization.encryption", Action::EncryptionRead, "{ organization { encryption { activeKeyVersion } } }"),
    ("OrganizationMember.user", Action::MemberRead, ""),
    ("ApiKey.createdBy", Action::MemberRead, ""),
    ("AuditLogEntry.actor", Action::AuditRead, ""),
    ("AuditLogEntry.target", Action::AuditRead, ""),
    (
        "PersonalConnector.configurations",
        Action::ConfigurationRead,
        "{ personalConnector(id: \"pcon_github\") { configurations { totalCount } } }",
    ),
    ("PersonalConnectorConfiguration.owner", Action::ViewerRead, ""),
    ("PersonalConnectorConfiguration.organization", Action::OrganizationRead, ""),
    ("PersonalConnectorConfiguration.personalConnector", Action::ConnectorRead, ""),
    ("PersonalConnectorConfiguration.grants", Action::ConfigurationRead, ""),
];

/// Fields that are objects and yet part of the row at hand.
const PARTS: &[&str] = &[
    "AuditLogEntry.changes",
    "ConfigurationValidation.errors",
    "EncryptionStatus.keys",
    "PersonalConnector.authMethods",
    "PersonalConnectorConfiguration.credentialsInfo",
    "Service.limits",
];

/// A new field of `Query` or `Mutation`, or a new relation, needs its line above.
#[test]
fn every_field_has_its_action() {
    let document = crate::schema::document();
    let kinds: std::collections::BTreeMap<_, _> = crate::schema::types(&document)
        .map(|definition| (definition.name.node.to_string(), &definition.kind))
        .collect();
    let (mut roots, mut relations) = (BTreeSet::new(), BTreeSet::new());
    for (name, kind) in &kinds {
        let TypeKind::Object(object) = kind else { continue };
        for field in &object.fields {
            let field_name = &field.node.name.node;
            if ["Query", "Mutation"].contains(&name.as_str()) {
                roots.insert(field_name.to_string());
                continue;
            }
            let ty = field.node.ty.node.to_string().replace(['[', ']', '!'], "");
            let is_object =
                matches!(kinds.get(&ty), Some(TypeKind::Object(_) | TypeKind::Interface(_) | TypeKind::Union(_)));
            // What a mutation answers was decided by the mutation; what a page holds, by the list.
            let decided = ["Payload", "Connection", "Edge", "BulkFailure"].iter().any(|end| name.ends_with(end));
            if is_object && !decided {
                relations.insert(format!("{name}.{field_name}"));
            }
        }
    }
    let known: BTreeSet<_> = ROOT_FIELDS.iter().map(|(field, _, _)| (*field).to_owned()).collect();
    assert_eq!(roots, known);
    let known: BTreeSet<_> =
        RELATIONS.iter().map(|(field, _, _)| *field).chain(PARTS.iter().copied()).map(str::to_owned).collect();
    assert_eq!(relations, known);
    // And no action is without a field, but for what nothing tests yet.
    let used: Vec<_> = ROOT_FIELDS.iter().chain(RELATIONS).map(|(_, action, _)| *action).collect();
    let unused: Vec<_> = Action::ALL.iter().filter(|action| !used.contains(action)).collect();
    assert_eq!(unused, [&Action::ConfigurationTest]);
}

#[tokio::test]
async fn the_api_does_as_the_policy_says() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let mut callers = Vec::new();
    for role in Role::ALL {
        callers.push((acme.person(role).await, role, None));
    }
    for scope in Scope::ALL {
        callers.push((acme.api_key(&[scope]).await, Role::Owner, Some(scope)));
    }
    for (name, action, document) in ROOT_FIELDS.iter().chain(RELATIONS).filter(|(_, _, document)| !document.is_empty())
    {
        let (lowest, key) = action.rule();
        for (client, role, scope) in &callers {
            let allowed = match scope {
                None => *role >= lowest,
                Some(scope) => match key {
                    KeyRule::Always | KeyRule::Itself => true,
                    KeyRule::With(needed) => *scope == needed,
                    KeyRule::Never => false,
                },
            };
            // A connector must be found before its configurations can be refused.
            let reachable = !document.contains("personalConnector(id: \"pcon_github\")")
                || scope.is_none_or(|scope| scope == Scope::ConnectorsRead);
            let variables = json!({"id": PCONF, "create": github("")});
            let answer = client.gql(document, variables).await;
            let expected = if allowed && reachable { "" } else { "FORBIDDEN" };
            assert_eq!(answer.code(), expected, "{name} as {} {scope:?}: {}", role.as_str(), answer.text);
        }
    }
}

#[tokio::test]
async fn a_forbidden_nullable_field_leaves_its_siblings() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let member = acme.person(Role::Member).await;
    let answer = member.gql("{ organization { name apiKeys { totalCount } } }", json!({})).await;
    assert_eq!(answer.body["data"], json!({"organization": {"name": "Acme", "apiKeys": null}}));
    assert_eq!(answer.code(), "FORBIDDEN");
    assert_eq!(answer.body["errors"][0]["path"], json!(["organization", "apiKeys"]));
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn people_see_their_own_admins_see_all_and_a_key_sees_its_own() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let (member, other, admin) =
        (acme.person(Role::Member).await, acme.person(Role::Member).await, acme.person(Role::Admin).await);
    let key = acme.api_key(&Scope::ALL).await;
    member.create(github("member's")).await;
    let id = other.create(github("other's")).await["id"].clone();
    key.create(github("key's")).await;
    assert_eq!(member.names(json!(null)).await, ["member's"]);
    assert_eq!(key.names(json!(null)).await, ["key's"]);
    assert_eq!(admin.names(json!(null)).await, ["key's", "other's", "member's"]);
    assert_eq!(acme.owner.names(json!({"ownedByViewer": true})).await, Vec::<String>::new());
    assert_eq!(acme.owner.names(json!({"ownedByViewer": false})).await, ["key's", "other's", "member's"]);
    // What is not visible is not there, for writing as for reading.
    assert_eq!(member.find(&id).await, json!(null));
    assert_eq!(member.update(&id, json!({"name": "mine"}), None).await.user_errors(), ["NOT_FOUND at id"]);
    assert_eq!(admin.update(&id, json!({"name": "changed"}), None).await.user_errors(), Vec::<String>::new());
}

#[tokio::test]
async fn credentials_need_their_own_scope() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let key = acme.api_key(&[Scope::ConfigurationsWrite]).await;
    let mut input = github("with a secret");
    assert_eq!(key.try_create(input.clone()).await.user_errors(), Vec::<String>::new());
    input["name"] = json!("another");
    input["credentials"] = json!({"bearer": {"token": "s3cret"}});
    assert_eq!(key.try_create(input).await.code(), "FORBIDDEN");
    assert_eq!(acme.owner.names(json!(null)).await, ["with a secret"]);
}

#[tokio::test]
async fn a_key_does_no_more_than_the_person_who_made_it() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let user = acme.user(Role::Admin).await;
    let admin = app.anonymous().with(
        "authorization",
        &format!("Bearer {}", sign(&acme.claims(&subject(user)), &SecretString::from(JWT_SECRET)).unwrap()),
    );
    let made = admin
        .gql(
            "mutation { apiKeyCreate(input: {name: \"k\", scopes: [configurations_write, api_keys_read]}) { secret } }",
            json!({}),
        )
        .await;
    let key = app.anonymous().with("x-api-key", made.data("/apiKeyCreate/secret").as_str().unwrap());
    assert_eq!(key.try_create(github("as admin")).await.user_errors(), Vec::<String>::new());

    let organization = acme.id;
    let set_role = async |role| {
        app.app.db.system_write(async |tx| db::member::put(tx, organization, user, Some(role)).await).await.unwrap();
    };
    set_role(Role::Member).await;
    let keys = key.gql("{ organization { apiKeys { totalCount } } }", json!({})).await;
    assert_eq!(keys.code(), "FORBIDDEN");
    set_role(Role::Viewer).await;
    assert_eq!(key.try_create(github("as viewer")).await.code(), "FORBIDDEN");
}
