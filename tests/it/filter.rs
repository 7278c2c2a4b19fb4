//! Filters against a plain model in memory: whatever is asked, the database gives what the model lets through.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::harness::{Client, FIELDS, TestApp, github};

/// The words that names, descriptions and metadata are made of: few, so that filters hit.
const WORDS: [&str; 8] = ["alpha", "Alpha", "alp", "beta%", "be_ta", "ÉCLAIR", "éclair", "a'b\"c\\d"];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), proptest::sample::select(&WORDS[..]).prop_map(str::to_owned), "[a-c]{1,2}"]
}

fn metadata_value() -> impl Strategy<Value = Value> {
    prop_oneof![word().prop_map(Value::from), (-2i64..3).prop_map(Value::from), any::<bool>().prop_map(Value::from)]
}

fn metadata_key() -> impl Strategy<Value = String> {
    proptest::sample::select(&["environment", "team", "n"][..]).prop_map(str::to_owned)
}

fn metadata() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map(metadata_key(), metadata_value(), 0..3).prop_map(|pairs| json!(pairs))
}

fn moment() -> impl Strategy<Value = String> {
    (0u32..3).prop_map(|day| format!("2025-10-0{}T00:00:00Z", day + 1))
}

/// One of a few optional members, as an object.
fn one_of_fields(fields: Vec<(&'static str, BoxedStrategy<Value>)>, max: usize) -> BoxedStrategy<Value> {
    let count = fields.len();
    proptest::collection::vec(
        (0..count).prop_flat_map(move |index| {
            let (name, value) = fields[index].clone();
            value.prop_map(move |value| (name, value))
        }),
        0..=max,
    )
    .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
    .boxed()
}

fn list(item: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    proptest::collection::vec(item, 0..3).prop_map(Value::from).boxed()
}

fn text(nullable: bool) -> BoxedStrategy<Value> {
    let value = || word().prop_map(Value::from);
    let mut fields = vec![
        ("eq", value().boxed()),
        ("neq", value().boxed()),
        ("in", list(value())),
        ("nin", list(value())),
        ("eqIgnoreCase", value().boxed()),
        ("startsWith", value().boxed()),
        ("contains", value().boxed()),
        ("containsIgnoreCase", value().boxed()),
        ("notContains", value().boxed()),
    ];
    if nullable {
        fields.push(("null", any::<bool>().prop_map(Value::from).boxed()));
    }
    one_of_fields(fields, 2)
}

fn choice(values: &'static [&'static str]) -> BoxedStrategy<Value> {
    let value = move || proptest::sample::select(values).prop_map(Value::from);
    one_of_fields(
        vec![("eq", value().boxed()), ("neq", value().boxed()), ("in", list(value())), ("nin", list(value()))],
        2,
    )
}

fn time() -> BoxedStrategy<Value> {
    let value = || moment().prop_map(Value::from).boxed();
    one_of_fields(
        vec![
            ("eq", value()),
            ("neq", value()),
            ("lt", value()),
            ("lte", value()),
            ("gt", value()),
            ("gte", value()),
            ("null", any::<bool>().prop_map(Value::from).boxed()),
        ],
        2,
    )
}

fn entry() -> BoxedStrategy<Value> {
    let comparison = one_of_fields(
        vec![
            ("eq", metadata_value().boxed()),
            ("neq", metadata_value().boxed()),
            ("in", list(metadata_value())),
            ("nin", list(metadata_value())),
            ("startsWith", word().prop_map(Value::from).boxed()),
            ("contains", word().prop_map(Value::from).boxed()),
        ],
        2,
    );
    let existence = prop_oneof![Just(json!({})), any::<bool>().prop_map(|exists| json!({ "exists": exists }))];
    (metadata_key(), prop_oneof![comparison, existence])
        .prop_map(|(key, mut condition)| {
            condition["key"] = Value::from(key);
            condition
        })
        .boxed()
}

fn metadata_filter() -> BoxedStrategy<Value> {
    let keys = || list(metadata_key().prop_map(Value::from));
    one_of_fields(
        vec![
            ("contains", metadata().boxed()),
            ("hasKey", metadata_key().prop_map(Value::from).boxed()),
            ("hasAnyKey", keys()),
            ("hasAllKeys", keys()),
            ("entries", list(entry())),
            ("null", any::<bool>().prop_map(Value::from).boxed()),
        ],
        2,
    )
}

