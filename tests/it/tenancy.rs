//! Four locks between organizations, each tried on its own.
//!
//! 1. Privacy of `db`: the `compile_fail` examples in `src/db/mod.rs`.
//! 2. One door: `the_api_does_as_the_policy_says`, and the same examples.
//! 3. Scope: the matrix here, run as a superuser with row-level security switched off.
//! 4. Postgres: the matrix here again, with the scope taken out by hand; the catalogue; the composite keys.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{OperationType, Selection, TypeKind};
use chrono::TimeDelta;
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use patchbay::auth::jwt::{Claims, sign};
use patchbay::auth::policy::{Role, Scope};
use patchbay::db;
use patchbay::id::{OrganizationId, UserId};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::custom_connector::{crm, define, try_define};
use crate::harness::{
    AUDIENCE, Answer, Client, Database, ISSUER, JWT_SECRET, Organization, TestApp, fresh_database, github, subject,
};
use crate::schema::{document, types};

#[derive(diesel::QueryableByName, Debug)]
struct Line {
    #[diesel(sql_type = diesel::sql_types::Text)]
    line: String,
}

pub async fn lines(database: &Database, sql: &str) -> Vec<String> {
    let mut connection = database.owner.connect().await.unwrap();
    let rows: Vec<Line> = diesel::sql_query(sql).load(&mut connection).await.unwrap();
    rows.into_iter().map(|row| row.line).collect()
}

/// Tables that belong to no single organization, and why their policies differ.
const GLOBAL: [&str; 5] = ["users", "identities", "organization_claims", "organization_tombstones", "revoked_tokens"];

/// Every table is behind row-level security that nobody escapes, begins its keys with the organization, and refers to
/// other tables of the organization with it.
#[tokio::test]
async fn catalogue() {
    let database = fresh_database().await;
    let tables = lines(
        &database,
        "SELECT relname::text AS line FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') AND relname <> '__diesel_schema_migrations'
         ORDER BY 1",
    )
    .await;
    assert!(tables.len() >= 9, "{tables:?}");

    let open = lines(
        &database,
        "SELECT relname::text AS line FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> '__diesel_schema_migrations'
           AND NOT (relrowsecurity AND relforcerowsecurity)",
    )
    .await;
    assert_eq!(open, Vec::<String>::new(), "row-level security is not forced");

    for table in tables.iter().filter(|table| !GLOBAL.contains(&table.as_str())) {
        let column = if table == "organizations" { "id" } else { "organization_id" };
        let policies = lines(
            &database,
            &format!(
                "SELECT format('%s %s %s %s', polname, CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END,
                        polcmd, coalesce(pg_get_expr(polqual, polrelid) = pg_get_expr(polwithcheck, polrelid), false)) AS line
                 FROM pg_policy WHERE polrelid = '{table}'::regclass AND 'patchbay_app'::regrole = ANY (polroles) ORDER BY 1"
            ),
        )
        .await;
        assert_eq!(policies, ["organization permissive * t", "organization_guard restrictive * t"], "{table}");
        let conditions = lines(
            &database,
            &format!(
                "SELECT DISTINCT pg_get_expr(polqual, polrelid) AS line FROM pg_policy
                 WHERE polrelid = '{table}'::regclass AND 'patchbay_app'::regrole = ANY (polroles)"
            ),
        )
        .await;
        assert_eq!(
            conditions,
            [format!("({column} = ( SELECT current_organization_id() AS current_organization_id))")],
            "{table}"
        );
        let keys = lines(
            &database,
            &format!(
                "SELECT format('%s begins with %s', indexrelid::regclass, coalesce(a.attname, 'an expression')) AS line
                 FROM pg_index i LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] AND a.attnum > 0
                 WHERE i.indrelid = '{table}'::regclass AND (i.indisunique OR i.indisexclusion)
                   AND a.attname IS DISTINCT FROM '{column}' ORDER BY 1"
            ),
        )
        .await;
        // Slugs stand in addresses: whether one is taken is no secret.
        let public: &[&str] = if table == "organizations" { &["organizations_slug_key begins with slug"] } else { &[] };
        assert_eq!(keys, public, "a unique key tells one organization what another has");
        let nullable = lines(
            &database,
            &format!(
                "SELECT attname::text AS line FROM pg_attribute
                 WHERE attrelid = '{table}'::regclass AND attname = '{column}' AND NOT attnotnull"
            ),
        )
        .await;
        assert_eq!(nullable, Vec::<String>::new(), "{table}");
    }

    // An organization is deleted in one step, or something in it is in the way of something else.
    let staying = lines(
        &database,
        "SELECT t.relname::text AS line FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'organization_id'
         WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p') AND NOT EXISTS (
           SELECT FROM pg_constraint c WHERE c.conrelid = t.oid AND c.contype = 'f' AND c.confrelid = 'organizations'::regclass
             AND c.conkey = ARRAY[a.attnum] AND c.confdeltype = 'c')
         ORDER BY 1",
    )
    .await;
    assert_eq!(staying, Vec::<String>::new(), "a table whose rows do not go with their organization");

    // Postgres checks references as the table's owner, past row-level security: they must carry the organization.
    let careless = lines(
        &database,
        "SELECT format('%s.%s', c.conrelid::regclass, c.conname) AS line FROM pg_constraint c
         WHERE c.contype = 'f' AND c.confrelid NOT IN ('organizations'::regclass, 'users'::regclass)
           AND NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1]
                           WHERE a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
                             AND a.attname = 'organization_id' AND f.attname = 'organization_id')",
    )
    .await;
    assert_eq!(careless, Vec::<String>::new(), "a reference without the organization");
}

/// Every policy there is, of every table, as Postgres has it.
#[tokio::test]
async fn policies_are_these() {
    let database = fresh_database().await;
    let policies = lines(
        &database,
        "SELECT format(E'%s: %s, %s, %s, to %s\n  using %s\n  check %s', tablename, policyname, lower(permissive), cmd,
                array_to_string(roles, ' '), coalesce(qual, '-'), coalesce(with_check, '-')) AS line
         FROM pg_policies WHERE schemaname = 'public' ORDER BY tablename, policyname",
    )
    .await;
    insta::assert_snapshot!(policies.join("\n"));
}

/// What everybody may who can log in, without any of the roles.
#[tokio::test]
async fn the_public_may_nothing() {
    let database = fresh_database().await;
    let granted = lines(
        &database,
        "SELECT format('%s on %s', privilege_type, oid::regclass) AS line
         FROM pg_class, aclexplode(relacl) WHERE relnamespace = 'public'::regnamespace AND grantee = 0
         UNION ALL SELECT format('%s on %s.%s', privilege_type, attrelid::regclass, attname)
         FROM pg_attribute JOIN pg_class c ON c.oid = attrelid, aclexplode(attacl)
         WHERE c.relnamespace = 'public'::regnamespace AND grantee = 0
         UNION ALL SELECT format('%s by default on %s', privilege_type, defaclobjtype)
         FROM pg_default_acl, aclexplode(defaclacl) WHERE grantee = 0
         UNION ALL SELECT 'CREATE in the schema' WHERE has_schema_privilege('public', 'public', 'CREATE')",
    )
    .await;
    assert_eq!(granted, Vec::<String>::new());
    // What Postgres gives everybody by itself. None of these runs with its owner's rights, see above.
    let callable = lines(
        &database,
        "SELECT oid::regprocedure::text AS line FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace AND has_function_privilege('public', oid, 'EXECUTE') ORDER BY 1",
    )
    .await;
    insta::assert_snapshot!(callable.join("\n"), @"
    connector_text_id(uuid)
    current_organization_id()
    ");
    assert!(!callable.iter().any(|function| function.starts_with("protect(")), "{callable:?}");
}

/// The two roles own nothing, escape nothing, and may do few things.
#[tokio::test]
async fn roles_may_do_few_things() {
    let database = fresh_database().await;
    let roles = lines(
        &database,
        "SELECT format('%s login=%s super=%s bypass=%s inherit=%s', rolname, rolcanlogin, rolsuper, rolbypassrls, rolinherit) AS line
         FROM pg_roles WHERE rolname LIKE 'patchbay\\_%' ORDER BY rolname",
    )
    .await;
    insta::assert_snapshot!(roles.join("\n"), @"
    patchbay_app login=f super=f bypass=f inherit=t
    patchbay_operator login=f super=f bypass=f inherit=t
    patchbay_service login=t super=f bypass=f inherit=f
    patchbay_system login=f super=f bypass=f inherit=t
    ");
    let members = lines(
        &database,
        "SELECT format('%s may be %s', m.rolname, r.rolname) AS line FROM pg_auth_members a
         JOIN pg_roles m ON m.oid = a.member JOIN pg_roles r ON r.oid = a.roleid
         WHERE m.rolname LIKE 'patchbay\\_%' ORDER BY 1",
    )
    .await;
    assert_eq!(members, ["patchbay_service may be patchbay_app", "patchbay_service may be patchbay_system"]);
    let owned = lines(
        &database,
        "SELECT relname::text AS line FROM pg_class WHERE relowner IN (SELECT oid FROM pg_roles WHERE rolname LIKE 'patchbay\\_%')",
    )
    .await;
    assert_eq!(owned, Vec::<String>::new());
    let grants = lines(
        &database,
        "SELECT format('%-16s %-20s %s', grantee, table_name, string_agg(privilege_type, ' ' ORDER BY privilege_type)) AS line
         FROM (SELECT DISTINCT grantee::text, table_name::text, privilege_type::text FROM information_schema.role_table_grants
               WHERE grantee LIKE 'patchbay\\_%'
               UNION SELECT DISTINCT grantee::text, table_name::text, privilege_type || '-of-columns' FROM information_schema.column_privileges c
               WHERE grantee LIKE 'patchbay\\_%' AND privilege_type IN ('INSERT', 'UPDATE') AND NOT EXISTS (
                 SELECT FROM information_schema.role_table_grants t
                 WHERE (t.grantee, t.table_name, t.privilege_type) = (c.grantee, c.table_name, c.privilege_type))) AS granted
         GROUP BY grantee, table_name ORDER BY grantee, table_name",
    )
    .await;
    insta::assert_snapshot!(grants.join("\n"));
    let movable = lines(
        &database,
        "SELECT format('%s may update %s.%s', grantee, table_name, column_name) AS line FROM information_schema.column_privileges
         WHERE grantee LIKE 'patchbay\\_%' AND privilege_type = 'UPDATE' AND column_name IN ('organization_id', 'id', 'user_id')
           -- Somebody who was added by e-mail address turns out to be somebody known.
           AND (grantee, table_name, column_name) <> ('patchbay_system', 'members', 'user_id')",
    )
    .await;
    assert_eq!(movable, Vec::<String>::new(), "a row could be moved");
    let functions = lines(
        &database,
        "SELECT proname::text AS line FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef",
    )
    .await;
    assert_eq!(functions, Vec::<String>::new(), "a function runs with its owner's rights");
}

/// What an organization has, as ids.
struct Everything {
    organization: Organization,
    configuration: Value,
    connector: Value,
    api_key: Value,
    member: Value,
    user: Value,
    grant: Value,
    audit_entry: Value,
    cursor: Value,
    audit_cursor: Value,
    member_cursor: Value,
    api_key_cursor: Value,
    connector_cursor: Value,
    /// What the API key calls with.
    script: Client,
}

/// The idempotency key under which each organization has done something.
const IDEMPOTENCY_KEY: &str = "the same in both";

async fn everything(app: &TestApp, name: &str) -> Everything {
    let organization = app.organization(name).await;
    let mut input = github(name);
    input["metadata"] = json!({"of": name});
    input["credentials"] = json!({"bearer": {"token": "s3cret"}});
    let made = organization.owner.with("idempotency-key", IDEMPOTENCY_KEY).try_create(input).await;
    let configuration = made.data("/personalConnectorConfigurationCreate/personalConnectorConfiguration/id").clone();
    let connector = define(&organization.owner, crm(name)).await["id"].clone();
    let script = organization.api_key(&[Scope::ConfigurationsRead]).await;
    let granted = organization
        .owner
        .gql(
            "mutation($id: ID!) { personalConnectorConfigurationGrant(id: $id, to: {organization: true}, permission: manage) {
               grant { id } userErrors { code } } }",
            json!({"id": configuration}),
        )
        .await;
    let answer = organization
        .owner
        .gql(
            "{ organization { apiKeys { nodes { id } pageInfo { endCursor } } members { nodes { id userId } pageInfo { endCursor } }
                 auditLog { nodes { id } pageInfo { endCursor } } }
               personalConnectorConfigurations { pageInfo { endCursor } } personalConnectors { pageInfo { endCursor } } }",
            json!({}),
        )
        .await;
    let at = |pointer: &str| answer.data(pointer).clone();
    Everything {
        configuration,
        connector,
        api_key: at("/organization/apiKeys/nodes/0/id"),
        member: at("/organization/members/nodes/0/id"),
        user: at("/organization/members/nodes/0/userId"),
        grant: granted.data("/personalConnectorConfigurationGrant/grant/id").clone(),
        audit_entry: at("/organization/auditLog/nodes/0/id"),
        cursor: at("/personalConnectorConfigurations/pageInfo/endCursor"),
        audit_cursor: at("/organization/auditLog/pageInfo/endCursor"),
        member_cursor: at("/organization/members/pageInfo/endCursor"),
        api_key_cursor: at("/organization/apiKeys/pageInfo/endCursor"),
        connector_cursor: at("/personalConnectors/pageInfo/endCursor"),
        script,
        organization,
    }
}

