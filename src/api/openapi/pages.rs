//! What needs no token, for the OpenAPI document: itself, the problems, and whom to tell about a weakness.

use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{HttpMethod, Required, ResponseBuilder};

use super::entry::Entry;
use crate::api::problem::Code;

/// Every operation.
pub fn entries() -> Vec<Entry> {
    let gets = [document(), problems(), problem(), security()];
    let heads = ["headOpenapi", "headProblems", "headProblem", "headSecurity"];
    let heads = gets.clone().into_iter().zip(heads).map(|(get, id)| get.head(id, "As GET, without the content"));
    gets.iter().cloned().chain(heads).map(|entry| entry.tag("about").public()).collect()
}

fn object() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Object)
}

fn text() -> ContentBuilder {
    ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String)))
}

fn document() -> Entry {
    let content = ContentBuilder::new().schema(Some(object())).example(Some(json!({ "openapi": "3.1.0" })));
    let response = ResponseBuilder::new().description("This document").content("application/json", content.build());
    Entry::new(HttpMethod::Get, "/openapi.json", "readOpenapi", "This document").order(10).answer(200, response, &[])
}

/// In the three forms there are, as `Accept` likes them.
fn page(about: &str, example: serde_json::Value) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(object())).example(Some(example));
    ResponseBuilder::new()
        .description(about)
        .content("application/json", content.build())
        .content("text/markdown", text().build())
        .content("text/html", text().build())
}

fn problems() -> Entry {
    let page = page("All problems", json!({ "problems": [] }));
    Entry::new(HttpMethod::Get, "/problems", "listProblems", "Every way a request can fail").order(20).answer(
        200,
        page,
        &[],
    )
}

fn problem() -> Entry {
    let code = ParameterBuilder::new()
        .name("code")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The code of a problem document."))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1))))
        .example(Some(json!("not_found")));
    let page = page("What happened, the way out, and an example", json!({ "code": "not_found", "status": 404 }));
    Entry::new(HttpMethod::Get, "/problems/{code}", "readProblem", "One way a request can fail")
        .about("Where the `type` of a problem document leads.")
        .order(30)
        .parameter(code)
        .answer(200, page, &[])
        .fails(&[&[Code::NotFound]])
}

fn security() -> Entry {
    let example = "Contact: mailto:security@example.com\n";
    let content = text().example(Some(json!(example))).build();
    let response = ResponseBuilder::new().description("A security.txt (RFC 9116)").content("text/plain", content);
    Entry::new(HttpMethod::Get, "/.well-known/security.txt", "readSecurityTxt", "Whom to tell about a weakness")
        .about("Only where the operator has named a contact.")
        .order(40)
        .answer(200, response, &[])
        .fails(&[&[Code::NotFound]])
}
