//! Keys, for the OpenAPI document.
//!
//! One resource under two paths: the key in the path, or in `key_base64url` where no path can name it.

use serde_json::json;
use utoipa::IntoParams;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{HttpMethod, Ref, Required, ResponseBuilder};

use super::super::super::openapi::entry::{Entry, anything, bytes, name};
use super::super::super::openapi::failures::{ATOMIC, BODILESS, NAMED, READS, WRITES};
use super::super::listing::{Answer, ListQuery};
use super::{NAME, PutQuery};
use crate::api::problem::Code;

const IN_PATH: &str = "/v1/keys/{key}";
const IN_QUERY: &str = "/v1/keys";
const CONDITIONS: &[&str] = &["If-Match", "If-None-Match"];
const HELD: &[Code] = &[Code::ReservedName, Code::WrongType];

/// Every operation of the resource.
pub fn entries() -> Vec<Entry> {
    let key = || name("key", "The key: everything after `/v1/keys/`, percent-decoded once.", "greeting");
    let (get, list) = (read(IN_PATH, "readKey").order(110).parameter(key()), list());
    let head = head(IN_PATH, "inspectKey").order(111).parameter(key());
    let put_named = put(IN_QUERY, "writeNamedKey").order(150).parameter(encoded(Required::True));
    let delete_named = delete(IN_QUERY, "deleteNamedKey").order(190).parameter(encoded(Required::True));
    let head_list = self::head(IN_QUERY, "inspectNamedKey").order(161).parameter(encoded(Required::False));
    let head_list = head_list.parameters(ListQuery::into_params(|| None));
    let entries = vec![
        put(IN_PATH, "writeKey").order(100).parameter(key()),
        get,
        head,
        delete(IN_PATH, "deleteKey").order(180).parameter(key()),
        list,
        head_list,
        put_named,
        delete_named,
    ];
    entries.into_iter().map(|entry| entry.tag("keys")).collect()
}

/// The query parameter that names any key. The empty text names the empty key.
fn encoded(required: Required) -> Parameter {
    // Two letters stand for one byte and three for two: their last bits are nobody's, and must be zero.
    let rule = "^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-][AQgw](==)?|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048]=?)?$";
    let parameter = ParameterBuilder::new()
        .name(NAME)
        .parameter_in(ParameterIn::Query)
        .description(Some(
            "The key as base64url (RFC 4648): the only way to name `.`, `..`, the empty key, and what is no UTF-8.",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).pattern(Some(rule))));
    let parameter = match required {
        Required::True => parameter.example(Some(json!("_w"))),
        Required::False => parameter,
    };
    parameter.required(required).build()
}

fn put(path: &'static str, id: &str) -> Entry {
    let about = "The content is the body, as bytes, whatever its media type. Without a lifetime the key lives for ever. A conditional write \
                 is decided once: after a lost reply it is sent again under a record of the first decision, and its author is told that \
                 one. An unconditional one that had to be sent again may answer 204 though it created the key.";
    Entry::new(HttpMethod::Put, path, id, "Write a key")
        .about(about)
        .parameters(PutQuery::into_params(|| None))
        .shared(CONDITIONS)
        .shared(&["Collective-Fence"])
        .bytes_body("The content.", "hello")
        .empty(201, "Written, and new", &["ETag"])
        .empty(204, "Written, in place of what was there", &["ETag"])
        .fails(&[NAMED, HELD, WRITES, ATOMIC])
        .fails(&[&[Code::PreconditionFailed, Code::Fenced, Code::PayloadTooLarge, Code::InvalidValue]])
}

fn content() -> ResponseBuilder {
    ResponseBuilder::new()
        .description("The content, as bytes; as JSON where that is accepted and it is JSON")
        .content(
            "application/octet-stream",
            ContentBuilder::new().schema(Some(bytes())).example(Some(json!("hello"))).build(),
        )
        .content("application/json", ContentBuilder::new().schema(Some(anything())).build())
}

fn read(path: &'static str, id: &str) -> Entry {
    Entry::new(HttpMethod::Get, path, id, "Read a key")
        .shared(CONDITIONS)
        .shared(&["Cache-Control"])
        .answer(200, content(), &["ETag", "Age", "Cache-Status"])
        .empty(304, "What `If-None-Match` names is what is stored", &["ETag"])
        .fails(&[NAMED, BODILESS, HELD, READS])
        .fails(&[&[Code::NotFound, Code::NotAcceptable, Code::PreconditionFailed, Code::ReplyTooLarge]])
}

fn head(path: &'static str, id: &str) -> Entry {
    Entry::new(HttpMethod::Head, path, id, "Look at a key without its content")
        .about("With its length, and its remaining lifetime if it has one.")
        .shared(CONDITIONS)
        .shared(&["Cache-Control"])
        .empty(200, "There is such a key", &["ETag", "Collective-TTL-Ms", "Age", "Cache-Status"])
        .empty(304, "What `If-None-Match` names is what is stored", &["ETag"])
        .fails(&[NAMED, BODILESS, HELD, READS, &[Code::NotFound, Code::PreconditionFailed]])
}

fn delete(path: &'static str, id: &str) -> Entry {
    Entry::new(HttpMethod::Delete, path, id, "Delete a key")
        .about("204 whether there was one or not.")
        .shared(CONDITIONS)
        .shared(&["Collective-Fence"])
        .empty(204, "There is no such key now", &[])
        .fails(&[NAMED, BODILESS, HELD, WRITES, ATOMIC, &[Code::PreconditionFailed, Code::Fenced]])
}

/// The list of keys, or, with `key_base64url`, the content of one: two readers of one path.
fn list() -> Entry {
    let about = "A page is unordered, may repeat a key, and may be empty while `complete` is false. It is cut where time runs out. With \
                 `key_base64url` alone the answer is that key's content, as that of `/v1/keys/{key}`.";
    let page = json!({ "keys": ["greeting"], "keys_base64url": ["_w"], "cursor": null, "complete": true });
    let mut entry = Entry::new(HttpMethod::Get, IN_QUERY, "listKeys", "List keys, or read one by its encoded name")
        .about(about)
        .order(160)
        .parameters(ListQuery::into_params(|| None))
        .parameter(encoded(Required::False))
        .shared(CONDITIONS)
        .shared(&["Cache-Control"]);
    entry.knows::<Answer>();
    let either = AnyOfBuilder::new().item(Ref::from_schema_name("KeyPage")).item(anything());
    let response = ResponseBuilder::new()
        .description("A page of names; or the content of the key named")
        .content("application/json", ContentBuilder::new().schema(Some(either)).example(Some(page)).build())
        .content("application/octet-stream", ContentBuilder::new().schema(Some(bytes())).build());
    entry
        .answer(200, response, &["ETag", "Age", "Cache-Status"])
        .empty(304, "What `If-None-Match` names is what is stored", &["ETag"])
        .fails(&[NAMED, BODILESS, HELD, READS, WRITES])
        .fails(&[&[Code::NotFound, Code::NotAcceptable, Code::PreconditionFailed]])
}