fn settings_filter() -> BoxedStrategy<Value> {
    one_of_fields(
        vec![
            (
                "contains",
                proptest::sample::select(vec![
                    json!({}),
                    json!({"branch": "main"}),
                    json!({"paths": ["a"]}),
                    json!({"paths": []}),
                    json!({"paths": ["b", "a"]}),
                    json!({"repository": "acme/backend", "branch": "dev"}),
                    json!({"branch": null}),
                ])
                .boxed(),
            ),
            ("hasKey", proptest::sample::select(vec!["branch", "paths", "nothing"]).prop_map(Value::from).boxed()),
        ],
        2,
    )
}

fn filter() -> BoxedStrategy<Value> {
    let leaf = one_of_fields(
        vec![
            ("name", text(false)),
            ("description", text(true)),
            ("lastError", text(true)),
            (
                "enabled",
                one_of_fields(
                    vec![
                        ("eq", any::<bool>().prop_map(Value::from).boxed()),
                        ("neq", any::<bool>().prop_map(Value::from).boxed()),
                    ],
                    2,
                ),
            ),
            ("healthStatus", choice(&["healthy", "unhealthy", "unknown"])),
            ("authMethod", choice(&["api_key", "oauth2", "bearer", "basic", "none"])),
            ("personalConnectorId", choice(&["pcon_github", "pcon_clickup", "nothing"])),
            ("lastSyncAt", time()),
            ("metadata", metadata_filter()),
            ("configuration", settings_filter()),
            ("ownedByViewer", any::<bool>().prop_map(Value::from).boxed()),
            ("search", word().prop_map(Value::from).boxed()),
        ],
        2,
    );
    leaf.prop_recursive(3, 8, 2, |inner| {
        let many = proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from);
        prop_oneof![
            many.clone().prop_map(|parts| json!({ "and": parts })),
            many.prop_map(|parts| json!({ "or": parts })),
            inner.prop_map(|part| json!({ "not": part })),
        ]
    })
    .boxed()
}

/// What the contract says, in the plainest words.
mod model {
    use super::{Map, Value};

    fn all(condition: &Map<String, Value>, holds: impl Fn(&str, &Value) -> bool) -> bool {
        condition.iter().all(|(name, value)| holds(name, value))
    }

    fn among(list: &Value, value: Option<&Value>) -> bool {
        value.is_some_and(|value| list.as_array().unwrap().iter().any(|item| item == value))
    }

    fn text(condition: &Value, value: &Value) -> bool {
        let given = value.as_str();
        let with = |other: &Value, compare: fn(&str, &str) -> bool| {
            given.is_some_and(|given| compare(given, other.as_str().unwrap()))
        };
        all(condition.as_object().unwrap(), |name, other| match name {
            "eq" => with(other, |a, b| a == b),
            "neq" => !with(other, |a, b| a == b),
            "in" => among(other, given.map(|_| value)),
            "nin" => !among(other, given.map(|_| value)),
            "eqIgnoreCase" => with(other, |a, b| a.to_lowercase() == b.to_lowercase()),
            "startsWith" => with(other, |a, b| a.starts_with(b)),
            "contains" => with(other, |a, b| a.contains(b)),
            "containsIgnoreCase" => with(other, |a, b| a.to_lowercase().contains(&b.to_lowercase())),
            "notContains" => !with(other, |a, b| a.contains(b)),
            "null" => given.is_none() == other.as_bool().unwrap(),
            other => panic!("{other}"),
        })
    }

    fn time(condition: &Value, value: &Value) -> bool {
        // Timestamps of one form compare as text does.
        let given = value.as_str();
        let with = |other: &Value, compare: fn(&str, &str) -> bool| {
            given.is_some_and(|given| compare(given, other.as_str().unwrap()))
        };
        all(condition.as_object().unwrap(), |name, other| match name {
            "eq" => with(other, |a, b| a == b),
            "neq" => !with(other, |a, b| a == b),
            "lt" => with(other, |a, b| a < b),
            "lte" => with(other, |a, b| a <= b),
            "gt" => with(other, |a, b| a > b),
            "gte" => with(other, |a, b| a >= b),
            "null" => given.is_none() == other.as_bool().unwrap(),
            other => panic!("{other}"),
        })
    }

