//! Who belongs to an organization: added, given another role, removed. And what goes with them.

use patchbay::auth::policy::{Role, Scope};
use serde_json::{Value, json};

use crate::harness::{Answer, Client, TestApp, github};

async fn add(client: &Client, email: &str, role: &str) -> Answer {
    let document =
        "mutation($email: String!, $role: OrganizationRole!) { organizationMemberAdd(email: $email, role: $role) {
        member { id userId role user { id name email } } userErrors { code field } } }";
    client.gql(document, json!({"email": email, "role": role})).await
}

async fn set_role(client: &Client, id: &Value, role: &str) -> Answer {
    let document = "mutation($id: ID!, $role: OrganizationRole!) { organizationMemberSetRole(id: $id, role: $role) {
        member { id role } userErrors { code field } } }";
    client.gql(document, json!({"id": id, "role": role})).await
}

async fn remove(client: &Client, id: &Value, heir: Value) -> Answer {
    let document =
        "mutation($id: ID!, $heir: ConfigurationOwnerInput) { organizationMemberRemove(id: $id, transferTo: $heir) {
        removedId transferredCount userErrors { code field } } }";
    client.gql(document, json!({"id": id, "heir": heir})).await
}

/// The membership of whoever that is.
pub async fn membership(client: &Client, of: &Client) -> Value {
    let (user, answer) = (
        of.id().await,
        client.gql("{ organization { members(first: 100) { nodes { id userId } } } }", json!({})).await,
    );
    let nodes = answer.data("/organization/members/nodes").as_array().unwrap();
    nodes.iter().find(|node| node["userId"] == user).unwrap()["id"].clone()
}

#[tokio::test]
async fn a_person_is_added_by_email_address_once() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let added = add(&acme.owner, " Nina@Example.com ", "member").await;
    let member = added.data("/organizationMemberAdd/member");
    assert_eq!((&member["role"], &member["user"]["email"]), (&json!("member"), &json!("Nina@Example.com")));
    assert_eq!(add(&acme.owner, "nina@example.COM", "viewer").await.user_errors(), ["INVALID_STATE at email"]);
    for email in ["", "nina", "@x", "x@", "a@b@c", "a b@example.com", &format!("{}@example.com", "x".repeat(320))] {
        assert_eq!(add(&acme.owner, email, "member").await.user_errors(), ["INVALID at email"], "{email}");
    }
    // Whether somebody uses this address elsewhere does not show: it is another person, until one signs in.
    let globex = app.organization("Globex").await;
    let elsewhere = add(&globex.owner, "nina@example.com", "member").await;
    assert_ne!(&elsewhere.data("/organizationMemberAdd/member")["userId"], &member["userId"]);
    assert_eq!(elsewhere.data("/organizationMemberAdd/member/user/name"), &Value::Null);
    // What the person is given before the first sign-in waits.
    let mut input = github("for Nina");
    input["owner"] = json!({"userId": member["userId"]});
    assert_eq!(acme.owner.create(input).await["userId"], member["userId"]);
}

#[tokio::test]
async fn owners_are_for_owners_and_the_last_one_stays() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let (admin, member) = (acme.person(Role::Admin).await, acme.person(Role::Member).await);
    let owner = membership(&acme.owner, &acme.owner).await;
    assert_eq!(set_role(&acme.owner, &owner, "admin").await.user_errors(), ["LAST_OWNER at id"]);
    assert_eq!(remove(&acme.owner, &owner, json!(null)).await.user_errors(), ["LAST_OWNER at id"]);
    assert_eq!(set_role(&acme.owner, &owner, "owner").await.user_errors(), Vec::<String>::new(), "nothing changes");
    for answer in [
        set_role(&admin, &owner, "member").await,
        remove(&admin, &owner, json!(null)).await,
        set_role(&admin, &membership(&admin, &member).await, "owner").await,
        add(&admin, "x@example.com", "owner").await,
    ] {
        assert_eq!(answer.code(), "FORBIDDEN", "{}", answer.text);
    }
    assert_eq!(
        set_role(&admin, &membership(&admin, &member).await, "admin")
            .await
            .data("/organizationMemberSetRole/member/role"),
        "admin"
    );
    // With a second owner the first may go, and then the second is the last.
    let second = membership(&acme.owner, &member).await;
    set_role(&acme.owner, &second, "owner").await;
    assert_eq!(remove(&member, &owner, json!(null)).await.user_errors(), Vec::<String>::new());
    assert_eq!(acme.owner.gql("{ viewer { role } }", json!({})).await.status, 401, "gone at once");
    assert_eq!(set_role(&member, &second, "viewer").await.user_errors(), ["LAST_OWNER at id"]);
}