/// One case for each field of `Query` and `Mutation`: what it answers about another organization's things. The matrix
/// fails on a field that has none. `attacker` is an admin of ours, who has nothing.
fn cases(
    theirs: &Everything,
    ours: &Everything,
    attacker: &Value,
) -> BTreeMap<&'static str, Vec<(String, Value, Value)>> {
    let Everything {
        organization,
        configuration,
        connector,
        api_key,
        member,
        user,
        grant,
        audit_entry,
        cursor,
        audit_cursor,
        member_cursor,
        api_key_cursor,
        connector_cursor,
        script: _,
    } = theirs;
    let gone = |path: &str| json!({"userErrors": [{"code": "NOT_FOUND", "field": [path]}]});
    let mutation = |field: &str, arguments: &str, parameters: &str, variables: Value, payload: Value| {
        (
            format!("mutation({parameters}) {{ {field}({arguments}) {{ userErrors {{ code field }} }} }}"),
            variables,
            json!({ field: payload }),
        )
    };
    let by_id = |field: &str, id: &Value| mutation(field, "id: $id", "$id: ID!", json!({"id": id}), gone("id"));
    let ids =
        [configuration, connector, api_key, member, user, grant, audit_entry, &json!(organization.id.to_string())];
    let mut create = github("theirs");
    create["owner"] = json!({"userId": user});
    let mut create_for_key = github("theirs");
    create_for_key["owner"] = json!({"apiKeyId": api_key});
    let create_document = "$input: PersonalConnectorConfigurationCreateInput!";
    let list = |filter: Value| {
        (
            "query($filter: PersonalConnectorConfigurationFilter) {
               personalConnectorConfigurations(filter: $filter) { totalCount nodes { id } } }"
                .to_owned(),
            json!({"filter": filter}),
            json!({"personalConnectorConfigurations": {"totalCount": 0, "nodes": []}}),
        )
    };
    BTreeMap::from([
        ("viewer", vec![(
            "{ viewer { organization { id } organizations { id } personalConnectorConfigurations { totalCount nodes { id } } } }".to_owned(),
            json!({}),
            json!({"viewer": {
                "organization": {"id": ours.organization.id.to_string()},
                "organizations": [{"id": ours.organization.id.to_string()}],
                "personalConnectorConfigurations": {"totalCount": 0, "nodes": []}}}),
        )]),
        ("organization", vec![
            (
                "query($name: String) { organization { members(filter: {search: $name}) { totalCount } } }".to_owned(),
                // People are named "owner of org_..." by the harness.
                json!({"name": organization.id.to_string()}),
                json!({"organization": {"members": {"totalCount": 0}}}),
            ),
            (
                "{ organization { members { totalCount nodes { userId } } } }".to_owned(),
                json!({}),
                json!({"organization": {"members": {"totalCount": 2, "nodes": [{"userId": ours.user}, {"userId": attacker}]}}}),
            ),
            (
                "{ organization { apiKeys { totalCount nodes { id } } } }".to_owned(),
                json!({}),
                json!({"organization": {"apiKeys": {"totalCount": 1, "nodes": [{"id": ours.api_key}]}}}),
            ),
            (
                "query($after: String) { organization { members(after: $after) { totalCount } } }".to_owned(),
                json!({"after": member_cursor}),
                json!("BAD_USER_INPUT at after"),
            ),
            (
                "query($before: String) { organization { apiKeys(before: $before) { totalCount } } }".to_owned(),
                json!({"before": api_key_cursor}),
                json!("BAD_USER_INPUT at before"),
            ),
            (
                "query($id: ID) { organization { auditLog(filter: {targetId: {eq: $id}}) { totalCount } } }".to_owned(),
                json!({"id": configuration}),
                json!({"organization": {"auditLog": {"totalCount": 0}}}),
            ),
            (
                "query($id: ID) { organization { auditLog(filter: {actorId: {eq: $id}}) { totalCount } } }".to_owned(),
                json!({"id": user}),
                json!({"organization": {"auditLog": {"totalCount": 0}}}),
            ),
            (
                "query($after: String) { organization { auditLog(after: $after) { totalCount } } }".to_owned(),
                json!({"after": audit_cursor}),
                json!("BAD_USER_INPUT at after"),
            ),
            (
                // Their credentials are not counted.
                "{ organization { encryption { keys { credentialCount } } } }".to_owned(),
                json!({}),
                json!({"organization": {"encryption": {"keys": [{"credentialCount": 0}]}}}),
            ),
        ]),
        ("node", ids.iter().map(|id| ("query($id: ID!) { node(id: $id) { id } }".to_owned(), json!({"id": id}), json!({"node": null}))).collect()),
        ("nodes", vec![(
            "query($ids: [ID!]!) { nodes(ids: $ids) { id } }".to_owned(),
            json!({"ids": ids}),
            json!({"nodes": vec![Value::Null; ids.len()]}),
        )]),
        ("personalConnectorConfiguration", vec![(
            "query($id: ID!) { personalConnectorConfiguration(id: $id) { id } }".to_owned(),
            json!({"id": configuration}),
            json!({"personalConnectorConfiguration": null}),
        )]),
        ("personalConnectorConfigurations", vec![
            list(json!(null)),
            list(json!({"id": {"eq": configuration}})),
            list(json!({"userId": {"eq": user}})),
            list(json!({"apiKeyId": {"in": [api_key]}})),
            list(json!({"or": [{"enabled": {"eq": true}}, {"enabled": {"eq": false}}]})),
            list(json!({"not": {"id": {"eq": "nothing"}}})),
            list(json!({"ownedByViewer": false})),
            list(json!({"grantedToViewer": true})),
            list(json!({"grantedToViewer": false})),
            list(json!({"metadata": {"hasKey": "of"}})),
            list(json!({"personalConnectorId": {"eq": connector}})),
            (
                "query($after: String) { personalConnectorConfigurations(after: $after) { totalCount } }".to_owned(),
                json!({"after": cursor}),
                json!("BAD_USER_INPUT at after"),
            ),
        ]),
        ("personalConnector", vec![
            (
                "{ personalConnector(id: \"pcon_github\") { configurations { totalCount } } }".to_owned(),
                json!({}),
                json!({"personalConnector": {"configurations": {"totalCount": 0}}}),
            ),
            (
                "query($id: ID!) { personalConnector(id: $id) { id name configurations { totalCount } } }".to_owned(),
                json!({"id": connector}),
                json!({"personalConnector": null}),
            ),
        ]),
        ("personalConnectors", vec![
            (
                "{ personalConnectors { nodes { configurations { totalCount } } } }".to_owned(),
                json!({}),
                json!({"personalConnectors": {"nodes": vec![json!({"configurations": {"totalCount": 0}}); 5]}}),
            ),
            (
                "query($id: ID!) { personalConnectors(filter: {id: {eq: $id}}) { totalCount nodes { id } } }".to_owned(),
                json!({"id": connector}),
                json!({"personalConnectors": {"totalCount": 0, "nodes": []}}),
            ),
            (
                "query($after: String) { personalConnectors(after: $after) { totalCount } }".to_owned(),
                json!({"after": connector_cursor}),
                json!("BAD_USER_INPUT at after"),
            ),
        ]),
        ("validateConfiguration", vec![
            (
                "{ validateConfiguration(personalConnectorId: \"pcon_github\", configuration: {repository: \"a/b\"}) { valid } }".to_owned(),
                json!({}),
                json!({"validateConfiguration": {"valid": true}}),
            ),
            (
                "query($id: ID!) { validateConfiguration(personalConnectorId: $id, configuration: {region: \"eu\"}) { valid } }".to_owned(),
                json!({"id": connector}),
                json!("BAD_USER_INPUT at personalConnectorId"),
            ),
        ]),
        ("personalConnectorCreate", vec![(
            // The other organization has a connector of this name: here the name is free. Deleted again by whoever runs this.
            "mutation($name: String!) {
               personalConnectorCreate(input: {name: $name, serverUrl: \"https://mcp.example.com\", authMethods: [{type: none}]}) {
                 personalConnector { id name } userErrors { code field } } }".to_owned(),
            json!({"name": "Acme"}),
            json!({"personalConnectorCreate": {"personalConnector": {"name": "Acme"}, "userErrors": []}}),
        )]),
        ("personalConnectorUpdate", vec![mutation(
            "personalConnectorUpdate",
            "id: $id, input: {name: \"stolen\"}",
            "$id: ID!",
            json!({"id": connector}),
            gone("id"),
        )]),
        ("personalConnectorDelete", vec![by_id("personalConnectorDelete", connector)]),
        ("apiKey", vec![(
            "query($id: ID!) { apiKey(id: $id) { id } }".to_owned(),
            json!({"id": api_key}),
            json!({"apiKey": null}),
        )]),
        ("rateLimit", vec![("{ rateLimit { cost } }".to_owned(), json!({}), json!({"rateLimit": {"cost": 0}}))]),
        ("service", vec![("{ service { version } }".to_owned(), json!({}), json!({"service": {"version": env!("CARGO_PKG_VERSION")}}))]),
        ("personalConnectorConfigurationCreate", vec![
            (
                format!("mutation({create_document}) {{ personalConnectorConfigurationCreate(input: $input) {{ userErrors {{ code field }} }} }}"),
                json!({"input": create}),
                json!({"personalConnectorConfigurationCreate": {"userErrors": [{"code": "NOT_FOUND", "field": ["input", "owner", "userId"]}]}}),
            ),
            (
                format!("mutation({create_document}) {{ personalConnectorConfigurationCreate(input: $input) {{ userErrors {{ code field }} }} }}"),
                json!({"input": create_for_key}),
                json!({"personalConnectorConfigurationCreate": {"userErrors": [{"code": "NOT_FOUND", "field": ["input", "owner", "apiKeyId"]}]}}),
            ),
            (
                format!("mutation({create_document}) {{ personalConnectorConfigurationCreate(input: $input) {{ userErrors {{ code field }} }} }}"),
                json!({"input": {"personalConnectorId": connector, "name": "theirs", "configuration": {"region": "eu"}}}),
                json!({"personalConnectorConfigurationCreate": {"userErrors": [{"code": "NOT_FOUND", "field": ["input", "personalConnectorId"]}]}}),
            ),
        ]),
        ("personalConnectorConfigurationUpdate", vec![mutation(
            "personalConnectorConfigurationUpdate",
            "id: $id, input: {name: \"stolen\"}",
            "$id: ID!",
            json!({"id": configuration}),
            gone("id"),
        )]),
        ("personalConnectorConfigurationDelete", vec![by_id("personalConnectorConfigurationDelete", configuration)]),
        ("personalConnectorConfigurationEnable", vec![by_id("personalConnectorConfigurationEnable", configuration)]),
        ("personalConnectorConfigurationDisable", vec![by_id("personalConnectorConfigurationDisable", configuration)]),
        ("personalConnectorConfigurationClearCredentials", vec![by_id("personalConnectorConfigurationClearCredentials", configuration)]),
        ("personalConnectorConfigurationRotateCredentials", vec![mutation(
            "personalConnectorConfigurationRotateCredentials",
            "id: $id, credentials: {bearer: {token: \"mine\"}}",
            "$id: ID!",
            json!({"id": configuration}),
            gone("id"),
        )]),
        ("apiKeyCreate", vec![(
            // There is no argument that could name another organization.
            "mutation { apiKeyCreate(input: {name: \"\", scopes: []}) { userErrors { code field } } }".to_owned(),
            json!({}),
            json!({"apiKeyCreate": {"userErrors": [
                {"code": "REQUIRED", "field": ["input", "name"]}, {"code": "REQUIRED", "field": ["input", "scopes"]}]}}),
        )]),
        ("apiKeyRevoke", vec![by_id("apiKeyRevoke", api_key)]),
        ("apiKeyRotate", vec![by_id("apiKeyRotate", api_key)]),
        ("apiKeyUpdate", vec![mutation("apiKeyUpdate", "id: $id, input: {name: \"mine\"}", "$id: ID!", json!({"id": api_key}), gone("id"))]),
        ("personalConnectorConfigurationGrant", vec![
            mutation(
                "personalConnectorConfigurationGrant",
                "id: $id, to: {organization: true}, permission: use",
                "$id: ID!",
                json!({"id": configuration}),
                gone("id"),
            ),
        ]),
        ("personalConnectorConfigurationRevokeGrant", vec![mutation(
            "personalConnectorConfigurationRevokeGrant",
            "id: $id, grantId: $grant",
            "$id: ID!, $grant: ID!",
            json!({"id": configuration, "grant": grant}),
            gone("id"),
        )]),
        ("personalConnectorConfigurationsBulkUpdate", vec![
            (
                "mutation($ids: [ID!]) { personalConnectorConfigurationsBulkUpdate(selector: {ids: $ids}, patch: {enabled: false}) {
                   matchedCount changedCount failures { error { code field } } userErrors { code } } }".to_owned(),
                json!({"ids": [configuration]}),
                json!({"personalConnectorConfigurationsBulkUpdate": {"matchedCount": 1, "changedCount": 0, "userErrors": [],
                  "failures": [{"error": {"code": "NOT_FOUND", "field": ["selector", "ids"]}}]}}),
            ),
            (
                "mutation { personalConnectorConfigurationsBulkUpdate(selector: {filter: {}}, patch: {enabled: false}) {
                   matchedCount changedCount failures { id } } }".to_owned(),
                json!({}),
                json!({"personalConnectorConfigurationsBulkUpdate": {"matchedCount": 0, "changedCount": 0, "failures": []}}),
            ),
        ]),
        ("personalConnectorConfigurationsBulkDelete", vec![
            (
                "mutation($ids: [ID!]) { personalConnectorConfigurationsBulkDelete(selector: {ids: $ids}) {
                   matchedCount changedCount failures { error { code field } } userErrors { code } } }".to_owned(),
                json!({"ids": [configuration]}),
                json!({"personalConnectorConfigurationsBulkDelete": {"matchedCount": 1, "changedCount": 0, "userErrors": [],
                  "failures": [{"error": {"code": "NOT_FOUND", "field": ["selector", "ids"]}}]}}),
            ),
            (
                "mutation { personalConnectorConfigurationsBulkDelete(selector: {filter: {}}) {
                   matchedCount changedCount failures { id } } }".to_owned(),
                json!({}),
                json!({"personalConnectorConfigurationsBulkDelete": {"matchedCount": 0, "changedCount": 0, "failures": []}}),
            ),
        ]),
        ("organizationUpdate", vec![(
            // There is no argument that could name another organization.
            "mutation { organizationUpdate(name: \"\") { userErrors { code field } } }".to_owned(),
            json!({}),
            json!({"organizationUpdate": {"userErrors": [{"code": "REQUIRED", "field": ["name"]}]}}),
        )]),
        ("organizationMemberAdd", vec![(
            "mutation { organizationMemberAdd(email: \"nobody\") { userErrors { code field } } }".to_owned(),
            json!({}),
            json!({"organizationMemberAdd": {"userErrors": [{"code": "INVALID", "field": ["email"]}]}}),
        )]),
        ("organizationMemberSetRole", vec![mutation(
            "organizationMemberSetRole",
            "id: $id, role: viewer",
            "$id: ID!",
            json!({"id": member}),
            gone("id"),
        )]),
        ("organizationMemberRemove", vec![by_id("organizationMemberRemove", member)]),
        ("viewerTokensRevoke", vec![(
            // There is no argument that could name somebody else; the token is one of the caller's own, or nobody's.
            "mutation { viewerTokensRevoke(tokenId: \"theirs\") { revokedBefore userErrors { code field } } }".to_owned(),
            json!({}),
            json!({"viewerTokensRevoke": {"revokedBefore": null, "userErrors": []}}),
        )]),
    ])
}