    fn metadata(condition: &Value, value: &Value) -> bool {
        let empty = Map::new();
        let pairs = value.as_object().unwrap_or(&empty);
        let has = |key: &Value| pairs.contains_key(key.as_str().unwrap());
        all(condition.as_object().unwrap(), |name, other| match name {
            "contains" => other.as_object().unwrap().iter().all(|(key, value)| pairs.get(key) == Some(value)),
            "hasKey" => has(other),
            "hasAnyKey" => other.as_array().unwrap().iter().any(has),
            "hasAllKeys" => other.as_array().unwrap().iter().all(has),
            "entries" => other.as_array().unwrap().iter().all(|entry| self::entry(entry, pairs)),
            "null" => pairs.is_empty() == other.as_bool().unwrap(),
            other => panic!("{other}"),
        })
    }

    fn entry(entry: &Value, pairs: &Map<String, Value>) -> bool {
        let value = pairs.get(entry["key"].as_str().unwrap());
        let text = value.and_then(Value::as_str);
        let entry = entry.as_object().unwrap();
        if entry.len() == 1 {
            return value.is_some();
        }
        all(entry, |name, other| match name {
            "key" => true,
            "eq" => value == Some(other),
            "neq" => value != Some(other),
            "in" => among(other, value),
            "nin" => !among(other, value),
            "startsWith" => text.is_some_and(|text| text.starts_with(other.as_str().unwrap())),
            "contains" => text.is_some_and(|text| text.contains(other.as_str().unwrap())),
            "exists" => value.is_some() == other.as_bool().unwrap(),
            other => panic!("{other}"),
        })
    }

    /// `@>`, for what the tests ask.
    fn json_contains(whole: &Value, part: &Value) -> bool {
        match (whole, part) {
            (Value::Object(whole), Value::Object(part)) => {
                part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| json_contains(whole, part)))
            }
            (Value::Array(whole), Value::Array(part)) => {
                part.iter().all(|part| whole.iter().any(|whole| json_contains(whole, part)))
            }
            (whole, part) => whole == part,
        }
    }

    pub fn lets_through(filter: &Value, row: &Value) -> bool {
        all(filter.as_object().unwrap(), |name, condition| match name {
            "and" => condition.as_array().unwrap().iter().all(|part| lets_through(part, row)),
            "or" => condition.as_array().unwrap().iter().any(|part| lets_through(part, row)),
            "not" => !lets_through(condition, row),
            "name" | "description" | "lastError" | "healthStatus" | "authMethod" | "personalConnectorId" => {
                text(condition, &row[name])
            }
            "enabled" => {
                all(condition.as_object().unwrap(), |name, other| (row["enabled"] == *other) == (name == "eq"))
            }
            "lastSyncAt" => time(condition, &row[name]),
            "metadata" => metadata(condition, &row["metadata"]),
            "configuration" => all(condition.as_object().unwrap(), |name, other| match name {
                "contains" => json_contains(&row["configuration"], other),
                "hasKey" => row["configuration"].get(other.as_str().unwrap()).is_some(),
                other => panic!("{other}"),
            }),
            "ownedByViewer" => row["mine"] == *condition,
            "search" => condition.as_str().unwrap().split_whitespace().all(|word| {
                let holds =
                    |text: &Value| text.as_str().is_some_and(|text| text.to_lowercase().contains(&word.to_lowercase()));
                holds(&row["name"]) || holds(&row["description"])
            }),
            other => panic!("{other}"),
        })
    }
}