/// Two owners who demote each other at once: one of the two stays.
#[tokio::test(flavor = "multi_thread")]
async fn two_owners_cannot_both_go() {
    let app = TestApp::new();
    for _ in 0..10 {
        let acme = app.organization("Acme").await;
        let other = acme.person(Role::Owner).await;
        let (first, second) = (membership(&acme.owner, &acme.owner).await, membership(&acme.owner, &other).await);
        let (a, b) = tokio::join!(set_role(&acme.owner, &second, "admin"), set_role(&other, &first, "admin"));
        let refused = [&a, &b]
            .into_iter()
            .filter(|answer| answer.code() == "FORBIDDEN" || answer.text.contains("LAST_OWNER"))
            .count();
        let owners =
            app.app.db.system_read(async |tx| patchbay::db::member::find_owner(tx, acme.id).await).await.unwrap();
        assert!(owners.is_some(), "{} {}", a.text, b.text);
        assert_eq!(refused, 1, "{} {}", a.text, b.text);
    }
}

#[tokio::test]
async fn who_goes_leaves_configurations_to_an_heir_or_takes_them_along() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let (leaver, heir) = (acme.person(Role::Admin).await, acme.person(Role::Member).await);
    let mut input = github("kept");
    input["credentials"] = json!({"bearer": {"token": "s3cret"}});
    let kept = leaver.create(input.clone()).await["id"].clone();
    let mut granted = Vec::new();
    for (name, to) in [("to the heir", json!({"userId": heir.id().await})), ("to all", json!({"organization": true}))] {
        input["name"] = json!(name);
        let id = leaver.create(input.clone()).await["id"].clone();
        leaver.grant(&id, to, "use").await.data("/personalConnectorConfigurationGrant/grant/id");
        granted.push(id);
    }
    let made = leaver.gql("mutation { apiKeyCreate(input: {name: \"k\", scopes: [configurations_read, configurations_write]}) { apiKey { id } secret } }", json!({})).await;
    let key = app.anonymous().with("x-api-key", made.data("/apiKeyCreate/secret").as_str().unwrap());
    let of_key = key.create(github("the key's")).await["id"].clone();
    heir.create(github("taken")).await;
    leaver.create(github("taken")).await;
    let id = membership(&acme.owner, &leaver).await;
    let to = json!({"userId": heir.id().await});
    assert_eq!(remove(&acme.owner, &id, to.clone()).await.user_errors(), ["NAME_TAKEN at transferTo"]);
    assert_eq!(leaver.names(json!({"ownedByViewer": true})).await.len(), 4, "nothing is half done");
    for (heir, error) in [
        (json!({"userId": leaver.id().await}), "INVALID at transferTo.userId"),
        (json!({"userId": "user_00000000000000000000000000"}), "NOT_FOUND at transferTo.userId"),
        (json!({"apiKeyId": "x"}), "NOT_FOUND at transferTo.apiKeyId"),
    ] {
        assert_eq!(remove(&acme.owner, &id, heir).await.user_errors(), [error]);
    }
    let clash = leaver.gql("{ personalConnectorConfigurations(filter: {name: {eq: \"taken\"}, ownedByViewer: true}) { nodes { id } } }", json!({})).await;
    let clash = clash.data("/personalConnectorConfigurations/nodes/0/id").clone();
    leaver.update(&clash, json!({"name": "renamed"}), None).await;

    let gone = remove(&acme.owner, &id, to).await;
    assert_eq!(gone.data("/organizationMemberRemove/transferredCount"), 4);
    assert_eq!(leaver.gql("{ viewer { role } }", json!({})).await.status, 401);
    assert_eq!(key.gql("{ viewer { scopes } }", json!({})).await.status, 401, "a key follows its creator");
    assert_eq!(heir.find(&kept).await["userId"], heir.id().await);
    assert_eq!(acme.owner.find(&of_key).await["apiKeyId"], *made.data("/apiKeyCreate/apiKey/id"));
    // The account that the leaver shared with the heir is passed on; for another one the heir connects their own.
    let info = "query($id: ID!) { personalConnectorConfiguration(id: $id) { credentialsInfo { type } } }";
    for (id, expected) in
        [(&kept, json!(null)), (&granted[0], json!({"type": "bearer"})), (&granted[1], json!({"type": "bearer"}))]
    {
        let answer = heir.gql(info, json!({"id": id})).await;
        assert_eq!(answer.data("/personalConnectorConfiguration/credentialsInfo"), &expected);
    }
    let log = acme.owner.audit_log(7).await;
    let actions: Vec<_> = log.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        [
            "credential.destroyed",
            "personal_connector_configuration.transferred",
            "personal_connector_configuration.transferred",
            "personal_connector_configuration.transferred",
            "personal_connector_configuration.transferred",
            "api_key.revoked",
            "member.removed"
        ]
    );

    // Nobody inherits: all of it goes.
    let count = acme.owner.names(json!(null)).await.len();
    remove(&acme.owner, &membership(&acme.owner, &heir).await, json!(null)).await;
    assert_eq!(acme.owner.names(json!(null)).await.len(), count - 5);
    assert_eq!(acme.owner.find(&kept).await, json!(null));
}