/// Runs every case as the other organization and looks whether anything was seen or touched.
async fn assert_nothing_seen_or_touched(app: &TestApp) {
    let (acme, globex) = (everything(app, "Acme").await, everything(app, "Globex").await);
    assert_relations_stay_in_the_organization(app, &acme, &globex).await;
    // The attacker must have nothing of its own that a case would count.
    let attacker = globex.organization.person(Role::Admin).await;
    for (delete, id) in [
        ("personalConnectorConfigurationDelete", &globex.configuration),
        ("personalConnectorDelete", &globex.connector),
    ] {
        let document = &format!("mutation($id: ID!) {{ {delete}(id: $id) {{ userErrors {{ code }} }} }}");
        assert_eq!(
            globex.organization.owner.gql(document, json!({"id": id})).await.user_errors(),
            Vec::<String>::new()
        );
    }
    let before = snapshot(&acme.organization.owner).await;

    let cases = cases(&acme, &globex, &attacker.id().await);
    let schema = document();
    let fields: BTreeSet<String> = types(&schema)
        .filter(|definition| matches!(definition.name.node.as_str(), "Query" | "Mutation"))
        .flat_map(|definition| match &definition.kind {
            TypeKind::Object(object) => {
                object.fields.iter().map(|field| field.node.name.node.to_string()).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        })
        .collect();
    let covered: BTreeSet<String> = cases.keys().map(ToString::to_string).collect();
    assert_eq!(fields, covered, "every field of Query and Mutation has a case, and every case a field");

    for (field, cases) in &cases {
        for (document, variables, expected) in cases {
            let answer = attacker.gql(document, variables.clone()).await;
            if let Some(error) = expected.as_str() {
                assert_eq!(format!("{} at {}", answer.code(), answer.argument()), error, "{field}: {}", answer.text);
                continue;
            }
            assert!(answer.body["errors"].is_null(), "{field}: {}", answer.text);
            let mut data = answer.body["data"].clone();
            // What was made is not there for the cases that follow.
            if let Some(Value::Object(made)) = data.pointer_mut("/personalConnectorCreate/personalConnector") {
                let id = made.remove("id").unwrap();
                // Now the name is taken: by one's own, and not by the other organization's of that name.
                let again = try_define(&attacker, crm("Acme")).await;
                let errors = again.data("/personalConnectorCreate/userErrors");
                assert_eq!((&errors[0]["code"], &errors[0]["existingId"]), (&json!("NAME_TAKEN"), &id));
                assert_eq!(
                    crate::custom_connector::delete(&attacker, &id, None).await.user_errors(),
                    Vec::<String>::new()
                );
            }
            assert_eq!(&data, expected, "{field} {variables}");
        }
    }
    assert_eq!(snapshot(&acme.organization.owner).await, before);
    assert_lists_hold_only_ones_own(app, &acme, &globex, &attacker).await;
}

/// Every list that can be narrowed or ordered, by the field that gives it.
const LISTS: [(&str, &str, &str); 7] = [
    (
        "Organization.apiKeys",
        "query($filter: ApiKeyFilter, $after: String) { organization {
           list: apiKeys(filter: $filter, after: $after, first: 100) { totalCount nodes { id } pageInfo { endCursor } } } }",
        "/organization/list",
    ),
    (
        "Organization.auditLog",
        "query($filter: AuditLogFilter, $after: String) { organization {
           list: auditLog(filter: $filter, after: $after, first: 100) { totalCount nodes { id } pageInfo { endCursor } } } }",
        "/organization/list",
    ),
    (
        "Organization.members",
        "query($filter: OrganizationMemberFilter, $after: String) { organization {
           list: members(filter: $filter, after: $after, first: 100) { totalCount nodes { id } pageInfo { endCursor } } } }",
        "/organization/list",
    ),
    (
        "PersonalConnector.configurations",
        "query($filter: PersonalConnectorConfigurationFilter, $order: PersonalConnectorConfigurationOrder! = {field: NAME}, $after: String) {
           personalConnector(id: \"pcon_github\") { list: configurations(filter: $filter, orderBy: $order, after: $after, first: 100) {
             totalCount nodes { id } pageInfo { endCursor } } } }",
        "/personalConnector/list",
    ),
    (
        "Query.personalConnectorConfigurations",
        "query($filter: PersonalConnectorConfigurationFilter, $order: PersonalConnectorConfigurationOrder! = {field: NAME}, $after: String) {
           list: personalConnectorConfigurations(filter: $filter, orderBy: $order, after: $after, first: 100) {
             totalCount nodes { id } pageInfo { endCursor } } }",
        "/list",
    ),
    (
        "Query.personalConnectors",
        "query($filter: PersonalConnectorFilter, $after: String) {
           list: personalConnectors(filter: $filter, after: $after, first: 100) { totalCount nodes { id } pageInfo { endCursor } } }",
        "/list",
    ),
    (
        "Viewer.personalConnectorConfigurations",
        "query($filter: PersonalConnectorConfigurationFilter, $order: PersonalConnectorConfigurationOrder! = {field: NAME}, $after: String) {
           viewer { list: personalConnectorConfigurations(filter: $filter, orderBy: $order, after: $after, first: 100) {
             totalCount nodes { id } pageInfo { endCursor } } } }",
        "/viewer/list",
    ),
];

