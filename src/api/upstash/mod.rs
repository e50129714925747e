//! The command dialect: the wire protocol of the Upstash SDKs, on the same keys as `/v1`.
//!
//! `POST /` sends one command, `POST /pipeline` a list of them down one connection in one round trip (D4); SDKs use the second
//! even for a single command. Bodies are parsed straight into commands and replies written straight into the response. What is
//! refused here (blocked commands, the service's own keys, a bad argument) is refused per item and reaches Redis never.
//! Limits: transactions, path style, subscriptions and static tokens are not built yet; they answer with a clear error.

pub mod arguments;
pub mod error;
pub mod path;
pub mod reply;
mod scan;
mod sync;

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::{self, Bytes, Payload};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use std::future::{Ready, ready};

use self::arguments::{ArgumentError, BatchSink, Limits, Sink};
use self::error::{DialectError, objection_text, outcome_of_reply};
use self::reply::{Encoding, Item};
use super::envelope::OUTCOME;
use super::{Worker, body, caller};
use crate::redis::{Batch, Command, CommandBuilder, Gateway, Outcome, Reply};
use crate::resilience::Deadline;
use crate::security::{Action, SendCommands};

const ENCODING: HeaderName = HeaderName::from_static("upstash-encoding");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Mounts the dialect on everything that is left.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(
        web::resource("/")
            .route(web::post().to(command))
            .route(web::put().to(command))
            .default_service(web::to(not_built)),
    );
    app.service(
        web::resource("/pipeline")
            .route(web::post().to(pipeline))
            .route(web::put().to(pipeline))
            .default_service(web::to(not_built)),
    );
    app.default_service(web::to(not_built));
}

/// A caller of the dialect who may do `A`. As an extractor it refuses with `{"error"}`.
pub struct Caller<A: Action>(caller::Caller<A>);

impl<A: Action + 'static> FromRequest for Caller<A> {
    type Error = DialectError;
    type Future = Ready<Result<Self, DialectError>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        ready(caller::Caller::identify(request, None).map(Self).map_err(DialectError::from))
    }
}

/// `POST /`: one command.
async fn command(
    caller: Caller<SendCommands>,
    request: HttpRequest,
    mut payload: Payload,
) -> Result<HttpResponse, DialectError> {
    let Ask { encoding, body, worker, deadline } = Ask::read(caller, &request, &mut payload).await?;
    let mut sink = Builder::default();
    arguments::parse_command(&body, &limits(&worker), &mut sink)?;
    let command = sink.take();
    if let Some(objection) = command.objection() {
        return Err(DialectError::refused(objection_text(objection, &command)));
    }
    let answer = worker
        .gateway
        .run(&command, deadline)
        .await
        .map_err(|error| DialectError::of_gateway(&error, command.spec().lane))?;
    if let Reply::ServerError(error) = &answer.reply {
        return Err(DialectError::of_redis(error, outcome_of_reply(error, &command)));
    }
    let mut out = Vec::with_capacity(64);
    reply::write_result(&mut out, &answer.reply, encoding);
    Ok(success(out))
}

/// `POST /pipeline`: a list of commands, one round trip.
async fn pipeline(
    caller: Caller<SendCommands>,
    request: HttpRequest,
    mut payload: Payload,
) -> Result<HttpResponse, DialectError> {
    let Ask { encoding, body, worker, deadline } = Ask::read(caller, &request, &mut payload).await?;
    let mut list = List::default();
    arguments::parse_batch(&body, &limits(&worker), &mut list)?;
    let (replies, worst) = list.send(&worker.gateway, deadline).await?;
    let mut out = Vec::with_capacity(32 * list.places.len());
    let mut replies = replies.iter();
    let items = list.places.iter().map(|place| match place {
        // The gateway gives all replies or none, so there is one for each place that was sent.
        Place::Sent => replies.next().map_or(Item::Refused("ERR the reply is missing"), Item::Reply),
        Place::Refused(text) => Item::Refused(text),
    });
    reply::write_batch(&mut out, items, encoding);
    let mut response = success(out);
    if let Some(outcome) = worst {
        response.headers_mut().insert(OUTCOME, HeaderValue::from_static(outcome.as_str()));
    }
    Ok(response)
}