/// Rows that differ in everything that a filter can ask.
async fn rows(app: &TestApp) -> (Client, Vec<Value>) {
    let acme = app.organization("Acme").await;
    let member = acme.person(patchbay::auth::policy::Role::Member).await;
    let mut runner = TestRunner::deterministic();
    let mut draw = |strategy: BoxedStrategy<Value>| strategy.new_tree(&mut runner).unwrap().current();
    for n in 0..40 {
        let name = format!("{n} {}", draw(word().prop_map(Value::from).boxed()).as_str().unwrap());
        let mut input = github(&name);
        if n % 3 == 0 {
            input["configuration"]["branch"] = json!("dev");
        }
        input["configuration"]["paths"] = json!((0..n % 3).map(|at| ["a", "b"][at]).collect::<Vec<_>>());
        if n % 4 != 0 {
            input["metadata"] = draw(metadata().boxed());
        }
        if n % 3 != 0 {
            input["description"] = draw(word().prop_map(Value::from).boxed());
        }
        if n % 2 == 0 {
            input["credentials"] = [
                json!({"bearer": {"token": "t"}}),
                json!({"apiKey": {"apiKey": "t"}}),
                json!({"oauth2": {"accessToken": "t"}}),
            ][n / 2 % 3]
                .clone();
        }
        if n % 5 == 0 {
            input["personalConnectorId"] = json!("pcon_clickup");
            input["configuration"] = json!({"workspaceId": "1"});
            if n % 2 == 0 {
                input["credentials"] = json!({"apiKey": {"apiKey": "t"}});
            }
        }
        input["enabled"] = json!(n % 2 == 0);
        if n % 6 == 0 { &member } else { &acme.owner }.create(input).await;
    }
    // What only a connection test can set.
    app.sql(&format!(
        "UPDATE configurations SET
           health_status = (ARRAY['healthy', 'unhealthy', 'unknown'])[1 + get_byte(uuid_send(id), 15) % 3],
           last_sync_at = CASE WHEN get_byte(uuid_send(id), 15) % 4 > 0 THEN timestamptz '2025-10-01Z' + (get_byte(uuid_send(id), 15) % 3) * interval '1 day' END,
           last_error = CASE WHEN get_byte(uuid_send(id), 14) % 2 > 0 THEN 'alpha' END
         WHERE organization_id = '{}'",
        acme.id.uuid()
    ))
    .await;
    let document = format!(
        "{{ viewer {{ user {{ id }} }} personalConnectorConfigurations(first: 100) {{ nodes {{ {FIELDS} }} }} }}"
    );
    let answer = acme.owner.gql(&document, json!({})).await;
    let me = answer.data("/viewer/user/id").clone();
    let mut rows = answer.data("/personalConnectorConfigurations/nodes").as_array().unwrap().clone();
    assert_eq!(rows.len(), 40);
    for row in &mut rows {
        row["mine"] = json!(row["userId"] == me);
    }
    (acme.owner, rows)
}