#[tokio::test]
async fn a_key_follows_its_creators_role_and_changes_no_members() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let admin = acme.person(Role::Admin).await;
    let made = admin
        .gql(
            "mutation { apiKeyCreate(input: {name: \"k\", scopes: [members_read, api_keys_read]}) { secret } }",
            json!({}),
        )
        .await;
    let key = app.anonymous().with("x-api-key", made.data("/apiKeyCreate/secret").as_str().unwrap());
    let keys = "{ organization { apiKeys { totalCount } } }";
    assert_eq!(key.gql(keys, json!({})).await.code(), "");
    set_role(&acme.owner, &membership(&acme.owner, &admin).await, "member").await;
    assert_eq!(key.gql(keys, json!({})).await.code(), "FORBIDDEN");
    assert_eq!(key.gql("{ organization { members { totalCount } } }", json!({})).await.code(), "");
    let all = acme.api_key(&Scope::ALL).await;
    let member = membership(&acme.owner, &admin).await;
    for answer in [
        add(&all, "x@example.com", "viewer").await,
        set_role(&all, &member, "viewer").await,
        remove(&all, &member, json!(null)).await,
        all.gql("mutation { organizationUpdate(name: \"x\") { userErrors { code } } }", json!({})).await,
    ] {
        assert_eq!(answer.code(), "FORBIDDEN", "{}", answer.text);
    }
}

