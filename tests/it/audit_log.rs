//! The audit log: complete, without secrets, and provably as it was written.

use patchbay::auth::policy::{Role, Scope};
use serde_json::{Value, json};

use crate::harness::process::{Said, patchbay, run};
use crate::harness::{Database, TestApp, fresh_database, github};

fn audit(database: &Database, arguments: &[&str]) -> Said {
    let described = database.owner.describe();
    let folder = described.rsplit_once(" at ").unwrap().1;
    let url =
        format!("postgres://patchbay@%2F{}/{}", folder.trim_start_matches('/').replace('/', "%2F"), database.name);
    run(patchbay(&[&["audit"], arguments].concat()).env("DATABASE_URL", url))
}

#[tokio::test]
async fn an_entry_says_who_did_what_to_what_and_from_where() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let mia = acme
        .person(Role::Member)
        .await
        .at_address("192.0.2.7")
        .with("user-agent", "curl/8")
        .with("x-request-id", "req-1");
    let mut input = github("one");
    input["credentials"] = json!({"bearer": {"token": "s3cret"}});
    input["metadata"] = json!({"team": "a"});
    let id = mia.create(input).await["id"].clone();
    mia.update(
        &id,
        json!({"name": "two", "metadataPatch": {"team": "b", "env": "prod"}, "configurationPatch": {"branch": null}}),
        None,
    )
    .await;
    let key = acme.api_key(&Scope::ALL).await;
    let log = acme.owner.audit_log(3).await;
    assert_eq!(log[0]["action"], "personal_connector_configuration.created");
    assert_eq!((&log[0]["actorId"], &log[0]["actor"]), (&mia.id().await, &json!({"__typename": "User"})));
    assert_eq!((&log[0]["targetType"], &log[0]["targetId"]), (&json!("personal_connector_configuration"), &id));
    assert_eq!(log[0]["target"], json!({"__typename": "PersonalConnectorConfiguration", "id": id}));
    assert_eq!(
        (&log[0]["requestId"], &log[0]["ipAddress"], &log[0]["userAgent"]),
        (&json!("req-1"), &json!("192.0.2.7"), &json!("curl/8"))
    );
    assert!(
        log[0]["changes"]
            .as_array()
            .unwrap()
            .contains(&json!({"field": "credentials", "before": null, "after": "[redacted]"}))
    );
    assert_eq!(
        log[1]["changes"],
        json!([
            {"field": "name", "before": "one", "after": "two"},
            {"field": "configuration.branch", "before": "main", "after": null},
            {"field": "metadata.env", "before": null, "after": "prod"},
            {"field": "metadata.team", "before": "a", "after": "b"},
        ])
    );
    assert_eq!(log[2]["action"], "api_key.created");
    assert_eq!(log[2]["target"]["__typename"], "ApiKey");
    let text = json!(log).to_string();
    assert!(!text.contains("s3cret") && !text.contains(&key.header("x-api-key")[21..]), "{text}");
    // What is gone keeps its entries.
    mia.gql(
        "mutation($id: ID!) { personalConnectorConfigurationDelete(id: $id) { userErrors { code } } }",
        json!({"id": id}),
    )
    .await;
    let log = acme.owner.audit_log(1).await;
    assert_eq!(
        (&log[0]["action"], &log[0]["targetId"], &log[0]["target"]),
        (&json!("personal_connector_configuration.deleted"), &id, &Value::Null)
    );
    // And can be found by its id, as any node.
    let node = acme
        .owner
        .gql("query($id: ID!) { node(id: $id) { ... on AuditLogEntry { action } } }", json!({"id": log[0]["id"]}))
        .await;
    assert_eq!(node.data("/node/action"), "personal_connector_configuration.deleted");
    assert_eq!(
        mia.gql("query($id: ID!) { node(id: $id) { id } }", json!({"id": log[0]["id"]})).await.data("/node"),
        &Value::Null
    );
}

