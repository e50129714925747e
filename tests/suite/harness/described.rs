//! The operations of `docs/openapi.json`: found by the request they answer, and sent by the examples they give.
//!
//! Why so: the document promises with which statuses and codes each operation answers. Every answer any test gets is held
//! against that ([`held_to`]), so each test of a failure is one of the document, too, and no list of routes is written twice.
//!
//! Limits: what no operation describes (other methods, unknown paths, pages) is not judged; of the command dialect only the
//! status is, for it has no codes. That the copy is the document that is served is a test of its own (`openapi.rs`).

use std::sync::OnceLock;

use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value};

use super::client::{Answer, Client};

/// The first segments of paths whose failures are problem documents.
const DOCUMENTS: [&str; 5] = ["v1", "docs", "openapi.json", "problems", ".well-known"];

/// The document as it is committed.
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let text = std::fs::read_to_string(path).expect("the committed document");
        serde_json::from_str(&text).expect("docs/openapi.json is JSON")
    })
}

/// A parameter that is sent: its name, its place, its value.
pub type Sent = (String, String, String);

/// One operation of the document.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its path with its parameters in braces.
    pub path: String,
    /// Its method.
    pub method: Method,
    /// What the document tells of it.
    pub told: Value,
}

impl Operation {
    /// All of them, in the order of their examples.
    pub fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Operation>> = OnceLock::new();
        ALL.get_or_init(|| Self::read(document()))
    }

    fn read(document: &Value) -> Vec<Self> {
        let mut all = Vec::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, told) in item.as_object().expect("an item") {
                let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).expect("a method");
                all.push(Self { path: path.clone(), method, told: told.clone() });
            }
        }
        all.sort_by_key(|operation| operation.told["x-order"].as_u64());
        all
    }

    /// The one that answers this request. Of the paths that fit it is under the one that says most of it itself, as
    /// `/pipeline` does and `/{command}` does not.
    pub fn of(method: &Method, path: &str) -> Option<&'static Self> {
        let literal = |template: &str| template.split(['{', '}']).step_by(2).map(str::len).sum::<usize>();
        let templates = Self::all().iter().map(|operation| operation.path.as_str());
        let fitting = templates.filter(|template| fits(template, path) && of_documents(template) == of_documents(path));
        let template = fitting.max_by_key(|template| (literal(template), !template.contains('{')))?;
        Self::all().iter().find(|operation| operation.path == template && operation.method == *method)
    }

    /// Method, path and id, for messages.
    pub fn name(&self) -> String {
        format!("{} {} ({})", self.method, self.path, self.told["operationId"])
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.told["operationId"].as_str().expect("an id")
    }

    /// Whether it is answered without a token.
    pub fn is_public(&self) -> bool {
        self.told.get("security").is_some()
    }

    /// Whether its answer is a stream, which has no end.
    pub fn is_stream(&self) -> bool {
        self.told["responses"]["200"]["content"]["text/event-stream"].is_object()
    }

    /// What the document says of a status, what is referred to in its place.
    pub fn response(&self, status: u16) -> Option<&Value> {
        let response = self.told["responses"].get(status.to_string())?;
        let reference = response["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        Some(reference.map_or(response, |pointer| document().pointer(pointer).expect("what is referred to")))
    }

    /// Its parameters that have an example, with what is given in their place.
    pub fn parameters(&self, given: &Map<String, Value>) -> Vec<Sent> {
        let parameters = self.told["parameters"].as_array().into_iter().flatten();
        let sent = parameters.filter_map(|parameter| {
            let (name, place) = (parameter["name"].as_str()?, parameter["in"].as_str()?);
            let value = given.get(name).or(parameter.get("example"))?;
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Some((name.to_owned(), place.to_owned(), text))
        });
        sent.collect()
    }

    /// The media type and the body of its example.
    pub fn body(&self, given: Option<&Value>) -> Option<(String, Vec<u8>)> {
        let (media_type, content) = self.told["requestBody"]["content"].as_object()?.iter().next()?;
        let example = given.or(content.get("example"))?;
        let bytes = if media_type == "application/json" { example.to_string() } else { example.as_str()?.to_owned() };
        Some((media_type.clone(), bytes.into_bytes()))
    }

    /// Path and query with these parameters in their places.
    pub fn target(&self, sent: &[Sent]) -> String {
        let mut path = self.path.clone();
        for (name, _, value) in sent.iter().filter(|(_, place, _)| place == "path") {
            path = path.replace(&format!("{{{name}}}"), &value.replace(':', "%3A").replace('*', "%2A"));
        }
        let query = sent.iter().filter(|(_, place, _)| place == "query");
        let query: Vec<String> = query.map(|(name, _, value)| format!("{name}={value}")).collect();
        if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
    }

    /// A request for it; JSON wished for where the answer can be of several media types.
    pub fn request(&self, client: &Client, sent: &[Sent], body: Option<(String, Vec<u8>)>) -> RequestBuilder {
        let request = client.request(self.method.clone(), &self.target(sent));
        let mut request = request.header("Accept", "application/json, */*;q=0.5");
        for (name, _, value) in sent.iter().filter(|(_, place, _)| place == "header") {
            request = request.header(name, value);
        }
        match body {
            Some((media_type, bytes)) => request.header("Content-Type", media_type).body(bytes),
            None => request,
        }
    }

    /// A request for its example, as it stands in the document.
    pub fn example(&self, client: &Client) -> RequestBuilder {
        self.request(client, &self.parameters(&Map::new()), self.body(None))
    }
}

