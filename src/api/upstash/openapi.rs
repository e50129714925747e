//! The command dialect, for the OpenAPI document.
//!
//! What a command takes and answers is Redis' affair (`docs/dialect.md` lists them): here it is arguments in and `{"result"}` or
//! `{"error"}` out. Limits: more than one argument in the path cannot be described, because OpenAPI has no parameter that spans segments.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{HttpMethod, RefOr, Required, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use super::super::openapi::entry::{Entry, name};
use super::super::openapi::failures;

/// A command: its name and its arguments.
#[derive(ToSchema)]
#[schema(min_items = 1)]
#[allow(dead_code, reason = "described, never made: bodies are read straight into commands")]
pub struct Command(Vec<Argument>);

/// An argument; numbers and truth values are sent as the text they are written with.
pub struct Argument;

impl PartialSchema for Argument {
    fn schema() -> RefOr<Schema> {
        let types = [Type::String, Type::Number, Type::Boolean];
        let about = "Text; or a number or a truth value, which is sent as it is written.";
        ObjectBuilder::new().schema_type(SchemaType::from_iter(types)).description(Some(about)).into()
    }
}

impl ToSchema for Argument {}

/// Commands, in order, as `Command` describes them. One that is none is answered in its place.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made: bodies are read straight into commands")]
pub struct Commands(Vec<Vec<Value>>);

/// What Redis answered.
#[derive(Serialize, ToSchema)]
pub struct CommandResult {
    /// Text, a number, null, or a list of such.
    result: Value,
}

/// Why there is no result.
#[derive(Serialize, ToSchema)]
pub struct CommandError {
    /// Begins with a word in capitals, as Redis' errors do.
    error: String,
}

/// One item of a list of answers.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "described, never made: answers are written straight from replies")]
pub enum CommandAnswer {
    /// It was answered.
    Result(CommandResult),
    /// It was refused, or Redis had an error.
    Error(CommandError),
}

/// Answers, one for each command.
#[derive(ToSchema)]
#[allow(dead_code, reason = "described, never made: answers are written straight from replies")]
pub struct CommandAnswers(Vec<CommandAnswer>);

const TOKEN: &str = "Upstash-Sync-Token";

/// Every operation of the dialect.
pub fn entries() -> Vec<Entry> {
    let post = |path, id, summary, order| Entry::new(HttpMethod::Post, path, id, summary).order(order);
    let put = |path, id, order| Entry::new(HttpMethod::Put, path, id, "As POST").order(order);
    let entries = vec![
        one(post("/", "sendCommand", "Send one command", 700).about(ONE).shared(&["Idempotency-Key"])),
        one(put("/", "putCommand", 701).shared(&["Idempotency-Key"])),
        list(post("/pipeline", "sendPipeline", "Send commands in one round trip", 710).about(PIPELINE)),
        list(put("/pipeline", "putPipeline", 711)),
        list(post("/multi-exec", "sendTransaction", "Send commands, all or none of them", 720).about(TRANSACTION)),
        list(put("/multi-exec", "putTransaction", 721)),
        path(HttpMethod::Get, "getCommand", "Send a command in the path", 730).about(PATH),
        path(HttpMethod::Head, "headCommand", "Run a command as GET does, without the answer's content", 731),
        path(HttpMethod::Post, "postCommand", "As GET, with a body", 732)
            .bytes_body("The argument after those in the path.", ""),
        path(HttpMethod::Put, "putCommandInPath", "As GET, with a body", 733)
            .bytes_body("The argument after those in the path.", ""),
    ];
    let streams = [HttpMethod::Get, HttpMethod::Post].into_iter().flat_map(streams);
    let heads = ["/", "/pipeline", "/multi-exec"].into_iter().zip([
        "checkToken",
        "checkTokenOfPipeline",
        "checkTokenOfTransaction",
    ]);
    let heads = heads.map(|(path, id)| {
        Entry::new(HttpMethod::Head, path, id, "Ask whether the token is good").order(750).empty(200, "It is", &[])
    });
    entries.into_iter().chain(streams).chain(heads).map(|entry| entry.tag("commands").of_commands()).collect()
}

const ONE: &str = "The body is the command as an array: its name and its arguments.";
const PIPELINE: &str = "Each command is answered in its place; one that fails does not stop those behind it.";
const TRANSACTION: &str =
    "Nobody else's commands come in between. If one is refused before it runs, none of them runs.";
const PATH: &str = "`/{command}/{argument}/...`: further segments are arguments, then the body, then each query parameter as its name and its \
                    value. The token may stand in the query as `_token`.";

fn one(entry: Entry) -> Entry {
    entry
        .shared(&["Collective-Retry", "Upstash-Encoding"])
        .json_body::<Command>(Required::True, json!(["SET", "example", "value"]))
        .json::<CommandResult>(200, "What Redis answered", &[TOKEN, "Idempotency-Replayed"], json!({ "result": "OK" }))
        .fails(&[failures::ONCE, failures::ATOMIC])
}

fn list(entry: Entry) -> Entry {
    let answers = json!([{ "result": "OK" }, { "result": "value" }]);
    entry
        .shared(&["Upstash-Encoding"])
        .json_body::<Commands>(Required::True, json!([["SET", "example", "value"], ["GET", "example"]]))
        .json::<CommandAnswers>(200, "An answer for each", &[TOKEN, "Collective-Outcome"], answers)
}

fn path(method: HttpMethod, id: &str, summary: &'static str, order: u16) -> Entry {
    let is_head = method == HttpMethod::Head;
    let entry = Entry::new(method, "/{command}", id, summary)
        .order(order)
        .parameter(name("command", "The command's name.", "dbsize"))
        .shared(&["Collective-Retry", "Upstash-Encoding"]);
    match is_head {
        true => entry.empty(200, "It was run", &[TOKEN]),
        false => entry.json::<CommandResult>(200, "What Redis answered", &[TOKEN], json!({ "result": 1 })),
    }
}

/// A body is read and ignored: SDKs send one.
fn streams(method: HttpMethod) -> [Entry; 2] {
    let (channel, pattern, order) = match method {
        HttpMethod::Get => ("subscribe", "subscribeToPattern", 740),
        _ => ("postSubscribe", "postSubscribeToPattern", 742),
    };
    let news = name("channel", "The channel: all of the rest of the path.", "news");
    let any_news = name("pattern", "A pattern of channels.", "news*");
    [
        stream(method.clone(), "/subscribe/{channel}", channel, order).parameter(news),
        stream(method, "/psubscribe/{pattern}", pattern, order + 1).parameter(any_news),
    ]
}

fn stream(method: HttpMethod, path: &'static str, id: &str, order: u16) -> Entry {
    let about = "Server-sent events without end: `data: subscribe,<channel>,<count>`, then `data: message,<channel>,<payload>`.";
    let content = ContentBuilder::new().example(Some(json!("data: subscribe,news,1\n\n"))).build();
    let response = ResponseBuilder::new().description("Events").content("text/event-stream", content);
    Entry::new(method, path, id, "Hear messages as they are published").about(about).order(order).answer(
        200,
        response,
        &[],
    )
}
