//! Pages: whole, without overlap, in order, both ways, whatever is added meanwhile.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::harness::{Client, TestApp, github};

const LIST: &str = "query($filter: PersonalConnectorConfigurationFilter, $order: PersonalConnectorConfigurationOrder!,
      $first: Int, $after: String, $last: Int, $before: String) {
    personalConnectorConfigurations(filter: $filter, orderBy: $order, first: $first, after: $after, last: $last, before: $before) {
      edges { cursor node { id } } nodes { id name createdAt updatedAt lastSyncAt healthStatus }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";

const ORDERS: [(&str, &str); 5] = [
    ("CREATED_AT", "createdAt"),
    ("UPDATED_AT", "updatedAt"),
    ("NAME", "name"),
    ("LAST_SYNC_AT", "lastSyncAt"),
    ("HEALTH_STATUS", "healthStatus"),
];

async fn page(client: &Client, variables: Value) -> Value {
    let answer = client.gql(LIST, variables).await;
    let page = answer.data("/personalConnectorConfigurations").clone();
    let (edges, nodes) = (page["edges"].as_array().unwrap(), page["nodes"].as_array().unwrap());
    assert_eq!(edges.len(), nodes.len());
    assert!(edges.iter().zip(nodes).all(|(edge, node)| edge["node"]["id"] == node["id"]));
    assert_eq!(page["pageInfo"]["startCursor"], edges.first().map_or(Value::Null, |edge| edge["cursor"].clone()));
    assert_eq!(page["pageInfo"]["endCursor"], edges.last().map_or(Value::Null, |edge| edge["cursor"].clone()));
    page
}

fn nodes(page: &Value) -> Vec<Value> {
    page["nodes"].as_array().unwrap().clone()
}

/// The whole list, page by page. After each page `between` may do something.
async fn walk(
    client: &Client,
    order: &Value,
    size: usize,
    backward: bool,
    mut between: impl AsyncFnMut(),
) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let variables = if backward {
            json!({"order": order, "last": size, "before": cursor})
        } else {
            json!({"order": order, "first": size, "after": cursor})
        };
        let variables = match cursor {
            // A null cursor is left out: that is the first page.
            Value::Null => variables
                .as_object()
                .unwrap()
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            _ => variables,
        };
        let page = page(client, variables).await;
        let (more, next) = if backward { ("hasPreviousPage", "startCursor") } else { ("hasNextPage", "endCursor") };
        let mut found = nodes(&page);
        assert!(found.len() <= size);
        if backward {
            found.append(&mut all);
            all = found;
        } else {
            all.append(&mut found);
        }
        if page["pageInfo"][more] == json!(false) {
            return all;
        }
        cursor = page["pageInfo"][next].clone();
        between().await;
    }
}

/// Twenty-three rows with many ties in every order.
async fn filled(app: &TestApp) -> crate::harness::Organization {
    let acme = app.organization("Acme").await;
    for n in 0..23 {
        acme.owner.create(github(&format!("{n}"))).await;
    }
    app.sql(&format!(
        "UPDATE configurations SET
           created_at = timestamptz '2025-10-01Z' + (get_byte(uuid_send(id), 15) % 4) * interval '1 microsecond',
           updated_at = timestamptz '2025-10-01Z' + (get_byte(uuid_send(id), 14) % 3) * interval '1 day',
           last_sync_at = CASE WHEN get_byte(uuid_send(id), 13) % 3 > 0 THEN timestamptz '2025-10-01Z' + (get_byte(uuid_send(id), 13) % 2) * interval '1 day' END,
           health_status = (ARRAY['healthy', 'unhealthy', 'unknown'])[1 + get_byte(uuid_send(id), 12) % 3]
         WHERE organization_id = '{}'",
        acme.id.uuid()
    ))
    .await;
    acme
}

#[test]
fn the_union_of_the_pages_is_the_list() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (_app, acme) = runtime.block_on(async {
        let app = TestApp::new();
        let acme = filled(&app).await;
        (app, acme)
    });
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    runner
        .run(&(0..5usize, any::<bool>(), 1..30usize, any::<bool>()), |(order, descending, size, backward)| {
            let (name, field) = ORDERS[order];
            let order = json!({"field": name, "direction": if descending { "DESC" } else { "ASC" }});
            let all = runtime.block_on(walk(&acme.owner, &order, size, backward, async || ()));
            let whole = nodes(&runtime.block_on(page(&acme.owner, json!({"order": order, "first": 100}))));
            prop_assert_eq!(&all, &whole);
            prop_assert_eq!(all.len(), 23);
            // Ordered by the field, then by id; what has no value comes first in ascending order.
            let mut sorted = all.clone();
            sorted.sort_by_key(|node| {
                (
                    node[field].as_str().unwrap_or_default().trim_end_matches('Z').to_owned(),
                    node["id"].as_str().unwrap().to_owned(),
                )
            });
            if descending {
                sorted.reverse();
            }
            prop_assert_eq!(all, sorted);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Rows that were there at the start are all seen once, though rows are added before, between and behind them.
#[tokio::test]
async fn rows_that_are_added_meanwhile_move_nothing() {
    let app = TestApp::new();
    let acme = filled(&app).await;
    for (n, order) in [
        json!({"field": "NAME"}),
        json!({"field": "CREATED_AT", "direction": "DESC"}),
        json!({"field": "LAST_SYNC_AT"}),
    ]
    .into_iter()
    .enumerate()
    {
        for backward in [false, true] {
            let before: Vec<_> = nodes(&page(&acme.owner, json!({"order": order, "first": 100})).await);
            let mut added = 0;
            let all = walk(&acme.owner, &order, 4, backward, async || {
                added += 1;
                acme.owner.create(github(&format!("added {n} {backward} {added}"))).await;
            })
            .await;
            let seen: Vec<_> = all.iter().filter(|node| before.contains(node)).cloned().collect();
            assert_eq!(seen, before, "{order} {backward}");
            let mut ids: Vec<_> = all.iter().map(|node| node["id"].as_str().unwrap()).collect();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), all.len(), "nothing is seen twice");
        }
    }
}