/// Every field of every filter, with a value that the other organization has. `request` is one that was theirs.
fn filters(theirs: &Everything, request: &Value) -> BTreeMap<&'static str, Vec<(&'static str, Value)>> {
    let long_ago = "2000-01-01T00:00:00Z";
    BTreeMap::from([
        (
            "ApiKeyFilter",
            vec![
                ("active", json!({"eq": true})),
                ("expiresAt", json!({"gt": long_ago})),
                ("lastUsedAt", json!({"gt": long_ago})),
                ("name", json!({"eq": "A key"})),
            ],
        ),
        (
            "AuditLogFilter",
            vec![
                ("action", json!({"eq": "personal_connector_configuration.created"})),
                ("actorId", json!({"eq": theirs.user})),
                ("createdAt", json!({"gt": long_ago})),
                ("requestId", json!({"eq": request})),
                ("targetId", json!({"eq": theirs.configuration})),
                ("targetType", json!({"eq": "personal_connector_configuration"})),
            ],
        ),
        (
            "OrganizationMemberFilter",
            vec![("role", json!("owner")), ("search", json!(theirs.organization.id.to_string()))],
        ),
        (
            "PersonalConnectorConfigurationFilter",
            vec![
                ("and", json!([{"id": {"eq": theirs.configuration}}])),
                ("apiKeyId", json!({"eq": theirs.api_key})),
                ("authMethod", json!({"eq": "bearer"})),
                ("configuration", json!({"contains": {"repository": "acme/backend"}})),
                ("createdAt", json!({"gt": long_ago})),
                ("description", json!({"eq": "of Acme"})),
                ("enabled", json!({"eq": true})),
                ("grantedToViewer", json!(true)),
                ("healthStatus", json!({"eq": "unhealthy"})),
                ("id", json!({"eq": theirs.configuration})),
                ("lastError", json!({"eq": "broken at Acme"})),
                ("lastSyncAt", json!({"gt": long_ago})),
                ("metadata", json!({"contains": {"of": "Acme"}})),
                ("name", json!({"eq": "Acme"})),
                ("not", json!({"id": {"eq": "nothing"}})),
                ("or", json!([{"enabled": {"eq": true}}, {"enabled": {"eq": false}}])),
                ("ownedByViewer", json!(false)),
                ("personalConnectorId", json!({"eq": "pcon_github"})),
                ("search", json!("Acme")),
                ("updatedAt", json!({"gt": long_ago})),
                ("userId", json!({"eq": theirs.user})),
            ],
        ),
        (
            "PersonalConnectorFilter",
            vec![
                ("authMethod", json!({"eq": "bearer"})),
                ("category", json!({"eq": "custom"})),
                ("enabled", json!({"eq": true})),
                ("id", json!({"eq": theirs.connector})),
                ("name", json!({"eq": "Acme"})),
                ("search", json!("Acme")),
                ("status", json!("active")),
                ("type", json!("custom")),
            ],
        ),
    ])
}

