//! Canaries: secrets are planted everywhere that takes one, and in places where people put them by mistake. Then every
//! answer, the whole log at its most talkative, and every row of the database are searched for them, in every disguise.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use data_encoding::{BASE64, HEXLOWER, HEXUPPER};
use diesel_async::RunQueryDsl as _;
use patchbay::dev::postgres::Cluster;
use serde_json::{Value, json};

use crate::harness::process::{Service, dev_env};

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = diesel::sql_types::Text)]
    line: String,
}

/// A secret in all the ways in which it could be written down.
fn disguises(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let mut found =
        vec![secret.to_owned(), HEXLOWER.encode(bytes), HEXUPPER.encode(bytes), secret.chars().rev().collect()];
    // Base64 of a longer text holds it in one of three shapes; their ends depend on the neighbours.
    for skip in 0..3 {
        let padded = [&b"\0\0\0"[..skip], bytes].concat();
        let encoded = BASE64.encode(&padded);
        let inner = &encoded[4..encoded.len() - 4];
        found.push(inner.to_owned());
        found.push(inner.replace('+', "-").replace('/', "_"));
    }
    found.push(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02X}");
        text
    }));
    let decimal = format!("{bytes:?}");
    found.push(decimal.trim_matches(['[', ']']).to_owned());
    found.push(decimal.trim_matches(['[', ']']).replace(' ', ""));
    found
}

