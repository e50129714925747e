//! The OpenAPI document: what it says is what the service does.
//!
//! Every example in the document is sent, in the order of `x-order`, to one service, and its answer is held against the first answer
//! the document gives: the status, and the shape of the content. What an earlier answer told (a fencing token) reaches a later request
//! the way the document says, by its links. Limits: shapes, not values; of streams only status and media type are looked at; what random
//! requests find is in `tests/e2e/openapi.sh`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::harness::described::{Operation, Sent};
use crate::harness::{Answer, App, Client, Options, Redis};
use crate::keys::patient;

async fn service() -> (Redis, App) {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).set("server.security_contact", "mailto:security@example.com").start().await;
    (redis, app)
}

/// What the answers so far give to operations by their ids.
#[derive(Default)]
struct Links {
    parameters: BTreeMap<String, Map<String, Value>>,
    bodies: BTreeMap<String, Value>,
}

impl Links {
    fn follow(&mut self, response: &Value, sent: &[Sent], answer: &Answer) {
        for link in response["links"].as_object().into_iter().flat_map(Map::values) {
            let target = link["operationId"].as_str().expect("an operation").to_owned();
            for (name, expression) in link["parameters"].as_object().into_iter().flatten() {
                let value = evaluated(expression, sent, answer);
                self.parameters.entry(target.clone()).or_default().insert(name.clone(), value);
            }
            if let Some(members) = link["requestBody"].as_object() {
                let body = members.iter().map(|(name, value)| (name.clone(), evaluated(value, sent, answer)));
                self.bodies.insert(target, body.collect::<Map<_, _>>().into());
            }
        }
    }
}

/// The value of a runtime expression of OpenAPI, or the value that is none.
fn evaluated(value: &Value, sent: &[Sent], answer: &Answer) -> Value {
    let Some(expression) = value.as_str().filter(|text| text.starts_with('$')) else { return value.clone() };
    if let Some(pointer) = expression.strip_prefix("$response.body#") {
        return answer.json().pointer(pointer).unwrap_or_else(|| panic!("{expression} in {}", answer.text())).clone();
    }
    let name = expression.strip_prefix("$request.path.").unwrap_or_else(|| panic!("{expression} is not understood"));
    let given = sent.iter().find(|(given, place, _)| given == name && place == "path");
    given.map(|(_, _, value)| json!(value)).unwrap_or_else(|| panic!("{expression}: no such parameter"))
}

/// Where `seen` has another shape than `told`: every member told is there, of the same kind. A list is shaped like its first item.
fn misshapen(told: &Value, seen: &Value, place: &str) -> Option<String> {
    match (told, seen) {
        (Value::Object(members), Value::Object(others)) => {
            members.iter().find_map(|(name, member)| match others.get(name) {
                Some(other) => misshapen(member, other, &format!("{place}/{name}")),
                None => Some(format!("{place}/{name} is missing")),
            })
        }
        (Value::Array(items), Value::Array(others)) => {
            let first = items.first().zip(others.first());
            first.and_then(|(item, other)| misshapen(item, other, &format!("{place}/0")))
        }
        _ if std::mem::discriminant(told) == std::mem::discriminant(seen) => None,
        _ => Some(format!("{place} is {seen}, and is told to be like {told}")),
    }
}

/// Holds a success against what the document tells of its status; the status itself is looked at with every answer.
fn judge<'d>(operation: &'d Operation, answer: &Answer) -> &'d Value {
    let name = operation.name();
    assert!(answer.is_success(), "{name} answered {}: {}", answer.status, answer.text());
    let response = operation.response(answer.status).expect("a status that is told");
    let media_type = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    match response["content"].as_object().filter(|content| !content.is_empty()) {
        None => assert!(answer.body.is_empty(), "{name} is told to have no content"),
        Some(content) => {
            let told = content.get(media_type).unwrap_or_else(|| panic!("{name} answered {media_type}"));
            if let Some(example) = told.get("example").filter(|_| media_type == "application/json") {
                let wrong = misshapen(example, &answer.json(), "");
                assert_eq!(wrong, None, "{name}: {}", answer.text());
            }
        }
    }
    response
}

async fn first_event(client: &Client, operation: &Operation, sent: &[Sent]) {
    let response = operation.request(client, sent, None).send().await.expect("a stream");
    assert_eq!(response.status(), 200, "{}", operation.name());
    assert_eq!(response.headers()["content-type"], "text/event-stream", "{}", operation.name());
}

#[tokio::test]
async fn every_example_of_the_document_is_answered_as_the_document_says() {
    let (_redis, app) = service().await;
    let client = app.client();
    assert!(Operation::all().len() > 50, "{}", Operation::all().len());
    let mut links = Links::default();
    for operation in Operation::all() {
        let none = Map::new();
        let sent = operation.parameters(links.parameters.get(operation.id()).unwrap_or(&none));
        if operation.is_stream() {
            first_event(&client, operation, &sent).await;
            continue;
        }
        let caller = if operation.is_public() { client.without_token() } else { client.clone() };
        let body = operation.body(links.bodies.get(operation.id()));
        let answer = caller.send(operation.request(&caller, &sent, body)).await;
        let response = judge(operation, &answer);
        links.follow(response, &sent, &answer);
    }
}

#[tokio::test]
async fn the_document_served_is_the_one_that_is_printed_and_committed() {
    let (_redis, app) = service().await;
    let served = app.client().without_token().get("/openapi.json").await;
    let printed = App::builder().argument("openapi").run().await;
    assert_eq!((printed.code, served.text() == printed.stdout), (Some(0), true));
    assert_eq!(served.header("content-type"), Some("application/json"));
    let committed =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json")).expect("the copy");
    assert!(committed == served.text(), "docs/openapi.json is out of date: run make docs");
}

#[tokio::test]
async fn the_page_is_public_complete_and_may_load_nothing_from_elsewhere() {
    let (_redis, app) = service().await;
    let stranger = app.client().without_token();
    let moved = stranger.get("/docs").await;
    assert_eq!((moved.status, moved.header("location")), (308, Some("docs/")));
    let page = stranger.get("/docs/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; ") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    let text = page.text();
    let files = text.split('"').filter(|word| [".js", ".css", ".png"].iter().any(|end| word.ends_with(end)));
    let mut count = 0;
    for file in files {
        let answer = stranger.get(&format!("/docs/{}", file.trim_start_matches("./"))).await;
        assert_eq!((answer.status, answer.body.is_empty()), (200, false), "{file}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{file}");
        count += 1;
    }
    assert_eq!(count, 7, "{text}");
    for nothing in ["/docs/nothing", "/docs/swagger-ui.js", "/openapi.json/x"] {
        assert_eq!(stranger.get(nothing).await.json()["code"], "not_found", "{nothing}");
    }
}

#[test]
fn an_answer_of_another_shape_is_noticed() {
    let told = json!({ "value": 1, "names": ["a"], "at": null });
    assert_eq!(misshapen(&told, &json!({ "value": 2, "names": [], "at": null, "more": 1 }), ""), None);
    for (seen, place) in [
        (json!({ "names": [], "at": null }), "/value"),
        (json!({ "value": "2", "names": [], "at": null }), "/value"),
        (json!({ "value": 2, "names": [7], "at": null }), "/names/0"),
        (json!({ "value": 2, "names": [], "at": "x" }), "/at"),
    ] {
        assert!(misshapen(&told, &seen, "").is_some_and(|wrong| wrong.starts_with(place)), "{seen}");
    }
}