#[test]
fn filters_do_as_the_model_says() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (_app, owner, rows) = runtime.block_on(async {
        let app = TestApp::new();
        let (owner, rows) = rows(&app).await;
        (app, owner, rows)
    });
    let mut hits = [0_u32; 3];
    let mut runner = TestRunner::new(Config { cases: 600, failure_persistence: None, ..Config::default() });
    let result = runner.run(&filter(), |filter| {
        let expected: Vec<_> = rows
            .iter()
            .filter(|row| model::lets_through(&filter, row))
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect();
        let found = runtime.block_on(owner.names(filter.clone()));
        prop_assert_eq!(found, expected, "{}", filter);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    // The test would prove little if most filters let everything through, or nothing.
    let mut runner = TestRunner::deterministic();
    for _ in 0..300 {
        let filter = filter().new_tree(&mut runner).unwrap().current();
        let through = rows.iter().filter(|row| model::lets_through(&filter, row)).count();
        hits[usize::from(through > 0) + usize::from(through == rows.len())] += 1;
    }
    assert!(hits.iter().all(|count| *count > 20), "nothing, some, all: {hits:?}");
}

#[tokio::test]
async fn ids_and_times_are_filtered() {
    let app = TestApp::new();
    let acme = app.organization("Acme").await;
    let key = acme.api_key(&patchbay::auth::policy::Scope::ALL).await;
    let one = acme.owner.create(github("one")).await;
    let two = key.create(github("two")).await;
    let ids = json!([one["id"], "nonsense", two["id"]]);
    for (filter, expected) in [
        (json!({"id": {"eq": one["id"]}}), vec!["one"]),
        (json!({"id": {"neq": one["id"]}}), vec!["two"]),
        (json!({"id": {"in": ids}}), vec!["two", "one"]),
        (json!({"id": {"nin": ids}}), vec![]),
        (json!({"id": {"in": []}}), vec![]),
        (json!({"id": {"eq": "nonsense"}}), vec![]),
        (json!({"id": {"neq": "nonsense"}}), vec!["two", "one"]),
        (json!({"userId": {"null": true}}), vec!["two"]),
        (json!({"userId": {"eq": one["userId"]}}), vec!["one"]),
        (json!({"userId": {"neq": one["userId"]}}), vec!["two"]),
        (json!({"apiKeyId": {"eq": two["apiKeyId"]}}), vec!["two"]),
        (json!({"apiKeyId": {"null": false}}), vec!["two"]),
        (json!({"createdAt": {"eq": one["createdAt"]}}), vec!["one"]),
        (json!({"createdAt": {"gt": one["createdAt"]}}), vec!["two"]),
        (json!({"updatedAt": {"lte": two["updatedAt"]}}), vec!["two", "one"]),
        (json!({"updatedAt": {"lt": "2000-01-01T00:00:00+05:00"}}), vec![]),
        (json!({}), vec!["two", "one"]),
        (json!({"and": []}), vec!["two", "one"]),
        (json!({"or": []}), vec![]),
    ] {
        assert_eq!(acme.owner.names(filter.clone()).await, expected, "{filter}");
    }
}

#[tokio::test]
async fn a_filter_that_is_too_much_is_refused() {
    let app = TestApp::new();
    let owner = app.organization("Acme").await.owner;
    let nested = |depth: usize| (1..depth).fold(json!({"name": {"eq": "x"}}), |inner, _| json!({ "not": inner }));
    let conditions =
        |count: usize| json!({"or": (0..count).map(|n| json!({"name": {"eq": n.to_string()}})).collect::<Vec<_>>()});
    let entries = |count: usize| json!({"metadata": {"entries": vec![json!({"key": "k"}); count]}});
    let document = "query($filter: PersonalConnectorConfigurationFilter) { personalConnectorConfigurations(filter: $filter) { totalCount } }";
    for (filter, refused) in [
        (nested(4), ""),
        (nested(5), "filter"),
        (nested(100), "filter"),
        (conditions(40), ""),
        (conditions(41), "filter"),
        (entries(10), ""),
        (entries(11), "filter.metadata.entries"),
        (json!({"metadata": {"entries": [{"key": "k", "eq": 1, "exists": true}]}}), "filter.metadata.entries"),
        (json!({"name": {"eq": null}}), "filter.name.eq"),
        (json!({"name": null}), "filter.name"),
        (json!({"or": [{"enabled": {"eq": null}}]}), "filter.or.0.enabled.eq"),
        (json!({"name": {"eq": 5}}), "filter.name.eq"),
        (json!({"name": "x"}), "filter"),
        (json!({"nothing": {}}), "filter"),
        (json!({"healthStatus": {"in": ["healthy", "sick"]}}), "filter.healthStatus.in.1"),
        (json!({"createdAt": {"gt": "yesterday"}}), "filter.createdAt.gt"),
        (json!({"metadata": {"contains": ["x"]}}), "filter.metadata.contains"),
        (json!({"metadata": {"entries": [{"key": "k", "eq": {}}]}}), "filter.metadata.entries.0.eq"),
        (json!({"search": "a\u{0}b"}), "filter.search"),
        (json!({"or": vec![json!({}); 41]}), "filter"),
        (json!({"or": vec![json!({}); 5000]}), "filter.or"),
        (json!({"and": vec![json!({"or": vec![json!({}); 20]}); 20]}), "filter"),
        (json!({"metadata": {"entries": [{"key": "k", "in": vec![1; 100]}]}}), ""),
        (json!({"metadata": {"entries": [{"key": "k", "in": vec![1; 101]}]}}), "filter.metadata.entries.0.in"),
        (json!({"id": {"in": vec!["x"; 5000]}}), "filter.id.in"),
        (json!({"search": "w ".repeat(5000)}), "filter"),
        (json!([]), ""),
    ] {
        let answer = owner.gql(document, json!({"filter": filter})).await;
        if refused.is_empty() && filter != json!([]) {
            assert!(answer.body["errors"].is_null(), "{filter}: {}", answer.text);
        } else {
            assert_eq!(answer.code(), "BAD_USER_INPUT", "{filter}: {}", answer.text);
            assert!(refused.is_empty() || answer.argument() == refused, "{filter}: {}", answer.text);
        }
    }
}