/// Whether a path is of the surface whose failures are problem documents.
fn of_documents(path: &str) -> bool {
    DOCUMENTS.contains(&path[1..].split('/').next().unwrap_or_default())
}

/// Whether a path is of a template's form, were a name in it empty. One that ends its template, or has a word behind it, takes
/// slashes, too.
fn fits(template: &str, path: &str) -> bool {
    match template.split_once('{') {
        None => template == path,
        Some((literal, rest)) => {
            let Some(value) = path.strip_prefix(literal) else { return false };
            let (_, tail) = rest.split_once('}').expect("a brace that opens closes");
            match tail.strip_prefix('/').filter(|tail| tail.starts_with('{')) {
                Some(last) => value.split_once('/').is_some_and(|(_, other)| fits(last, other)),
                None => value.ends_with(tail),
            }
        }
    }
}

/// What the document does not say of this answer: its status, or the code of its problem.
pub fn held_to(answer: &Answer) -> Result<(), String> {
    let Some(operation) = Operation::of(&answer.method, &answer.path) else { return Ok(()) };
    let Some(told) = operation.response(answer.status) else {
        let (name, path, status) = (operation.name(), &answer.path, answer.status);
        return Err(format!("{name}, asked for {path}, is not told to answer {status}: {}", answer.text()));
    };
    let codes = &told["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"];
    let Some(codes) = codes.as_array().filter(|_| !answer.body.is_empty()) else { return Ok(()) };
    let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if codes.contains(&document["code"]) {
        return Ok(());
    }
    Err(format!("{} is not told to answer {} {}, but {codes:?}", operation.name(), answer.status, document["code"]))
}

#[test]
fn an_answer_that_is_not_told_is_noticed() {
    let refused = |method: Method, path: &str, status: u16, code: &str| {
        let head =
            format!("HTTP/1.1 {status} X\r\nContent-Type: application/problem+json\r\n\r\n{{\"code\":\"{code}\"}}");
        std::panic::catch_unwind(|| Answer::read(method, path, head.as_bytes())).is_err()
    };
    assert!(!refused(Method::GET, "/v1/keys/k", 404, "not_found"));
    assert!(refused(Method::GET, "/v1/keys/k", 404, "fenced"), "a code of another operation");
    assert!(refused(Method::GET, "/v1/keys/k", 418, "not_found"), "a status of none");
    assert!(refused(Method::GET, "/get/k", 409, "wrong_type"), "the dialect has statuses, too");
    assert!(!refused(Method::PATCH, "/v1/keys/k", 405, "method_not_allowed"), "what no operation describes");
}

#[test]
fn a_request_is_answered_by_the_operation_that_says_most_of_its_path() {
    let found = |method: Method, path: &str| Operation::of(&method, path).map(Operation::id);
    assert_eq!(found(Method::GET, "/v1/keys/a/b"), Some("readKey"));
    assert_eq!(found(Method::POST, "/v1/leases/a/renew"), Some("renewLease"));
    assert_eq!(found(Method::POST, "/v1/leases/a"), Some("acquireLease"));
    assert_eq!(found(Method::PUT, "/v1/presence/lobby/c/d"), Some("beat"));
    assert_eq!(found(Method::GET, "/v1/presence/lobby"), Some("lookIntoRoom"));
    assert_eq!(found(Method::GET, "/get/k"), Some("getCommand"));
    assert_eq!(found(Method::POST, "/pipeline"), Some("sendPipeline"));
    for (method, path) in [
        (Method::PATCH, "/v1/keys/a"),
        (Method::GET, "/v1/nothing"),
        (Method::GET, "/docs/"),
        (Method::GET, "/pipeline"),
    ] {
        assert_eq!(found(method, path), None, "{path}");
    }
}