/// Every list, narrowed by every field of its filter and in every order that it has. Each case is tried by those whose
/// things are looked for, too: they find them, and so the case could fail.
async fn assert_lists_hold_only_ones_own(app: &TestApp, acme: &Everything, globex: &Everything, attacker: &Client) {
    // Something in every column that a filter asks for.
    let mut of_key = github("Acme's key");
    of_key["owner"] = json!({"apiKeyId": acme.api_key});
    acme.organization.owner.create(of_key).await;
    app.sql(&format!(
        "UPDATE configurations SET description = 'of Acme', last_error = 'broken at Acme', last_sync_at = now(), health_status = 'unhealthy'
         WHERE organization_id = '{0}';
         UPDATE api_keys SET last_used_at = now() WHERE organization_id = '{0}'",
        acme.organization.id.uuid()
    ))
    .await;
    let answer = acme.organization.owner.gql("{ organization { auditLog { nodes { requestId } } } }", json!({})).await;
    let filters = filters(acme, answer.data("/organization/auditLog/nodes/0/requestId"));
    let own = own(app, globex, attacker).await;

    let schema = document();
    let (mut lists, mut orders) = (BTreeMap::new(), BTreeMap::new());
    let (mut values, mut fields) = (Vec::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for definition in types(&schema) {
        let name = definition.name.node.to_string();
        match &definition.kind {
            TypeKind::Object(object) => {
                for field in &object.fields {
                    let place = format!("{name}.{}", field.node.name.node);
                    for argument in &field.node.arguments {
                        let ty = argument.node.ty.node.to_string().replace('!', "");
                        match argument.node.name.node.as_str() {
                            "filter" => drop(lists.insert(place.clone(), ty)),
                            "orderBy" => drop(orders.insert(place.clone(), ty)),
                            _ => {}
                        }
                    }
                }
            }
            TypeKind::Enum(kind) if name == "PersonalConnectorConfigurationOrderField" => {
                values = kind.values.iter().map(|value| value.node.value.node.to_string()).collect();
            }
            TypeKind::InputObject(input) => {
                fields.insert(name, input.fields.iter().map(|field| field.node.name.node.to_string()).collect());
            }
            _ => {}
        }
    }
    let known: BTreeSet<_> = LISTS.iter().map(|(place, _, _)| (*place).to_owned()).collect();
    assert_eq!(lists.keys().cloned().collect::<BTreeSet<_>>(), known, "every list with a filter is above");
    assert!(orders.values().all(|ty| ty == "PersonalConnectorConfigurationOrder"), "{orders:?}");
    assert!(values.len() >= 5, "{values:?}");
    for filter in lists.values() {
        let known: BTreeSet<_> = filters[filter.as_str()].iter().map(|(field, _)| (*field).to_owned()).collect();
        assert_eq!(fields[filter], known, "every field of {filter} has a case");
    }

    let run = async |client: &Client, document: &str, pointer: &str, variables: &Value| {
        let answer = client.gql(document, variables.clone()).await;
        let list = answer.data(pointer);
        let ids: BTreeSet<String> =
            list["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(list["totalCount"], json!(ids.len()), "{variables} {}", answer.text);
        (ids, list["pageInfo"]["endCursor"].clone())
    };
    let mut found = BTreeSet::new();
    for (place, document, pointer) in LISTS {
        let filter = &lists[place];
        let mut asked: Vec<_> = filters[filter.as_str()]
            .iter()
            .map(|(field, value)| (*field, json!({"filter": {*field: value}})))
            .collect();
        asked.push(("nothing", json!({})));
        if orders.contains_key(place) {
            for (value, direction) in values.iter().flat_map(|value| [(value, "ASC"), (value, "DESC")]) {
                asked.push((value, json!({"order": {"field": value, "direction": direction}})));
            }
        }
        for (by, mut variables) in asked {
            let (theirs, cursor) = run(&acme.organization.owner, document, pointer, &variables).await;
            let (seen, _) = run(attacker, document, pointer, &variables).await;
            let foreign: Vec<_> = seen.iter().filter(|id| !own[filter.as_str()].contains(*id)).collect();
            assert_eq!(foreign, Vec::<&String>::new(), "{place} by {by}: {variables}");
            if theirs.iter().any(|id| !own[filter.as_str()].contains(id)) {
                found.insert((filter.clone(), by.to_owned()));
            }
            // Their place in their list is none in ours, also when list, filter and order are the same.
            if cursor.is_string() {
                variables["after"] = cursor;
                let answer = attacker.gql(document, variables.clone()).await;
                assert_eq!((answer.code(), answer.argument()), ("BAD_USER_INPUT", "after"), "{place} by {by}");
            }
        }
    }
    for (filter, cases) in &filters {
        for (field, _) in cases {
            assert!(
                found.contains(&((*filter).to_owned(), (*field).to_owned())),
                "{filter}.{field} found nothing of theirs"
            );
        }
    }
}

/// The ids that `attacker` may find in a list, by the type of its filter. Not asked of the lists themselves.
async fn own(app: &TestApp, globex: &Everything, attacker: &Client) -> BTreeMap<&'static str, BTreeSet<String>> {
    let text = |id: &Value| id.as_str().unwrap().to_owned();
    let organization = globex.organization.id;
    let log =
        app.app.db.system_read(async |tx| db::audit_log::list_after(tx, organization, 0, 1000).await).await.unwrap();
    let user = attacker.id().await;
    let answer = attacker.gql("{ organization { members { nodes { id userId } } } }", json!({})).await;
    let members = answer.data("/organization/members/nodes").as_array().unwrap();
    let member = members.iter().find(|member| member["userId"] == user).unwrap()["id"].clone();
    let catalog = ["pcon_github", "pcon_clickup", "pcon_jira", "pcon_teams", "pcon_custom_mcp"];
    BTreeMap::from([
        ("ApiKeyFilter", BTreeSet::from([text(&globex.api_key)])),
        ("AuditLogFilter", log.into_iter().map(|entry| entry.id.to_string()).collect()),
        ("OrganizationMemberFilter", BTreeSet::from([text(&globex.member), text(&member)])),
        ("PersonalConnectorConfigurationFilter", BTreeSet::new()),
        ("PersonalConnectorFilter", catalog.map(str::to_owned).into()),
    ])
}

/// Every relation from one object to another leads to one's own, also where somebody has put another organization's id into
/// a row, as an attempt on something does in the audit log.
async fn assert_relations_stay_in_the_organization(app: &TestApp, acme: &Everything, globex: &Everything) {
    let organization = globex.organization.id;
    let ids = [
        &acme.configuration,
        &acme.connector,
        &acme.api_key,
        &acme.member,
        &acme.user,
        &acme.grant,
        &acme.audit_entry,
        &json!(acme.organization.id.to_string()),
    ];
    let owner = &globex.organization.owner;
    let log =
        app.app.db.system_read(async |tx| db::audit_log::list_after(tx, organization, 0, 1000).await).await.unwrap();
    let log: Vec<_> = log.iter().rev().map(|entry| json!({"id": entry.id.to_string()})).collect();
    let (configuration, user) = (json!({"id": globex.configuration}), json!({"id": globex.user}));
    let own = json!({"id": organization.to_string()});
    let of = |relation: &str, selection: &str, expected: Value| {
        let field = relation.split_once('.').unwrap().1;
        (
            format!("query($id: ID!) {{ personalConnectorConfiguration(id: $id) {{ {field} {{ {selection} }} }} }}"),
            json!({"personalConnectorConfiguration": {field: expected}}),
        )
    };
    let plain = |document: &str, expected: Value| (document.to_owned(), expected);
    let cases = [
        (
            "ApiKey.createdBy",
            plain(
                "{ organization { apiKeys { nodes { createdBy { id } } } } }",
                json!({"organization": {"apiKeys": {"nodes": [{"createdBy": user}]}}}),
            ),
        ),
        (
            "AuditLogEntry.actor",
            plain(
                "query($id: ID!) { organization { auditLog(filter: {targetId: {eq: $id}}, last: 1) { nodes { actor { ... on User { id } } } } } }",
                json!({"organization": {"auditLog": {"nodes": [{"actor": user}]}}}),
            ),
        ),
        (
            "AuditLogEntry.target",
            plain(
                "query($id: ID!) { organization { auditLog(filter: {targetId: {eq: $id}}, last: 1) { nodes { target { id } } } } }",
                json!({"organization": {"auditLog": {"nodes": [{"target": configuration}]}}}),
            ),
        ),
        (
            "Organization.apiKeys",
            plain(
                "{ organization { apiKeys { nodes { id } } } }",
                json!({"organization": {"apiKeys": {"nodes": [{"id": globex.api_key}]}}}),
            ),
        ),
        (
            "Organization.auditLog",
            plain(
                "{ organization { auditLog(first: 100) { nodes { id } } } }",
                json!({"organization": {"auditLog": {"nodes": log}}}),
            ),
        ),
        (
            "Organization.members",
            plain(
                "{ organization { members { nodes { id } } } }",
                json!({"organization": {"members": {"nodes": [{"id": globex.member}]}}}),
            ),
        ),
        (
            "OrganizationMember.user",
            plain(
                "{ organization { members { nodes { user { id } } } } }",
                json!({"organization": {"members": {"nodes": [{"user": user}]}}}),
            ),
        ),
        (
            "PersonalConnector.configurations",
            plain(
                "{ personalConnector(id: \"pcon_github\") { configurations { nodes { id } } } }",
                json!({"personalConnector": {"configurations": {"nodes": [configuration]}}}),
            ),
        ),
        (
            "PersonalConnectorConfiguration.grants",
            of("PersonalConnectorConfiguration.grants", "id", json!([{"id": globex.grant}])),
        ),
        (
            "PersonalConnectorConfiguration.organization",
            of("PersonalConnectorConfiguration.organization", "id", own.clone()),
        ),
        (
            "PersonalConnectorConfiguration.owner",
            of("PersonalConnectorConfiguration.owner", "... on User { id }", user.clone()),
        ),
        (
            "PersonalConnectorConfiguration.personalConnector",
            of("PersonalConnectorConfiguration.personalConnector", "id", json!({"id": "pcon_github"})),
        ),
        // For a person; a key is asked below.
        ("Viewer.apiKey", plain("{ viewer { apiKey { id } } }", json!({"viewer": {"apiKey": null}}))),
        ("Viewer.organization", plain("{ viewer { organization { id } } }", json!({"viewer": {"organization": own}}))),
        (
            "Viewer.organizations",
            plain("{ viewer { organizations { id } } }", json!({"viewer": {"organizations": [own]}})),
        ),
        (
            "Viewer.personalConnectorConfigurations",
            plain(
                "{ viewer { personalConnectorConfigurations { nodes { id } } } }",
                json!({"viewer": {"personalConnectorConfigurations": {"nodes": [configuration]}}}),
            ),
        ),
        ("Viewer.user", plain("{ viewer { user { id } } }", json!({"viewer": {"user": user}}))),
    ];
    let known: BTreeSet<_> = cases.iter().map(|(relation, _)| (*relation).to_owned()).collect();
    assert_eq!(relations(), known, "every relation has a case");
    for (relation, (document, expected)) in &cases {
        let answer = owner.gql(document, json!({"id": globex.configuration})).await;
        assert_eq!(&answer.body["data"], expected, "{relation}: {}", answer.text);
    }
    let answer = globex.script.gql("{ viewer { apiKey { id } } }", json!({})).await;
    assert_eq!(answer.data("/viewer/apiKey/id"), &globex.api_key);

    // Rows that name the others: what they name is not there.
    for (n, id) in ids.iter().enumerate() {
        app.sql(&format!(
            "INSERT INTO audit_log (organization_id, sequence, id, action, actor_id, target_type, target_id, changes, created_at, previous_hash, hash)
             VALUES ('{0}', 1000000 + {n}, gen_random_uuid(), 'forged', '{1}', 'x', '{2}', '[]', now(), decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'))",
            organization.uuid(),
            [&acme.user, &acme.api_key][n % 2].as_str().unwrap(),
            id.as_str().unwrap(),
        ))
        .await;
    }
    let creator = |user: &Value| {
        format!(
            "UPDATE api_keys SET created_by_user_id = '{0}' WHERE organization_id = '{1}';
             UPDATE connectors SET created_by_user_id = '{0}' WHERE organization_id = '{1}'",
            uuid(user),
            organization.uuid()
        )
    };
    app.sql(&creator(&acme.user)).await;
    let answer = owner
        .gql(
            "{ organization { auditLog(filter: {action: {eq: \"forged\"}}) { nodes { actor { __typename } target { id } } }
                 apiKeys { nodes { createdBy { id } } } } }",
            json!({}),
        )
        .await;
    let nothing = json!({"actor": null, "target": null});
    assert_eq!(answer.data("/organization/auditLog/nodes"), &json!(vec![nothing; ids.len()]));
    assert_eq!(answer.data("/organization/apiKeys/nodes"), &json!([{"createdBy": null}]));
    app.sql(&creator(&globex.user)).await;
    app.sql(&format!("DELETE FROM audit_log WHERE action = 'forged' AND organization_id = '{}'", organization.uuid()))
        .await;
}

/// Fields that lead from one object to others that have an id of their own.
fn relations() -> BTreeSet<String> {
    let schema = document();
    let kinds: BTreeMap<_, _> =
        types(&schema).map(|definition| (definition.name.node.as_str(), &definition.kind)).collect();
    let mut found = BTreeSet::new();
    for (name, kind) in &kinds {
        // What a mutation answers was decided by the mutation; what a page holds, by the list.
        let decided = ["Payload", "Connection", "Edge", "BulkFailure"].iter().any(|end| name.ends_with(end));
        let TypeKind::Object(object) = kind else { continue };
        if decided || ["Query", "Mutation"].contains(name) {
            continue;
        }
        for field in &object.fields {
            let ty = field.node.ty.node.to_string().replace(['[', ']', '!'], "");
            let leads = match kinds.get(ty.as_str()) {
                Some(TypeKind::Interface(_) | TypeKind::Union(_)) => true,
                Some(TypeKind::Object(to)) => {
                    ty.ends_with("Connection") || to.fields.iter().any(|field| field.node.name.node == "id")
                }
                _ => false,
            };
            if leads {
                found.insert(format!("{name}.{}", field.node.name.node));
            }
        }
    }
    found
}

/// Everything that a client can see of its own organization.
async fn snapshot(owner: &Client) -> Value {
    let document = "{
        organization { name updatedAt members { nodes { id role updatedAt } } apiKeys { nodes { id revokedAt version } } }
        personalConnectorConfigurations { totalCount nodes { id name enabled metadata version updatedAt authMethod
          credentialsInfo { rotatedAt } } }
        personalConnectors { totalCount nodes { id name enabled version updatedAt } } }";
    owner.gql(document, json!({})).await.body["data"].clone()
}

