//! The document against itself and against the table of codes.
//!
//! Limits: whether the service does what the document says is tried from outside (`tests/suite/openapi.rs`, `tests/e2e/openapi.sh`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::api::problem::Code;

fn text() -> Value {
    serde_json::from_str(&TEXT).expect("JSON")
}

/// Each operation with where it stands.
fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let each = paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .expect("an item")
            .iter()
            .map(move |(method, operation)| (format!("{method} {path}"), operation.clone()))
    });
    each.collect()
}

#[test]
fn every_code_is_listed_with_an_operation_or_as_one_that_is_met_elsewhere() {
    let listed: Vec<Code> = entries().iter().flat_map(failures::codes_of).collect();
    for code in Code::ALL {
        let named = listed.contains(code);
        assert!(named != failures::ELSEWHERE.contains(code), "{} is listed {named}", code.row().code);
    }
}

#[test]
fn the_codes_of_a_response_are_those_of_its_status() {
    let document = text();
    let table = |word: &str| Code::ALL.iter().find(|code| code.row().code == word).map(|code| code.row().status);
    let responses = document["components"]["responses"].as_object().expect("responses");
    for (name, response) in responses.iter().filter(|(name, _)| !name.starts_with("command-")) {
        let schema = &response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"];
        let status = schema["status"]["enum"][0].as_u64();
        for code in schema["code"]["enum"].as_array().expect("codes") {
            let word = code.as_str().expect("a word");
            assert_eq!(table(word).map(u64::from), status, "{word} of {name}");
            assert!(document["components"]["examples"][word].is_object(), "{word}");
        }
    }
}

#[test]
fn every_operation_has_an_id_of_its_own_a_tag_and_a_place_among_the_examples() {
    let operations = operations(&text());
    let (mut ids, mut tags) = (BTreeSet::new(), BTreeSet::new());
    for (place, operation) in &operations {
        assert!(ids.insert(operation["operationId"].to_string()), "{place}");
        tags.insert(operation["tags"][0].as_str().unwrap_or_else(|| panic!("{place} has no tag")).to_owned());
        assert!(operation["x-order"].is_u64(), "{place}");
    }
    let described: BTreeSet<String> = TAGS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(tags, described);
    assert!(operations.len() > 50, "{}", operations.len());
}

#[test]
fn every_reference_leads_somewhere() {
    fn follow(value: &Value, document: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is elsewhere"));
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(|member| follow(member, document));
            }
            Value::Array(items) => items.iter().for_each(|item| follow(item, document)),
            _ => {}
        }
    }
    let document = text();
    follow(&document, &document);
}

#[test]
fn what_needs_no_token_says_so_and_everything_else_asks_for_one() {
    let document = text();
    assert_eq!(document["security"][0][BEARER], serde_json::json!([]));
    for (place, operation) in operations(&document) {
        let is_public = operation["tags"][0] == "about";
        assert_eq!(operation.get("security"), is_public.then_some(&serde_json::json!([])), "{place}");
        assert_eq!(operation["responses"].get("401").is_some(), !is_public, "{place}");
    }
}

#[test]
fn integers_say_how_wide_they_are() {
    fn look(value: &Value, place: &str) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            for (name, property) in properties.iter().filter(|(_, property)| property.get("enum").is_none()) {
                if property["type"].to_string().contains("integer") {
                    assert!(property["format"].is_string(), "{name} of {place}");
                }
            }
        }
        let items = value.get("allOf").and_then(Value::as_array);
        items.into_iter().flatten().for_each(|item| look(item, place));
    }
    let document = text();
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        look(schema, name);
    }
    assert_eq!(document["components"]["schemas"]["Counter"]["properties"]["value"]["format"], "int64");
}