#[tokio::test]
async fn a_page_may_lie_between_two_cursors() {
    let app = TestApp::new();
    let acme = filled(&app).await;
    let order = json!({"field": "NAME"});
    let whole = page(&acme.owner, json!({"order": order, "first": 100})).await;
    let cursor = |at: usize| whole["edges"][at]["cursor"].clone();
    let all = nodes(&whole);
    let between =
        page(&acme.owner, json!({"order": order, "first": 100, "after": cursor(4), "before": cursor(10)})).await;
    assert_eq!(nodes(&between), all[5..10]);
    let start = page(&acme.owner, json!({"order": order, "first": 2, "after": cursor(4), "before": cursor(10)})).await;
    assert_eq!(nodes(&start), all[5..7]);
    assert_eq!(start["pageInfo"]["hasNextPage"], true);
    let end = page(&acme.owner, json!({"order": order, "last": 2, "after": cursor(4), "before": cursor(10)})).await;
    assert_eq!(nodes(&end), all[8..10]);
    assert_eq!(end["pageInfo"]["hasPreviousPage"], true);
    let empty = page(&acme.owner, json!({"order": order, "first": 2, "after": cursor(22)})).await;
    assert_eq!((nodes(&empty), &empty["pageInfo"]["hasNextPage"]), (vec![], &json!(false)));
    let default = page(&acme.owner, json!({"order": order})).await;
    assert_eq!(nodes(&default).len(), 23);
}

#[tokio::test]
async fn a_cursor_is_good_for_its_own_list_only() {
    let app = TestApp::new();
    let acme = filled(&app).await;
    let order = json!({"field": "NAME"});
    let cursor = page(&acme.owner, json!({"order": order, "first": 2})).await["pageInfo"]["endCursor"].clone();
    let text = cursor.as_str().unwrap();
    let mut edited = text.to_owned();
    edited.replace_range(0..1, if text.starts_with('A') { "B" } else { "A" });
    let other = app.organization("Globex").await;
    let refused = async |client: &Client, variables: Value, argument: &str| {
        let answer = client.gql(LIST, variables.clone()).await;
        assert_eq!((answer.code(), answer.argument()), ("BAD_USER_INPUT", argument), "{variables}: {}", answer.text);
    };
    for after in [
        json!(edited),
        json!(&text[..text.len() - 1]),
        json!(format!("{text}A")),
        json!(""),
        json!("nonsense"),
        json!("=="),
        json!("é"),
    ] {
        refused(&acme.owner, json!({"order": order, "after": after}), "after").await;
        refused(&acme.owner, json!({"order": order, "last": 1, "before": after}), "before").await;
    }
    for variables in [
        json!({"order": {"field": "CREATED_AT"}, "after": cursor}),
        json!({"order": {"field": "NAME", "direction": "DESC"}, "after": cursor}),
        json!({"order": order, "after": cursor, "filter": {"enabled": {"eq": true}}}),
    ] {
        refused(&acme.owner, variables, "after").await;
    }
    refused(&other.owner, json!({"order": order, "after": cursor}), "after").await;
    // Another list of the same things is another list.
    let viewer = acme
        .owner
        .gql("query($after: String) { viewer { personalConnectorConfigurations(orderBy: {field: NAME}, after: $after) { totalCount } } }", json!({"after": cursor}))
        .await;
    assert_eq!((viewer.code(), viewer.argument()), ("BAD_USER_INPUT", "after"));
    for (variables, argument) in [
        (json!({"order": order, "first": 0}), "first"),
        (json!({"order": order, "first": -1}), "first"),
        (json!({"order": order, "first": 101}), "first"),
        (json!({"order": order, "first": i32::MAX}), "first"),
        (json!({"order": order, "last": 0}), "last"),
        (json!({"order": order, "last": 101}), "last"),
        (json!({"order": order, "first": 1, "last": 1}), "last"),
        (json!({"order": order, "first": 3_000_000_000_u64}), "first"),
        (json!({"order": order, "first": 1.5}), "first"),
        (json!({"order": order, "first": "1"}), "first"),
        (json!({"order": {"field": "SIZE"}}), "orderBy.field"),
    ] {
        refused(&acme.owner, variables, argument).await;
    }
}