/// All four locks.
#[tokio::test]
async fn matrix() {
    assert_nothing_seen_or_touched(&TestApp::new()).await;
}

/// The third lock alone: a login that is a superuser, and no row-level security at all. Only the scope of each query is
/// left. (`users` has no scope but its policy: it is left on.)
#[tokio::test]
async fn matrix_without_row_level_security() {
    assert_nothing_seen_or_touched(&without_row_level_security().await).await;
}

async fn without_row_level_security() -> TestApp {
    let database = fresh_database().await;
    let app = TestApp::with_login(&database.owner, &database.owner, TestApp::api());
    app.sql(
        "DO $$ DECLARE t regclass; BEGIN
           FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relrowsecurity AND relname <> 'users' LOOP
             EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', t);
           END LOOP;
         END $$",
    )
    .await;
    app
}

/// Every row that is of an organization, of every table that has such rows, the audit log's too.
async fn rows_of(app: &TestApp, organization: OrganizationId) -> Vec<String> {
    let mut connection = app.owner.connect().await.unwrap();
    let query = |sql: String| diesel::sql_query(sql);
    let tables: Vec<Line> = query(
        "SELECT attrelid::regclass::text AS line FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attname = 'organization_id' ORDER BY 1"
            .to_owned(),
    )
    .load(&mut connection)
    .await
    .unwrap();
    let mut rows = Vec::new();
    for Line { line: table } in tables {
        let sql = format!(
            "SELECT '{table} ' || to_jsonb(t)::text AS line FROM {table} t WHERE organization_id = '{}' ORDER BY 1",
            organization.uuid()
        );
        let found: Vec<Line> = query(sql).load(&mut connection).await.unwrap();
        rows.extend(found.into_iter().map(|row| row.line));
    }
    rows
}

/// What somebody has in one of several organizations.
struct Presence {
    organization: Organization,
    /// The person, in this organization.
    client: Client,
    membership: Value,
    /// One's own, with a credential, granted to others.
    configuration: Value,
    /// Of the person's key.
    of_key: Value,
    key: Value,
    secret: String,
}

/// Makes `user`, who exists, an admin of a new organization, with something in every table.
async fn join(app: &TestApp, name: &str, user: Option<UserId>) -> (UserId, Presence) {
    let organization = app.organization(name).await;
    let user = match user {
        Some(user) => {
            let id = organization.id;
            let put = async |tx: &db::SystemTx| db::member::put(tx, id, user, Some(Role::Admin)).await;
            app.app.db.system_write(put).await.unwrap();
            user
        }
        None => organization.user(Role::Admin).await,
    };
    // One token for all of them: the header says which.
    let now = app.clock.now();
    let claims = Claims::new(ISSUER, AUDIENCE, &subject(user), now, now + TimeDelta::hours(1));
    let token = sign(&claims, &SecretString::from(JWT_SECRET)).unwrap();
    let client = app.anonymous().with("authorization", &format!("Bearer {token}"));
    let client = client.with("x-organization-id", &organization.id.to_string());
    let mut input = github("the person's");
    input["credentials"] = json!({"bearer": {"token": "s3cret"}});
    let configuration = client.create(input).await["id"].clone();
    let made = client
        .gql("mutation { apiKeyCreate(input: {name: \"the person's\", scopes: [configurations_read]}) { apiKey { id } secret } }", json!({}))
        .await;
    let key = made.data("/apiKeyCreate/apiKey/id").clone();
    // Made for the key and not by it: a use would be noted beside the requests, at any moment.
    let mut input = github("the key's");
    input["owner"] = json!({"apiKeyId": key});
    let of_key = client.create(input).await["id"].clone();
    let of_owner = organization.owner.create(github("the owner's")).await["id"].clone();
    let owner = organization.owner.id().await;
    for (by, on, to) in [
        (&client, &configuration, json!({"organization": true})),
        (&client, &configuration, json!({"userId": owner})),
        (&organization.owner, &of_owner, json!({"userId": user.to_string()})),
        (&organization.owner, &of_owner, json!({"apiKeyId": key})),
    ] {
        assert_eq!(by.grant(on, to, "use").await.user_errors(), Vec::<String>::new());
    }
    let answer = client.gql("{ organization { members { nodes { id userId } } } }", json!({})).await;
    let members = answer.data("/organization/members/nodes").as_array().unwrap();
    let membership = members.iter().find(|member| member["userId"] == user.to_string()).unwrap()["id"].clone();
    let secret = made.data("/apiKeyCreate/secret").as_str().unwrap().to_owned();
    (user, Presence { organization, client, membership, configuration, of_key, key, secret })
}

/// Somebody of three organizations is removed from one and then from another. The third stays as it was, row by row, and
/// so does each while it is another's turn.
async fn assert_who_leaves_one_stays_in_the_others(app: &TestApp) {
    let (user, acme) = join(app, "Acme", None).await;
    let (_, globex) = join(app, "Globex", Some(user)).await;
    let (_, initech) = join(app, "Initech", Some(user)).await;

    // The person sees the others' names, and of each other no more than that.
    let document = "{ viewer { organizations { id members { totalCount } apiKeys { totalCount } auditLog { totalCount }
        encryption { activeKeyVersion } } personalConnectorConfigurations { nodes { id } } } organization { members { totalCount } } }";
    for here in [&acme, &globex, &initech] {
        let answer = here.client.gql(document, json!({})).await;
        assert_eq!(answer.data("/viewer/personalConnectorConfigurations/nodes"), &json!([{"id": here.configuration}]));
        assert_eq!(answer.data("/organization/members/totalCount"), 2);
        let organizations = answer.data("/viewer/organizations").as_array().unwrap();
        assert_eq!(organizations.len(), 3);
        for seen in organizations {
            let is_own = seen["id"] == here.organization.id.to_string();
            for list in ["members", "apiKeys", "auditLog", "encryption"] {
                assert_eq!(seen[list].is_null(), !is_own, "{list}: {}", answer.text);
            }
        }
    }

    let remove = async |from: &Presence, heir: Value| {
        let document = "mutation($id: ID!, $heir: ConfigurationOwnerInput) { organizationMemberRemove(id: $id, transferTo: $heir) {
            removedId transferredCount userErrors { code field } } }";
        let answer = from.organization.owner.gql(document, json!({"id": from.membership, "heir": heir})).await;
        assert_eq!(answer.user_errors(), Vec::<String>::new());
        assert_eq!(answer.data("/organizationMemberRemove/removedId"), &from.membership);
        answer.data("/organizationMemberRemove/transferredCount").clone()
    };
    let rows = async |of: &Presence| rows_of(app, of.organization.id).await;
    let person = async || {
        let mut connection = app.owner.connect().await.unwrap();
        let sql = format!(
            "SELECT to_jsonb(u)::text || (SELECT jsonb_agg(i)::text FROM identities i WHERE user_id = u.id) AS line FROM users u WHERE id = '{}'",
            user.uuid()
        );
        let rows: Vec<Line> = diesel::sql_query(sql).load(&mut connection).await.unwrap();
        rows.into_iter().map(|row| row.line).collect::<Vec<_>>()
    };
    let has = |rows: &[String], table: &str, text: &str| {
        rows.iter().any(|row| row.starts_with(&format!("{table} ")) && row.contains(text))
    };
    let id = user.uuid().to_string();
    let before = (rows(&acme).await, rows(&globex).await, rows(&initech).await, person().await);
    for rows in [&before.0, &before.1, &before.2] {
        for table in ["members", "api_keys", "configurations", "grants"] {
            assert!(has(rows, table, &id), "the person is in {table}");
        }
        assert!(has(rows, "credentials", ""));
    }

    // With an heir.
    let owner = acme.organization.owner.id().await;
    assert_eq!(remove(&acme, json!({"userId": owner})).await, 1);
    let left = rows(&acme).await;
    for table in ["members", "configurations", "grants"] {
        // Who gave a grant is kept.
        let column = if table == "configurations" { "owner_user_id" } else { "user_id" };
        assert!(!has(&left, table, &format!("\"{column}\": \"{id}\"")), "{table}: {left:?}");
    }
    assert_eq!(acme.organization.owner.find(&acme.configuration).await["userId"], owner);
    assert_eq!(acme.organization.owner.find(&acme.of_key).await["apiKeyId"], acme.key);
    assert_eq!(
        (rows(&globex).await, rows(&initech).await, person().await),
        (before.1.clone(), before.2.clone(), before.3.clone())
    );

    // Without.
    assert_eq!(remove(&globex, Value::Null).await, 0);
    assert_eq!(globex.organization.owner.find(&globex.configuration).await, Value::Null);
    assert_eq!(globex.organization.owner.find(&globex.of_key).await["apiKeyId"], globex.key);
    assert_eq!((rows(&acme).await, rows(&initech).await, person().await), (left, before.2, before.3));

    // And all of it works on where the person still is, and nowhere else.
    let who = "{ viewer { role } }";
    for (presence, status) in [(&acme, 401), (&globex, 401), (&initech, 200)] {
        assert_eq!(presence.client.gql(who, json!({})).await.status, status);
        assert_eq!(app.anonymous().with("x-api-key", &presence.secret).gql(who, json!({})).await.status, status);
    }
    let answer = initech.client.gql("{ viewer { organizations { id } } }", json!({})).await;
    assert_eq!(answer.data("/viewer/organizations"), &json!([{"id": initech.organization.id.to_string()}]));
}

#[tokio::test]
async fn who_leaves_one_organization_stays_in_the_others() {
    assert_who_leaves_one_stays_in_the_others(&TestApp::new()).await;
}

/// Nothing but the scope of each query keeps the removal in its organization.
#[tokio::test]
async fn who_leaves_one_organization_stays_in_the_others_without_row_level_security() {
    assert_who_leaves_one_stays_in_the_others(&without_row_level_security().await).await;
}