#[tokio::test]
async fn the_organization_is_renamed_by_admins_and_loosened_by_owners() {
    let app = TestApp::new();
    let (acme, globex) = (app.organization("Acme").await, app.organization("Globex").await);
    let admin = acme.person(Role::Admin).await;
    let update = async |client: &Client, arguments: &str| {
        let document = format!(
            "mutation {{ organizationUpdate({arguments}) {{ organization {{ name slug apiKeysMayNeverExpire }} userErrors {{ code field }} }} }}"
        );
        client.gql(&document, json!({})).await
    };
    let slug = format!("s-{}", acme.id.to_string().to_lowercase().replace('_', "-"));
    let renamed = update(&admin, &format!("name: \"Acme Inc\", slug: \"{slug}\"")).await;
    assert_eq!(
        renamed.data("/organizationUpdate/organization"),
        &json!({"name": "Acme Inc", "slug": slug, "apiKeysMayNeverExpire": false})
    );
    for (arguments, error) in [
        ("name: \" \"", "REQUIRED at name"),
        ("slug: \"A\"", "INVALID at slug"),
        ("slug: \"-a\"", "INVALID at slug"),
        ("slug: \"\"", "INVALID at slug"),
        ("name: null", "REQUIRED at "),
    ] {
        assert_eq!(update(&admin, arguments).await.user_errors(), [error], "{arguments}");
    }
    assert_eq!(update(&globex.owner, &format!("slug: \"{slug}\"")).await.user_errors(), ["NAME_TAKEN at slug"]);
    assert_eq!(update(&admin, "apiKeysMayNeverExpire: true").await.code(), "FORBIDDEN");
    assert_eq!(
        update(&acme.owner, "apiKeysMayNeverExpire: true")
            .await
            .data("/organizationUpdate/organization/apiKeysMayNeverExpire"),
        true
    );
}

/// Who goes by their own will may: that the membership is gone when the write is done is no surprise then.
#[tokio::test]
async fn a_person_steps_down_and_leaves() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let admin = acme.person(Role::Admin).await;
    let id = membership(&acme.owner, &admin).await;
    let both = "mutation($id: ID!) {
        down: organizationMemberSetRole(id: $id, role: member) { member { role } userErrors { code } }
        up: organizationMemberSetRole(id: $id, role: admin) { member { role } userErrors { code } } }";
    let answer = admin.gql(both, json!({"id": id})).await;
    assert_eq!(answer.body["data"]["down"]["member"]["role"], "member", "{}", answer.text);
    assert_eq!((answer.code(), &answer.body["data"]["up"]), ("FORBIDDEN", &Value::Null));
    let admin = acme.person(Role::Admin).await;
    let id = membership(&acme.owner, &admin).await;
    assert_eq!(remove(&admin, &id, json!(null)).await.user_errors(), Vec::<String>::new());
    assert_eq!(admin.gql("{ viewer { role } }", json!({})).await.status, 401);
}

/// A removal that is not committed yet holds up what the removed person writes, and then it is too late for that.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_being_removed_adds_nobody() {
    use diesel_async::SimpleAsyncConnection as _;
    let database = crate::harness::fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let acme = app.organization("Acme").await;
    let admin = acme.person(Role::Admin).await;
    let (id, user) = (membership(&acme.owner, &admin).await, admin.id().await);
    let uuid = |id: &str| id.parse::<patchbay::id::UserId>().unwrap().uuid();
    // So that there is an audit log, whose end is what writers wait for.
    acme.owner.create(github("one")).await;
    let mut remover = database.owner.connect().await.unwrap();
    let removal = format!(
        "BEGIN; SET LOCAL ROLE patchbay_app; SET LOCAL patchbay.organization_id = '{}';
         DELETE FROM members WHERE user_id = '{}'; SELECT FROM audit_heads FOR UPDATE",
        acme.id.uuid(),
        uuid(user.as_str().unwrap())
    );
    remover.batch_execute(&removal).await.unwrap();
    let late = {
        let client = admin.clone();
        tokio::spawn(async move { add(&client, "mallory@example.com", "admin").await })
    };
    let waiting = format!(
        "SELECT 'waits' AS line FROM pg_locks JOIN pg_stat_activity a USING (pid) WHERE a.datname = '{}' AND NOT granted",
        database.name
    );
    while crate::tenancy::lines(&database, &waiting).await.is_empty() {
        assert!(!late.is_finished(), "{}", late.await.unwrap().text);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    remover.batch_execute("COMMIT").await.unwrap();
    assert_eq!(late.await.unwrap().code(), "UNAUTHENTICATED");
    let members =
        acme.owner.gql("{ organization { members(first: 100) { nodes { id user { email } } } } }", json!({})).await;
    assert!(!members.text.contains("mallory") && !members.text.contains(id.as_str().unwrap()), "{}", members.text);
}