/// What every call of the dialect brings.
struct Ask {
    encoding: Encoding,
    body: Bytes,
    worker: web::Data<Worker>,
    deadline: Deadline,
}

impl Ask {
    async fn read(
        caller: Caller<SendCommands>,
        request: &HttpRequest,
        payload: &mut Payload,
    ) -> Result<Self, DialectError> {
        let caller::Caller { authorized: _, deadline, worker } = caller.0;
        let encoding = encoding(request)?;
        let settings = &worker.shared.settings;
        let body = body::read(request, payload, settings.body_bytes, settings.body_timeout).await?;
        Ok(Self { encoding, body, worker, deadline })
    }
}

/// Builds one command as its arguments are parsed.
#[derive(Default)]
struct Builder(Option<CommandBuilder>);

/// Room for a usual command; longer ones grow.
const USUAL_ARGUMENTS: usize = 4;
const USUAL_BYTES: usize = 64;

impl Builder {
    fn take(&mut self) -> Command {
        self.0.take().unwrap_or_else(|| CommandBuilder::with_capacity(0, 0)).finish()
    }
}

impl Sink for Builder {
    fn argument(&mut self, bytes: &[u8]) {
        self.0.get_or_insert_with(|| CommandBuilder::with_capacity(USUAL_ARGUMENTS, USUAL_BYTES)).push(bytes);
    }
}

/// A pipeline as it is parsed: what goes to Redis, and what is answered in its place.
#[derive(Default)]
struct List {
    builder: Builder,
    batch: Batch,
    places: Vec<Place>,
}

/// One item of the answer.
enum Place {
    Sent,
    Refused(String),
}

impl Sink for List {
    fn argument(&mut self, bytes: &[u8]) {
        self.builder.argument(bytes);
    }
}

impl BatchSink for List {
    fn begin(&mut self) {
        self.builder = Builder::default();
    }

    fn end(&mut self) {
        let command = self.builder.take();
        self.places.push(match command.objection() {
            Some(objection) => Place::Refused(objection_text(objection, &command)),
            None => {
                self.batch.push(command);
                Place::Sent
            }
        });
    }

    fn refuse(&mut self, error: ArgumentError) {
        self.places.push(Place::Refused(error.message));
    }
}

impl List {
    /// All replies, and the worst outcome of the items that failed.
    async fn send(&self, gateway: &Gateway, deadline: Deadline) -> Result<(Vec<Reply>, Option<Outcome>), DialectError> {
        let refused = self.places.iter().any(|place| matches!(place, Place::Refused(_)));
        let worst = refused.then_some(Outcome::NotExecuted);
        if self.batch.is_empty() {
            return Ok((Vec::new(), worst));
        }
        let lane = self.batch.lane();
        let answer =
            gateway.run_batch(&self.batch, deadline).await.map_err(|error| DialectError::of_gateway(&error, lane))?;
        let failed = answer.reply.iter().any(|reply| matches!(reply, Reply::ServerError(_)));
        Ok((answer.reply, if failed { Some(Outcome::NotExecuted) } else { worst }))
    }
}

fn limits(worker: &Worker) -> Limits {
    let settings = &worker.shared.settings;
    Limits { argument_bytes: settings.argument_bytes, commands: settings.batch_commands }
}

fn encoding(request: &HttpRequest) -> Result<Encoding, DialectError> {
    let mut values = request.headers().get_all(&ENCODING);
    match (values.next(), values.next()) {
        (None, _) => Ok(Encoding::Text),
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"base64") => Ok(Encoding::Base64),
        _ => Err(DialectError::refused("ERR Upstash-Encoding must be base64, once, or absent".to_owned())),
    }
}

fn success(out: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CONTENT_TYPE, JSON)).insert_header((sync::TOKEN, sync::fresh())).body(out)
}

/// Everything the dialect does not know (yet), said in its own shape. Authentication comes first, as everywhere.
async fn not_built(_: Caller<SendCommands>, request: HttpRequest) -> Result<HttpResponse, DialectError> {
    if request.method() == actix_web::http::Method::OPTIONS {
        return Ok(HttpResponse::NoContent().insert_header((header::ALLOW, error::ALLOW)).finish());
    }
    let known = matches!(request.uri().path(), "/" | "/pipeline");
    Err(if known { DialectError::method() } else { DialectError::not_built() })
}