/// The fourth lock alone: SQL without any scope, as the service's role, even when the login is a superuser.
#[tokio::test]
async fn postgres_keeps_organizations_apart_when_a_query_forgets_to() {
    let database = fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let (acme, globex) = (everything(&app, "Acme").await, everything(&app, "Globex").await);
    for login in [&database.service, &database.owner] {
        let mut connection = login.connect().await.unwrap();
        let begin = format!(
            "BEGIN; SET LOCAL ROLE patchbay_app; SET LOCAL patchbay.organization_id = '{}'",
            globex.organization.id.uuid()
        );
        connection.batch_execute(&begin).await.unwrap();
        for table in [
            "organizations",
            "members",
            "api_keys",
            "configurations",
            "connectors",
            "credentials",
            "organization_keys",
            "audit_log",
            "audit_heads",
            "grants",
            "idempotency_keys",
        ] {
            let column = if table == "organizations" { "id" } else { "organization_id" };
            let sql = format!("SELECT DISTINCT {column}::text AS line FROM {table}");
            let seen: Vec<Line> = diesel::sql_query(sql).load(&mut connection).await.unwrap();
            let seen: Vec<_> = seen.into_iter().map(|row| row.line).collect();
            assert_eq!(seen, [globex.organization.id.uuid().to_string()], "{table}");
        }
        let people: Vec<Line> =
            diesel::sql_query("SELECT id::text AS line FROM users").load(&mut connection).await.unwrap();
        assert_eq!(people.len(), 1, "one member, one person");
        for statement in [
            "UPDATE configurations SET name = name || '!'",
            "DELETE FROM credentials",
            "UPDATE connectors SET enabled = false",
            "DELETE FROM connectors",
            "UPDATE api_keys SET revoked_at = now()",
            "UPDATE members SET role = 'owner'",
            "DELETE FROM members",
            "DELETE FROM grants",
            "DELETE FROM idempotency_keys",
        ] {
            let sql = format!("{statement} WHERE organization_id = '{}'", acme.organization.id.uuid());
            assert_eq!(diesel::sql_query(sql).execute(&mut connection).await.unwrap(), 0, "{statement}");
        }
        let theirs = format!("UPDATE users SET tokens_valid_from = now() WHERE id = '{}'", uuid(&acme.user));
        assert_eq!(diesel::sql_query(theirs).execute(&mut connection).await.unwrap(), 0);
        connection.batch_execute("COMMIT").await.unwrap();

        // Nothing is written under another organization's name, nothing points at another organization's row, and the
        // audit log only grows.
        let refused = [
            (
                format!(
                    "INSERT INTO configurations (organization_id, id, owner_user_id, connector_id, name, configuration)
                     SELECT '{}', gen_random_uuid(), user_id, 'pcon_github', 'x', '{{}}' FROM members",
                    acme.organization.id.uuid()
                ),
                "row-level security",
            ),
            (
                format!(
                    "INSERT INTO configurations (id, owner_user_id, connector_id, name, configuration)
                     VALUES (gen_random_uuid(), '{}', 'pcon_github', 'x', '{{}}')",
                    uuid(&acme.user)
                ),
                "configurations_owner_user_id_fkey",
            ),
            (
                format!(
                    "INSERT INTO credentials (configuration_id, revision, kind, bound_origin, organization_key_version, sealed, refreshable, scopes)
                     VALUES ('{}', 1, 'bearer', '', 1, decode(repeat('00', 202), 'hex'), false, '{{}}')",
                    uuid(&acme.configuration)
                ),
                "credentials_configuration_id_fkey",
            ),
            (
                format!(
                    "INSERT INTO configurations (id, owner_user_id, connector_id, custom_connector_id, name, configuration)
                     SELECT gen_random_uuid(), user_id, '{}', '{}', 'x', '{{}}' FROM members",
                    acme.connector.as_str().unwrap(),
                    uuid(&acme.connector)
                ),
                "configurations_custom_connector_id_fkey",
            ),
            ("UPDATE configurations SET organization_id = gen_random_uuid()".to_owned(), "permission denied"),
            ("UPDATE members SET user_id = gen_random_uuid()".to_owned(), "permission denied"),
            ("UPDATE audit_heads SET pruned_sequence = 1".to_owned(), "permission denied"),
            (
                format!(
                    "INSERT INTO grants (id, configuration_id, permission) VALUES (gen_random_uuid(), '{}', 'use')",
                    uuid(&acme.configuration)
                ),
                "grants_configuration_id_fkey",
            ),
            (
                format!(
                    "INSERT INTO grants (id, configuration_id, user_id, permission)
                     SELECT gen_random_uuid(), id, '{}', 'use' FROM configurations",
                    uuid(&acme.user)
                ),
                "grants_user_id_fkey",
            ),
            ("DELETE FROM audit_log".to_owned(), "permission denied"),
            ("UPDATE audit_log SET action = 'nothing'".to_owned(), "permission denied"),
            ("TRUNCATE configurations CASCADE".to_owned(), "permission denied"),
            ("SELECT * FROM identities".to_owned(), "permission denied"),
            ("SELECT * FROM organization_claims".to_owned(), "permission denied"),
            ("SELECT * FROM organization_tombstones".to_owned(), "permission denied"),
            ("SELECT * FROM revoked_tokens".to_owned(), "permission denied"),
            ("DELETE FROM revoked_tokens".to_owned(), "permission denied"),
            ("UPDATE users SET email = 'a@b'".to_owned(), "permission denied"),
            (
                format!("INSERT INTO revoked_tokens VALUES ('issuer', 'id', '{}', now())", uuid(&acme.user)),
                "row-level security",
            ),
            (
                "INSERT INTO revoked_tokens VALUES ('issuer', 'id', '00000000-0000-0000-0000-000000000000', now())".to_owned(),
                "row-level security",
            ),
        ];
        for (statement, reason) in refused {
            connection.batch_execute(&begin).await.unwrap();
            let error = connection.batch_execute(&statement).await.unwrap_err();
            assert!(
                format!("{error:?}").contains(reason) || constraint(&error) == Some(reason),
                "{statement}: {error:?}"
            );
            connection.batch_execute("ROLLBACK").await.unwrap();
        }
    }
    // Without an organization there is nothing at all.
    let mut connection = database.service.connect().await.unwrap();
    connection.batch_execute("BEGIN; SET LOCAL ROLE patchbay_app").await.unwrap();
    let none: Vec<Line> =
        diesel::sql_query("SELECT id::text AS line FROM configurations").load(&mut connection).await.unwrap();
    assert_eq!(none.len(), 0);
    connection.batch_execute("ROLLBACK").await.unwrap();
    // And without its role, the service's login may not even look.
    assert!(connection.batch_execute("SELECT 1 FROM configurations").await.is_err());
}

fn constraint(error: &diesel::result::Error) -> Option<&str> {
    match error {
        diesel::result::Error::DatabaseError(_, information) => information.constraint_name(),
        _ => None,
    }
}

fn uuid(id: &Value) -> uuid::Uuid {
    let text = id.as_str().unwrap();
    match text.split_once('_').unwrap().0 {
        "user" => text.parse::<UserId>().unwrap().uuid(),
        "pcon" => text.parse::<patchbay::id::ConnectorId>().unwrap().uuid(),
        _ => text.parse::<patchbay::id::ConfigurationId>().unwrap().uuid(),
    }
}

/// Where a caller may write an id: arguments of `Query` and `Mutation`, and fields of inputs. A new one needs a case above.
const IDS: [&str; 30] = [
    "Query.apiKey(id)",
    "Query.node(id)",
    "Query.nodes(ids)",
    "Query.personalConnector(id)",
    "Query.personalConnectorConfiguration(id)",
    "Query.validateConfiguration(personalConnectorId)",
    "Mutation.apiKeyRevoke(id)",
    "Mutation.apiKeyRotate(id)",
    "Mutation.apiKeyUpdate(id)",
    "Mutation.organizationMemberRemove(id)",
    "Mutation.organizationMemberSetRole(id)",
    "Mutation.personalConnectorConfigurationClearCredentials(id)",
    "Mutation.personalConnectorConfigurationDelete(id)",
    "Mutation.personalConnectorConfigurationDisable(id)",
    "Mutation.personalConnectorConfigurationEnable(id)",
    "Mutation.personalConnectorConfigurationGrant(id)",
    "Mutation.personalConnectorConfigurationRevokeGrant(grantId)",
    "Mutation.personalConnectorConfigurationRevokeGrant(id)",
    "Mutation.personalConnectorConfigurationRotateCredentials(id)",
    "Mutation.personalConnectorConfigurationUpdate(id)",
    "Mutation.personalConnectorDelete(id)",
    "Mutation.personalConnectorUpdate(id)",
    "ConfigurationOwnerInput.apiKeyId",
    "ConfigurationOwnerInput.userId",
    "GranteeInput.apiKeyId",
    "GranteeInput.userId",
    "IDComparator.eq/in/neq/nin",
    "NullableIDComparator.eq/in/neq/nin",
    "PersonalConnectorConfigurationCreateInput.personalConnectorId",
    "PersonalConnectorConfigurationSelector.ids",
];

#[test]
fn every_place_for_an_id_is_known() {
    let schema = document();
    let mut found = BTreeSet::new();
    for definition in types(&schema) {
        let name = &definition.name.node;
        match &definition.kind {
            TypeKind::Object(object) if ["Query", "Mutation"].contains(&name.as_str()) => {
                for field in &object.fields {
                    for argument in &field.node.arguments {
                        if argument.node.ty.node.to_string().replace(['[', ']', '!'], "") == "ID" {
                            found.insert(format!("{name}.{}({})", field.node.name.node, argument.node.name.node));
                        }
                    }
                }
            }
            TypeKind::InputObject(input) => {
                for field in &input.fields {
                    if field.node.ty.node.to_string().replace(['[', ']', '!'], "") == "ID" {
                        let field = if name.ends_with("Comparator") { "eq/in/neq/nin" } else { &field.node.name.node };
                        found.insert(format!("{name}.{field}"));
                    }
                }
            }
            _ => {}
        }
    }
    let known: BTreeSet<_> = IDS.into_iter().map(str::to_owned).collect();
    assert_eq!(found, known);
}

