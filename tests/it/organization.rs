//! Organizations, members, people, and objects by id.

use patchbay::auth::policy::{Role, Scope};
use serde_json::json;

use crate::harness::{TestApp, github};

#[tokio::test]
async fn members_are_listed_oldest_first_and_found_by_role_and_name() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let member = acme.person(Role::Member).await;
    acme.person(Role::Viewer).await;
    let document = "query($filter: OrganizationMemberFilter, $first: Int, $after: String) {
        organization { id object name slug members(filter: $filter, first: $first, after: $after) {
          totalCount nodes { id role userId user { id object name email } } edges { cursor } pageInfo { hasNextPage endCursor } } } }";
    let answer = acme.owner.gql(document, json!({})).await;
    let nodes = answer.data("/organization/members/nodes").as_array().unwrap();
    assert_eq!(
        nodes.iter().map(|node| node["role"].as_str().unwrap()).collect::<Vec<_>>(),
        ["owner", "member", "viewer"]
    );
    assert!(nodes.iter().all(|node| node["user"]["id"] == node["userId"] && node["user"]["email"].is_string()));

    let page = acme.owner.gql(document, json!({"first": 2})).await;
    let cursor = page.data("/organization/members/pageInfo/endCursor");
    let rest = acme.owner.gql(document, json!({"first": 2, "after": cursor})).await;
    assert_eq!(rest.data("/organization/members/nodes/0/role"), "viewer");
    assert_eq!(rest.data("/organization/members/pageInfo/hasNextPage"), false);

    let viewers = acme.owner.gql(document, json!({"filter": {"role": "viewer"}})).await;
    assert_eq!(viewers.data("/organization/members/totalCount"), 1);
    let found = acme.owner.gql(document, json!({"filter": {"search": "MEMBER of"}})).await;
    assert_eq!(found.data("/organization/members/totalCount"), 1);

    // Addresses are for admins, and for oneself.
    let seen = member.gql(document, json!({})).await;
    let addresses: Vec<_> = seen
        .data("/organization/members/nodes")
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["user"]["email"].is_string())
        .collect();
    assert_eq!(addresses, [false, true, false]);
}

#[tokio::test]
async fn every_kind_of_object_is_found_by_its_id() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let configuration = acme.owner.create(github("one")).await["id"].clone();
    acme.api_key(&[Scope::MembersRead]).await;
    let answer = acme
        .owner
        .gql("{ organization { id members { nodes { id userId } } apiKeys { nodes { id } } } }", json!({}))
        .await;
    let at = |pointer: &str| answer.data(pointer).clone();
    let ids = json!([
        at("/organization/apiKeys/nodes/0/id"),
        "pcon_github",
        configuration,
        "pconf_00000000000000000000000000",
        "nonsense",
        at("/organization/id"),
        at("/organization/members/nodes/0/id"),
        at("/organization/members/nodes/0/userId"),
        configuration,
    ]);
    let nodes = acme.owner.gql("query($ids: [ID!]!) { nodes(ids: $ids) { id __typename } }", json!({"ids": ids})).await;
    let kinds: Vec<_> = nodes
        .data("/nodes")
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["__typename"].as_str().unwrap_or("-"))
        .collect();
    assert_eq!(
        kinds,
        [
            "ApiKey",
            "PersonalConnector",
            "PersonalConnectorConfiguration",
            "-",
            "-",
            "Organization",
            "OrganizationMember",
            "User",
            "PersonalConnectorConfiguration"
        ]
    );
    let many: Vec<_> = (0..101).map(|n| n.to_string()).collect();
    let refused = acme.owner.gql("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({"ids": many})).await;
    assert_eq!((refused.code(), refused.argument()), ("BAD_USER_INPUT", "ids"));
}

/// Relations of a page are loaded together: the number of statements does not grow with the page.
#[tokio::test]
async fn relations_cost_the_same_for_one_and_for_many() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let document = "{ personalConnectorConfigurations(first: 100) { totalCount nodes { id owner { __typename ... on ApiKey { createdBy { name } } }
        organization { name } personalConnector { name } credentialsInfo { type } } } }";
    let count = async || {
        let counter = Arc::new(AtomicU32::new(0));
        // The router counts for its log line, into the counter that is there.
        let answer = patchbay::db::count_statements(counter.clone(), acme.owner.gql(document, json!({}))).await;
        assert!(answer.body["errors"].is_null(), "{}", answer.text);
        counter.load(Ordering::Relaxed)
    };
    acme.owner.create(github("first")).await;
    let one = count().await;
    for n in 0..20 {
        acme.person(Role::Member).await.create(github(&format!("{n}"))).await;
    }
    assert!((3..10).contains(&one), "{one} statements");
    assert_eq!(count().await, one);
}