fn assert_absent(secrets: &[String], haystack: &str, place: &str) {
    for secret in secrets {
        for disguise in disguises(secret) {
            if let Some(at) = haystack.find(&disguise) {
                let from = haystack[..at].char_indices().rev().nth(200).map_or(0, |(at, _)| at);
                panic!("{place} has {disguise} ({secret}): {}", &haystack[from..at + disguise.len()]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_planted_secret_is_found_anywhere() {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let data_dir = home.path().join("data");
    let service = Service::dev_with(&data_dir, |command| {
        // The driver's own lines hold every bound value; asking for them by name does not bring them either.
        command.env("PATCHBAY_LOG", "trace,tokio_postgres=trace").env("RUST_BACKTRACE", "1");
    })
    .unwrap_or_else(|said| panic!("{said}"));
    let env = dev_env(&data_dir);
    let welcome = service.log().len();
    let canary = |n: u32| format!("canary{n:02}x7Qm2ZpL9vTr4Wk8");
    let client = reqwest::Client::new();
    let mut answers = String::new();
    let mut ask = async |document: &str, variables: Value| {
        let body = json!({"query": document, "variables": variables});
        let request =
            client.post(&service.url).header("authorization", format!("Bearer {}", env["PATCHBAY_TOKEN"])).json(&body);
        let answer = request.send().await.unwrap();
        let text = format!("{:?}\n{}\n", answer.headers().clone(), answer.text().await.unwrap());
        answers += &text;
        serde_json::from_str::<Value>(text.lines().nth(1).unwrap_or_default()).unwrap_or_default()
    };

    // Where they belong.
    let create = "mutation($input: PersonalConnectorConfigurationCreateInput!) { personalConnectorConfigurationCreate(input: $input) {
        personalConnectorConfiguration { id name configuration metadata authMethod credentialsInfo { type scopes } } userErrors { code message field } } }";
    let mut ids = Vec::new();
    for (n, credentials) in [
        json!({"apiKey": {"apiKey": canary(1)}}),
        json!({"oauth2": {"accessToken": canary(2), "refreshToken": canary(3), "scopes": ["read"]}}),
        json!({"bearer": {"token": canary(4)}}),
        json!({"basic": {"username": "u", "password": canary(5)}}),
    ]
    .into_iter()
    .enumerate()
    {
        let input = json!({"personalConnectorId": "pcon_custom_mcp", "name": format!("n{n}"), "configuration": {"endpoint": "https://example.com"}, "credentials": credentials});
        let made = ask(create, json!({"input": input})).await;
        ids.push(made["data"]["personalConnectorConfigurationCreate"]["personalConnectorConfiguration"]["id"].clone());
    }
    assert!(ids.iter().all(Value::is_string), "{ids:?}");
    let rotate = "mutation($id: ID!, $credentials: CredentialsInput!) { personalConnectorConfigurationRotateCredentials(id: $id, credentials: $credentials) { userErrors { code message field } } }";
    ask(rotate, json!({"id": ids[0], "credentials": {"bearer": {"token": canary(6)}}})).await;

    // In a document, good, broken, and unknown.
    for document in [
        format!(
            "mutation {{ personalConnectorConfigurationRotateCredentials(id: \"x\", credentials: {{bearer: {{token: \"{}\"}}}}) {{ userErrors {{ code message }} }} }}",
            canary(7)
        ),
        format!(
            "mutation {{ personalConnectorConfigurationRotateCredentials(id: \"x\", credentials: {{bearer: {{token: \"{}\"}}}}) {{",
            canary(8)
        ),
        format!(
            "mutation {{ personalConnectorConfigurationRotateCredentials(id: \"x\", credentials: {{bearer: {{token: \"{}\"}}}}) {{ nothing }} }}",
            canary(9)
        ),
        format!("query Secret($v: String = \"{}\") {{ viewer {{ role }} }}", canary(10)),
        format!("# {}\n{{ viewer {{ role }} }}", canary(11)),
        format!(
            "{{ personalConnectorConfigurations(filter: {{healthStatus: {{eq: {}}}}}) {{ totalCount }} }}",
            canary(12)
        ),
    ] {
        ask(&document, json!({})).await;
    }
    // In the wrong place or shape.
    for (n, credentials) in [
        json!(canary(13)),
        json!({"bearer": canary(14)}),
        json!({"bearer": {"token": [canary(15)]}}),
        json!({"bearer": {"token": {"a": canary(16)}}}),
        json!({canary(17): {"token": "x"}}),
        json!({"bearer": {canary(18): "x"}}),
        json!({"bearer": {"token": canary(19)}, "apiKey": {"apiKey": canary(20)}}),
        json!({"bearer": {"token": format!("{}\n", canary(21))}}),
        json!({"bearer": {"token": format!("{}\u{0}", canary(22))}}),
        json!({"oauth2": {"accessToken": "a", "expiresAt": canary(23)}}),
    ]
    .into_iter()
    .enumerate()
    {
        ask(rotate, json!({"id": ids[n % 4], "credentials": credentials})).await;
    }
    ask(create, json!({"input": {"personalConnectorId": canary(24), "name": "x", "configuration": {}}})).await;
    ask(create, json!({"input": {"personalConnectorId": "pcon_github", "name": "x", "configuration": {"repository": canary(25), "paths": canary(26)}}})).await;
    ask(create, json!({"input": canary(27)})).await;
    // What people may see is still not for the log: some paste a secret into a name.
    let seen =
        ["seen-in-a-name-x7Qm2ZpL9", "seen-in-a-setting-x7Qm2ZpL9", "seen-in-metadata-x7Qm2ZpL9"].map(str::to_owned);
    ask(create, json!({"input": {"personalConnectorId": "pcon_github", "name": seen[0], "configuration": {"repository": "a/b", "x": seen[1]}, "metadata": {"k": seen[2]}}})).await;
    ask("query($name: String) { personalConnectorConfigurations(filter: {name: {eq: $name}, metadata: {contains: {k: \"seen-in-metadata-x7Qm2ZpL9\"}}}) { totalCount } }", json!({"name": seen[0]})).await;
    ask(
        "query($after: String) { personalConnectorConfigurations(after: $after) { totalCount } }",
        json!({"after": canary(28)}),
    )
    .await;
    ask("{ personalConnectorConfigurations { totalCount nodes { id name configuration metadata lastError credentialsInfo { type scopes } } } }", json!({})).await;
    // In bodies and headers that are no requests.
    for body in [
        canary(29),
        format!("{{\"query\": {}", canary(30)),
        format!("[\"{}\"]", canary(31)),
        format!("{{\"query\": \"{{a}}\", \"variables\": \"{}\"}}", canary(32)),
    ] {
        let answer = client
            .post(&service.url)
            .header("authorization", format!("Bearer {}", env["PATCHBAY_TOKEN"]))
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        answers += &answer.text().await.unwrap();
    }
    for (name, value) in [
        ("authorization", format!("Bearer {}", canary(33))),
        ("authorization", canary(34)),
        ("x-api-key", format!("pbk_{}", canary(35))),
        ("cookie", canary(36)),
        ("x-request-id", format!("{} x", canary(37))),
    ] {
        let answer = client
            .post(&service.url)
            .header(name, value)
            .json(&json!({"query": "{ viewer { role } }"}))
            .send()
            .await
            .unwrap();
        answers += &answer.text().await.unwrap();
    }
    let address = format!("{}?query={{viewer{{role}}}}&token={}", service.url, canary(38));
    answers +=
        &client.get(address).header("x-api-key", &env["PATCHBAY_API_KEY"]).send().await.unwrap().text().await.unwrap();
    // A key is shown once, in the answer that makes it: that answer is not searched.
    let made = client
        .post(&service.url)
        .header("authorization", format!("Bearer {}", env["PATCHBAY_TOKEN"]))
        .json(&json!({"query": "mutation { apiKeyCreate(input: {name: \"k\", scopes: [members_read]}) { secret } }"}))
        .send()
        .await
        .unwrap();
    let made: Value = made.json().await.unwrap();
    let key = made["data"]["apiKeyCreate"]["secret"].as_str().unwrap().to_owned();
    let listed = client
        .post(&service.url)
        .header("x-api-key", &key)
        .json(&json!({"query": "{ viewer { apiKey { id name prefix } } }"}))
        .send()
        .await
        .unwrap();
    answers += &listed.text().await.unwrap();

    // Sent to be done once, and sent again: the arguments are kept as a hash. What was shown once is not kept at all.
    let once = "mutation($id: ID!, $credentials: CredentialsInput!) { personalConnectorConfigurationRotateCredentials(id: $id, credentials: $credentials, idempotencyKey: \"k\") { userErrors { code message field } } }";
    let mut rotated = Vec::new();
    for n in [39, 39, 40] {
        let body = json!({"query": once, "variables": {"id": ids[0], "credentials": {"bearer": {"token": canary(n)}}}});
        let authorization = format!("Bearer {}", env["PATCHBAY_TOKEN"]);
        let answer = client.post(&service.url).header("authorization", authorization).json(&body).send().await.unwrap();
        answers += &answer.text().await.unwrap();
        let own = json!({"query": "{ viewer { apiKey { id } } }"});
        let own =
            client.post(&service.url).header("x-api-key", &env["PATCHBAY_API_KEY"]).json(&own).send().await.unwrap();
        let own: Value = own.json().await.unwrap();
        let body = json!({
            "query": "mutation($id: ID!) { apiKeyRotate(id: $id, idempotencyKey: \"r\") { secret userErrors { code } } }",
            "variables": {"id": own["data"]["viewer"]["apiKey"]["id"]},
        });
        let answer =
            client.post(&service.url).header("x-api-key", &env["PATCHBAY_API_KEY"]).json(&body).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        rotated.extend(answer["data"]["apiKeyRotate"]["secret"].as_str().map(str::to_owned));
    }
    assert_eq!(rotated.len(), 1, "shown once");

    let planted: Vec<_> = (1..=40).map(canary).collect();
    let file = |name: &str| std::fs::read_to_string(data_dir.join(name)).unwrap().trim().to_owned();
    let root_key = HEXLOWER.encode(&BASE64.decode(file("root.key").as_bytes()).unwrap());
    let mut ours = vec![
        file("root.key"),
        root_key,
        file("jwt.key"),
        key[21..].to_owned(),
        rotated[0][21..].to_owned(),
        env["PATCHBAY_API_KEY"][21..].to_owned(),
    ];
    assert_absent(&planted, &answers, "an answer");
    assert_absent(&ours, &answers, "an answer");

    let log = service.log();
    let log = &log[welcome..];
    assert!(log.lines().count() > 30, "there is a line for each request");
    ours.push(env["PATCHBAY_TOKEN"].clone());
    assert_absent(&planted, log, "the log");
    assert_absent(&seen, log, "the log");
    assert_absent(&ours, log, "the log");

    // Every row of every table. What is bytes shows as hexadecimal, which is one of the disguises.
    let mut connection = Cluster::running(&data_dir).unwrap().connect().await.unwrap();
    let tables: Vec<Line> = diesel::sql_query("SELECT format('%I', relname) AS line FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
        .load(&mut connection)
        .await
        .unwrap();
    let mut rows = 0;
    for Line { line: table } in tables {
        let dump: Vec<Line> = diesel::sql_query(format!("SELECT row_to_json(t)::text AS line FROM {table} t"))
            .load(&mut connection)
            .await
            .unwrap();
        for Line { line } in &dump {
            assert_absent(&planted, line, &table);
            assert_absent(&ours, line, &table);
        }
        rows += dump.len();
    }
    assert!(rows > 20);
    // The search finds what is there: a name, in the log's own words and as bytes.
    assert!(std::panic::catch_unwind(|| assert_absent(&["request".to_owned() + " method"], log, "the log")).is_err());
}