/// Every id in `value` that is one of `ids`, replaced by one that nobody has.
fn unknown(value: &Value, ids: &[&Value]) -> Value {
    match value {
        Value::String(id) if ids.contains(&value) => {
            let (prefix, _) = id.split_once('_').unwrap();
            json!(format!("{prefix}_01m00000000000000000000000"))
        }
        Value::Array(items) => items.iter().map(|item| unknown(item, ids)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), unknown(member, ids)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// The places of [`IDS`] where a document, with its variables, writes one of `ids`.
fn places(text: &str, variables: &Value, ids: &[&Value]) -> BTreeSet<String> {
    let schema = document();
    let kinds: BTreeMap<_, _> =
        types(&schema).map(|definition| (definition.name.node.as_str(), &definition.kind)).collect();
    let mut found = BTreeSet::new();
    let parsed = parse_query(text).unwrap();
    for (_, operation) in parsed.operations.iter() {
        let root = match operation.node.ty {
            OperationType::Mutation => "Mutation",
            _ => "Query",
        };
        let Some(TypeKind::Object(object)) = kinds.get(root) else { panic!("no {root}") };
        for selection in &operation.node.selection_set.node.items {
            let Selection::Field(field) = &selection.node else { continue };
            let name = &field.node.name.node;
            let known = object.fields.iter().find(|known| known.node.name.node == *name).unwrap();
            for (argument, value) in &field.node.arguments {
                let value = value
                    .node
                    .clone()
                    .into_const_with(|name| async_graphql::Value::from_json(variables[name.as_str()].clone()));
                let value = value.unwrap().into_json().unwrap();
                let known = known.node.arguments.iter().find(|known| known.node.name.node == argument.node).unwrap();
                let place = format!("{root}.{name}({})", argument.node);
                note_places(&kinds, &known.node.ty.node.to_string(), &place, &value, ids, &mut found);
            }
        }
    }
    found
}

/// The same for a value of a type, in a place.
fn note_places(
    kinds: &BTreeMap<&str, &TypeKind>,
    ty: &str,
    place: &str,
    value: &Value,
    ids: &[&Value],
    found: &mut BTreeSet<String>,
) {
    let ty = ty.replace(['[', ']', '!'], "");
    match value {
        Value::Array(items) => {
            for item in items {
                note_places(kinds, &ty, place, item, ids, found);
            }
        }
        Value::Object(members) => {
            let Some(TypeKind::InputObject(input)) = kinds.get(ty.as_str()) else { return };
            for (name, member) in members {
                let field = input.fields.iter().find(|field| field.node.name.node == name.as_str()).unwrap();
                note_places(kinds, &field.node.ty.node.to_string(), &format!("{ty}.{name}"), member, ids, found);
            }
        }
        value => {
            if ty == "ID" && ids.contains(&value) {
                found.insert(place.to_owned());
            }
        }
    }
}

/// Another organization's object answers what an unknown one answers, byte for byte but for the id itself: every case of
/// the matrix that names an id, with its messages, and every place where one may be written.
#[tokio::test]
async fn not_yours_looks_like_not_there() {
    let app = TestApp::new();
    let (acme, globex) = (everything(&app, "Acme").await, everything(&app, "Globex").await);
    let attacker = globex.organization.person(Role::Owner).await.with("x-request-id", "same");
    let own = json!(acme.organization.id.to_string());
    let ids = [
        &acme.configuration,
        &acme.connector,
        &acme.api_key,
        &acme.member,
        &acme.user,
        &acme.grant,
        &acme.audit_entry,
        &own,
    ];
    let mut compared = BTreeSet::new();
    let mut more = vec![
        (
            "mutation($id: ID!, $to: GranteeInput!) { personalConnectorConfigurationGrant(id: $id, to: $to, permission: use) { userErrors { code field } } }".to_owned(),
            json!({"id": globex.configuration, "to": {"userId": acme.user}}),
        ),
        (
            "mutation($id: ID!, $to: GranteeInput!) { personalConnectorConfigurationGrant(id: $id, to: $to, permission: use) { userErrors { code field } } }".to_owned(),
            json!({"id": globex.configuration, "to": {"apiKeyId": acme.api_key}}),
        ),
        (
            "mutation($id: ID!, $grant: ID!) { personalConnectorConfigurationRevokeGrant(id: $id, grantId: $grant) { userErrors { code field } } }".to_owned(),
            json!({"id": globex.configuration, "grant": acme.grant}),
        ),
        (
            "mutation($id: ID!, $to: ConfigurationOwnerInput) { organizationMemberRemove(id: $id, transferTo: $to) { userErrors { code field } } }".to_owned(),
            json!({"id": globex.member, "to": {"userId": acme.user}}),
        ),
    ];
    // Those of ours that are not theirs are as many as those that are nobody's.
    for (field, id) in [("id", &acme.configuration), ("userId", &acme.user), ("apiKeyId", &acme.api_key)] {
        for comparator in [json!({"eq": id}), json!({"in": [id]}), json!({"neq": id}), json!({"nin": [id]})] {
            more.push((
                "query($filter: PersonalConnectorConfigurationFilter) {
                   personalConnectorConfigurations(filter: $filter) { totalCount nodes { id name } } }"
                    .to_owned(),
                json!({"filter": {field: comparator}}),
            ));
        }
    }
    more.extend(
        cases(&acme, &globex, &globex.user)
            .into_values()
            .flatten()
            .map(|(document, variables, _)| (document, variables)),
    );
    for (document, variables) in more {
        let without = unknown(&variables, &ids);
        if without == variables {
            continue;
        }
        let document = document.replace("code field", "code message field");
        let theirs = attacker.gql(&document, variables.clone()).await;
        let nobodys = attacker.gql(&document, without).await;
        let text = |answer: &Answer| {
            let mut text = answer.text.clone();
            for id in ids {
                let id = id.as_str().unwrap();
                text = text.replace(id, &format!("{}_01m00000000000000000000000", id.split_once('_').unwrap().0));
            }
            text
        };
        let headers = |answer: &Answer| {
            let mut headers = answer.headers.clone();
            // They say when, and what is left.
            for name in ["date", "ratelimit", "ratelimit-policy"] {
                headers.remove(name);
            }
            headers
        };
        assert_eq!(
            (theirs.status, text(&theirs), headers(&theirs)),
            (nobodys.status, text(&nobodys), headers(&nobodys)),
            "{document} {variables}"
        );
        compared.extend(places(&document, &variables, &ids));
    }
    // Every place where an id may be written was one of those.
    let expected: BTreeSet<String> = IDS
        .iter()
        .flat_map(|place| match place.split_once(".eq/") {
            Some((ty, rest)) => format!("eq/{rest}").split('/').map(|name| format!("{ty}.{name}")).collect(),
            None => vec![(*place).to_owned()],
        })
        .collect();
    assert_eq!(compared, expected);
}

/// The same for a connector of another organization, in every place that takes one.
#[tokio::test]
async fn not_your_connector_looks_like_none() {
    let app = TestApp::new();
    let (acme, globex) = (everything(&app, "Acme").await, everything(&app, "Globex").await);
    let unknown = json!("pcon_01m00000000000000000000000");
    for document in [
        "query($id: ID!) { node(id: $id) { id } personalConnector(id: $id) { id } personalConnectors(filter: {id: {eq: $id}}) { totalCount } }",
        "query($id: ID!) { validateConfiguration(personalConnectorId: $id, configuration: {}) { valid } }",
        "mutation($id: ID!) { personalConnectorDelete(id: $id) { deletedId userErrors { code message field } } }",
        "mutation($id: ID!) { personalConnectorUpdate(id: $id, input: {enabled: false}, expectedVersion: 1) { userErrors { code message field } } }",
        "mutation($id: ID!) { personalConnectorConfigurationCreate(input: {personalConnectorId: $id, name: \"x\", configuration: {}}) { userErrors { code message field } } }",
    ] {
        let mut answers = Vec::new();
        for id in [&acme.connector, &unknown] {
            let answer = globex.organization.owner.with("x-request-id", "same").gql(document, json!({"id": id})).await;
            answers.push((answer.status, answer.text));
        }
        assert_eq!(answers[0], answers[1], "{document}");
    }
}

/// A request that is dropped half-way leaves nothing behind on the pooled connection: no transaction, no organization.
#[tokio::test]
async fn an_abandoned_request_leaves_nothing_behind() {
    let database = fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let (acme, globex) = (everything(&app, "Acme").await, everything(&app, "Globex").await);
    let mut abandoned = 0;
    for step in 0..150 {
        // From no time at all to enough for the whole request: cut off at every point on the way.
        let patience = std::time::Duration::from_micros(step * 60);
        let write = acme.organization.owner.try_create(github(&format!("half {step}")));
        abandoned += usize::from(tokio::time::timeout(patience, write).await.is_err());
        assert_eq!(globex.organization.owner.names(json!(null)).await, ["Globex"]);
    }
    assert!(abandoned > 20, "{abandoned} requests were abandoned");
    let stuck = lines(
        &database,
        &format!(
            "SELECT pid::text AS line FROM pg_stat_activity WHERE datname = '{}' AND state LIKE 'idle in transaction%'",
            database.name
        ),
    )
    .await;
    assert_eq!(stuck, Vec::<String>::new());
    // Each write is there with its audit row, or neither is.
    let orphans = lines(
        &database,
        "SELECT name AS line FROM configurations c WHERE NOT EXISTS (
           SELECT FROM audit_log a WHERE a.organization_id = c.organization_id AND a.action = 'personal_connector_configuration.created'
             AND a.created_at BETWEEN c.created_at AND c.created_at + interval '10 s')",
    )
    .await;
    assert_eq!(orphans, Vec::<String>::new());
}

/// Every committed write has one audit row; what changed nothing, or failed, has none.
#[tokio::test]
async fn every_write_leaves_one_audit_row() {
    let database = fresh_database().await;
    let app = TestApp::on(&database, TestApp::api());
    let acme = app.organization("Acme").await;
    let id = acme.owner.create(github("one")).await["id"].clone();
    acme.owner.update(&id, json!({"name": "two"}), None).await;
    acme.owner.update(&id, json!({"name": ""}), None).await;
    acme.owner.update(&id, json!({"name": "three"}), Some(99)).await;
    for document in [
        "mutation($id: ID!) { personalConnectorConfigurationEnable(id: $id) { userErrors { code } } }",
        "mutation($id: ID!) { personalConnectorConfigurationClearCredentials(id: $id) { userErrors { code } } }",
        "mutation($id: ID!) { personalConnectorConfigurationRotateCredentials(id: $id, credentials: {bearer: {token: \"t\"}}) { userErrors { code } } }",
        "mutation($id: ID!) { personalConnectorConfigurationClearCredentials(id: $id) { userErrors { code } } }",
        "mutation($id: ID!) { personalConnectorConfigurationDelete(id: $id) { userErrors { code } } }",
        "mutation($id: ID!) { personalConnectorConfigurationDelete(id: $id) { userErrors { code } } }",
    ] {
        acme.owner.gql(document, json!({"id": id})).await;
    }
    let actions =
        lines(&database, "SELECT format('%s %s', action, target_id) AS line FROM audit_log ORDER BY sequence").await;
    let id = id.as_str().unwrap();
    let expected = [
        "personal_connector_configuration.created",
        "personal_connector_configuration.updated",
        "credential.written",
        "credential.written",
        "personal_connector_configuration.deleted",
    ];
    assert_eq!(actions, expected.map(|action| format!("{action} {id}")));
}