#[tokio::test]
async fn attempts_on_credentials_keys_members_and_grants_are_kept() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let (mia, key) = (acme.person(Role::Member).await, acme.api_key(&[Scope::ConfigurationsWrite]).await);
    let id = mia.create(github("one")).await["id"].clone();
    let attempts: [(&crate::harness::Client, &str, &str, Value); 7] = [
        (
            &mia,
            "mutation { apiKeyCreate(input: {name: \"x\", scopes: [members_read]}) { secret } }",
            "api_key.create_refused",
            json!(acme.id.to_string()),
        ),
        (
            &mia,
            "mutation($id: ID!) { apiKeyRevoke(id: $id) { userErrors { code } } }",
            "api_key.revoke_refused",
            id.clone(),
        ),
        (
            &mia,
            "mutation { organizationMemberRemove(id: \"mem_x\") { removedId } }",
            "member.remove_refused",
            json!("mem_x"),
        ),
        (
            &acme.owner,
            "mutation { organizationMemberRemove(id: \"mem_x\") { removedId userErrors { code } } }",
            "member.remove_failed",
            json!("mem_x"),
        ),
        (
            &key,
            "mutation($id: ID!) { personalConnectorConfigurationClearCredentials(id: $id) { userErrors { code } } }",
            "credential.write_refused",
            id.clone(),
        ),
        (
            &mia,
            "mutation($id: ID!) { personalConnectorConfigurationRotateCredentials(id: $id, credentials: {basic: {username: \"u\", password: \"p\"}}) { userErrors { code } } }",
            "credential.write_failed",
            id.clone(),
        ),
        (
            &acme.owner,
            "mutation($id: ID!) { personalConnectorConfigurationGrant(id: $id, to: {organization: true}, permission: use) { userErrors { code } } }",
            "grant.create_refused",
            id.clone(),
        ),
    ];
    for (client, document, action, target) in attempts {
        client.gql(document, json!({"id": id})).await;
        let log = acme.owner.audit_log(1).await;
        assert_eq!(
            (&log[0]["action"], &log[0]["targetId"], &log[0]["actorId"]),
            (&json!(action), &target, &client.id().await)
        );
    }
    // With credentials, creating is an attempt on credentials too.
    let mut input = github("two");
    input["credentials"] = json!({"bearer": {"token": "t"}});
    assert_eq!(key.try_create(input).await.code(), "FORBIDDEN");
    assert_eq!(acme.owner.audit_log(1).await[0]["action"], "credential.write_refused");
    // What is no attempt on any of these leaves nothing: a name that is blank, a read that is refused.
    let before = acme.owner.audit_log(1).await;
    mia.update(&id, json!({"name": ""}), None).await;
    mia.gql("{ organization { apiKeys { totalCount } auditLog { totalCount } } }", json!({})).await;
    assert_eq!(acme.owner.audit_log(1).await, before);
}

#[tokio::test]
async fn the_log_is_paged_and_filtered() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let mia = acme.person(Role::Member).await;
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(mia.with("x-request-id", &format!("r{n}")).create(github(&format!("c{n}"))).await["id"].clone());
    }
    acme.owner.update(&ids[3], json!({"name": "by the owner"}), None).await;
    let list = async |filter: Value, first: i32, after: Value| {
        let document = "query($filter: AuditLogFilter, $first: Int, $after: String) { organization { auditLog(filter: $filter, first: $first, after: $after) {
            totalCount nodes { action targetId } pageInfo { hasNextPage endCursor } } } }";
        acme.owner.gql(document, json!({"filter": filter, "first": first, "after": after})).await
    };
    let (mut after, mut seen) = (Value::Null, Vec::new());
    loop {
        let page = list(json!(null), 3, after).await;
        let log = page.data("/organization/auditLog").clone();
        assert_eq!(log["totalCount"], 8);
        seen.extend(log["nodes"].as_array().unwrap().iter().map(|node| node["targetId"].clone()));
        if log["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = log["pageInfo"]["endCursor"].clone();
    }
    let mut expected: Vec<_> = ids.iter().rev().cloned().collect();
    expected.insert(0, ids[3].clone());
    assert_eq!(seen, expected);
    for (filter, count) in [
        (json!({"action": {"eq": "personal_connector_configuration.updated"}}), 1),
        (json!({"action": {"startsWith": "personal_connector_configuration."}}), 8),
        (json!({"actorId": {"eq": mia.id().await}}), 7),
        (json!({"actorId": {"neq": mia.id().await}}), 1),
        (json!({"actorId": {"null": true}}), 0),
        (json!({"targetId": {"in": [ids[3], ids[4]]}}), 3),
        (json!({"targetType": {"eq": "api_key"}}), 0),
        (json!({"requestId": {"eq": "r5"}}), 1),
        (json!({"createdAt": {"lt": "2000-01-01T00:00:00Z"}}), 0),
        (json!({"createdAt": {"gt": "2000-01-01T00:00:00Z"}, "targetId": {"eq": ids[0]}}), 1),
    ] {
        let answer = list(filter.clone(), 10, json!(null)).await;
        assert_eq!(answer.data("/organization/auditLog/totalCount"), &json!(count), "{filter}");
    }
}

/// Every way in which somebody who owns the tables could change history, but for rewriting all of it: and for that an end
/// that was noted elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn an_edited_missing_or_moved_row_is_found() {
    let database = fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let acme = app.organization("Acme").await;
    let id = acme.id.to_string();
    for n in 0..6 {
        acme.owner.create(github(&format!("c{n}"))).await;
    }
    let verify = async |more: &[&str]| {
        let (database, more) = (database.clone(), more.iter().map(ToString::to_string).collect::<Vec<_>>());
        tokio::task::spawn_blocking(move || {
            let more: Vec<_> = more.iter().map(String::as_str).collect();
            audit(&database, &[&["verify", "--json"][..], &more].concat())
        })
        .await
        .unwrap()
    };
    let said = verify(&[]).await;
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let whole: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&whole["rows"], &whole["problems"]), (&json!(6), &json!([])));
    let anchor = whole["end"].as_str().unwrap().to_owned();
    assert_eq!(verify(&["--organization", &id, "--anchor", &anchor]).await.code, Some(0));

    app.sql("CREATE TABLE log_copy AS SELECT * FROM audit_log; CREATE TABLE head_copy AS SELECT * FROM audit_heads")
        .await;
    let head = "UPDATE audit_heads SET sequence = l.sequence, hash = l.hash FROM (SELECT * FROM audit_log ORDER BY sequence DESC LIMIT 1) l";
    for (tampering, words) in [
        ("UPDATE audit_log SET changes = '[]' WHERE sequence = 3", "row 3"),
        ("UPDATE audit_log SET actor_id = 'user_x' WHERE sequence = 1", "row 1"),
        ("UPDATE audit_log SET created_at = created_at + interval '1 microsecond' WHERE sequence = 6", "row 6"),
        ("UPDATE audit_log SET ip_address = '' WHERE sequence = 2", "row 2"),
        ("DELETE FROM audit_log WHERE sequence = 3", "rows 3 to 3 are missing"),
        ("DELETE FROM audit_log WHERE sequence IN (1, 2)", "rows 1 to 2 are missing"),
        ("DELETE FROM audit_log WHERE sequence = 6", "rows 6 to 6 are missing"),
        ("DELETE FROM audit_log", "rows 1 to 6 are missing"),
        ("DELETE FROM audit_heads", "the chain's end says 0"),
        ("UPDATE audit_heads SET sequence = 5", "the chain's end says 5"),
        (
            "UPDATE audit_heads SET sequence = 5, hash = (SELECT hash FROM audit_log WHERE sequence = 5)",
            "there are rows behind the chain's end, 5",
        ),
        (
            "UPDATE audit_log SET sequence = CASE sequence WHEN 3 THEN 104 ELSE 103 END WHERE sequence IN (3, 4);
             UPDATE audit_log SET sequence = sequence - 100 WHERE sequence > 100",
            "row 3",
        ),
        (
            "DELETE FROM audit_log WHERE sequence = 4; UPDATE audit_log SET sequence = sequence - 1 WHERE sequence = 5;
             UPDATE audit_log SET sequence = 5 WHERE sequence = 6",
            "row 4 does not follow row 3",
        ),
    ] {
        app.sql(tampering).await;
        let said = verify(&[]).await;
        assert_eq!(said.code, Some(1), "{tampering}: {}", said.out);
        assert!(said.out.contains(words), "{tampering}: {}", said.out);
        app.sql("DELETE FROM audit_log; DELETE FROM audit_heads; INSERT INTO audit_log SELECT * FROM log_copy; INSERT INTO audit_heads SELECT * FROM head_copy").await;
    }
    // Cut off with its head put right, the rest is whole in itself; the noted end is not in it.
    app.sql(&format!("DELETE FROM audit_log WHERE sequence = 6; {head}")).await;
    assert_eq!(verify(&[]).await.code, Some(0));
    let said = verify(&["--organization", &id, "--anchor", &anchor]).await;
    assert!(said.code == Some(1) && said.out.contains("anchor"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_exported_whole_and_pruned_from_its_beginning() {
    let database = fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let acme = app.organization("Acme").await;
    let id = acme.id.to_string();
    for n in 0..5 {
        acme.owner.create(github(&format!("c{n}"))).await;
    }
    let audit = async |arguments: &[&str]| {
        let (database, arguments) = (database.clone(), arguments.iter().map(ToString::to_string).collect::<Vec<_>>());
        tokio::task::spawn_blocking(move || {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            audit(&database, &arguments)
        })
        .await
        .unwrap()
    };
    let said = audit(&["export", "--organization", &id]).await;
    let rows: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.iter().map(|row| row["sequence"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(rows.windows(2).all(|pair| pair[1]["previousHash"] == pair[0]["hash"]));
    assert_eq!(rows[4]["changes"][2], json!({"field": "name", "before": null, "after": "c4"}));
    let after = audit(&["export", "--organization", &id, "--after", "3"]).await;
    assert_eq!(after.out.lines().count(), 2);

    // Three rows of long ago, in a chain that is right: as it would be after so much time.
    let old: Vec<_> =
        app.app.db.system_read(async |tx| patchbay::db::audit_log::list_after(tx, acme.id, 0, 10).await).await.unwrap();
    let mut previous = vec![0; 32];
    for mut row in old {
        if row.sequence <= 3 {
            row.created_at -= chrono::TimeDelta::days(100);
        }
        row.previous_hash = previous;
        row.hash = row.expected_hash().to_vec();
        previous = row.hash.clone();
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        app.sql(&format!(
            "UPDATE audit_log SET created_at = '{}', previous_hash = '\\x{}', hash = '\\x{}' WHERE sequence = {};
             UPDATE audit_heads SET hash = '\\x{}'",
            row.created_at.to_rfc3339(),
            hex(&row.previous_hash),
            hex(&row.hash),
            row.sequence,
            hex(&row.hash)
        ))
        .await;
    }
    assert_eq!(audit(&["verify"]).await.code, Some(0));
    let exported = audit(&["export", "--organization", &id]).await.out;
    let end = |at: usize| {
        let row: Value = serde_json::from_str(exported.lines().nth(at - 1).unwrap()).unwrap();
        format!("{}:{}", row["sequence"], row["hash"].as_str().unwrap())
    };
    assert_eq!(audit(&["prune", "--keep-days", "29"]).await.code, Some(1), "not less than 30");
    let pruned = audit(&["prune", "--keep-days", "90"]).await;
    assert!(pruned.code == Some(0) && pruned.out.contains("3 entries"), "{}{}", pruned.out, pruned.err);
    let said = audit(&["verify"]).await;
    assert!(said.code == Some(0) && said.out.contains("2 rows"), "{}", said.out);
    // An end that was noted before: behind what was pruned, at its end, within it.
    let wrong = format!("3:{}", "0".repeat(64));
    for (anchor, code, words) in [
        (end(5).to_uppercase(), 0, "2 rows, as written"),
        (end(3), 0, "2 rows, as written"),
        (wrong, 1, "the anchor is not in the chain"),
        (end(2), 1, "the anchor was pruned; give a later one"),
        ("5:abcd".to_owned(), 2, "the hash is not 64 hexadecimal digits"),
        (format!("5:{}", "g".repeat(64)), 2, "the hash is not 64 hexadecimal digits"),
        ("five".to_owned(), 2, "not SEQUENCE:HASH"),
    ] {
        let said = audit(&["verify", "--organization", &id, "--anchor", &anchor]).await;
        assert_eq!(said.code, Some(code), "{anchor}: {}{}", said.out, said.err);
        assert!(said.out.contains(words) || said.err.contains(words), "{anchor}: {}{}", said.out, said.err);
        assert_eq!(said.err.contains("not as it was written"), words.contains("not in the chain"), "{}", said.err);
    }
    let again = audit(&["prune", "--keep-days", "90"]).await;
    assert!(again.out.contains("0 entries"), "{}", again.out);
    // It goes on where it was, and what is cut off behind the pruned part is still found.
    acme.owner.create(github("more")).await;
    assert_eq!(audit(&["verify"]).await.code, Some(0));
    app.sql("DELETE FROM audit_log WHERE sequence = 4").await;
    let said = audit(&["verify"]).await;
    assert!(said.code == Some(1) && said.out.contains("rows 4 to 4 are missing"), "{}", said.out);
}
