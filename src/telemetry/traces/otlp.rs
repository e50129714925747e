//! Our records in OpenTelemetry's words, and the exporter that sends them as OTLP over HTTP.
//!
//! Names follow the semantic conventions for HTTP servers and database clients; where they have none (attempts, outcomes) the
//! words begin with `collective.`. Two things they ask for are left out on purpose: `url.path` and `db.query.text` hold callers'
//! keys. OTLP/HTTP with protobuf and not gRPC, because it needs no HTTP/2 stack. Of the SDK only the exporter's interface is
//! used: its span processors neither tell what they drop nor run on a runtime of ours.
//! Limits: the library may read the standard `OTEL_EXPORTER_OTLP_*` variables, so everything it would read there is either set
//! here or taken out again by `client`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{self, SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _};

use super::client::Client;
use super::span::{End, Event, EventKind, Operation, Record, Request, Subject};
use super::{Server, Settings};
use crate::telemetry::clock::Reading;
use crate::telemetry::metrics::{Method, Route};

/// What `error.type` says of a span that ended because its caller left.
const ABANDONED: &str = "abandoned";

/// The way out for batches of spans.
pub(super) struct Outlet {
    exporter: SpanExporter,
    client: Arc<Client>,
    translator: Translator,
}

impl Outlet {
    /// Never touches the network.
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        let client = Arc::new(Client::new(settings.receiver.clone(), settings.headers.clone(), settings.timeout));
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_shared_http_client(client.clone())
            .with_endpoint(settings.receiver.to_string())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(settings.timeout)
            // Its pauses between retries would put the whole thread to sleep; and the next batch is the better use of the time.
            .with_retry_policy(RetryPolicy::default().with_max_retries(0))
            .build()
            .map_err(|error| error.to_string())?;
        exporter.set_resource(&resource(settings));
        Ok(Self { exporter, client, translator: Translator::new(settings.server.clone()) })
    }

    /// Sends a batch; the error says why it was not taken.
    pub(super) async fn send(&self, records: Vec<Record>) -> Result<(), String> {
        let now = Reading::take();
        let spans = records.into_iter().map(|record| self.translator.span(record, now)).collect();
        match self.exporter.export(spans).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.client.trouble().unwrap_or_else(|| error.to_string())),
        }
    }
}

fn resource(settings: &Settings) -> Resource {
    let instance = format!("{:016x}", fastrand::u64(..));
    // `builder_empty`: the other one reads the environment.
    Resource::builder_empty()
        .with_service_name(settings.service_name.clone())
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance),
            KeyValue::new("telemetry.sdk.language", "rust"),
            KeyValue::new("telemetry.sdk.name", "opentelemetry"),
        ])
        .build()
}

/// What is the same in all spans.
struct Translator {
    scope: InstrumentationScope,
    server: Server,
}

impl Translator {
    fn new(server: Server) -> Self {
        let scope = InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION"));
        Self { scope: scope.build(), server }
    }

    fn span(&self, record: Record, now: Reading) -> SpanData {
        let Record { trace, span, parent, state, began, ended, subject } = record;
        // A `tracestate` that is none belongs to nobody; the span is worth having without it.
        let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
        let told = match &subject {
            Subject::Request(request) => request_told(request),
            Subject::Operation(operation) => self.operation_told(operation, now),
        };
        SpanData {
            span_context: SpanContext::new(
                trace::TraceId::from_bytes(trace.bits().to_be_bytes()),
                trace::SpanId::from_bytes(span.bits().to_be_bytes()),
                TraceFlags::SAMPLED,
                false,
                state,
            ),
            parent_span_id: parent
                .map_or(trace::SpanId::INVALID, |parent| trace::SpanId::from_bytes(parent.bits().to_be_bytes())),
            parent_span_is_remote: parent.is_some() && matches!(subject, Subject::Request(_)),
            span_kind: told.kind,
            name: told.name.into(),
            start_time: now.wall_at(began),
            end_time: now.wall_at(ended),
            attributes: told.attributes,
            dropped_attributes_count: 0,
            events: told.events,
            links: Default::default(),
            status: told.status,
            instrumentation_scope: self.scope.clone(),
        }
    }

    fn operation_told(&self, operation: &Operation, now: Reading) -> Told {
        // Subcommands are written with a bar in the catalogue.
        let name = operation.name.replace('|', " ");
        let mut attributes = vec![
            KeyValue::new("db.system.name", "redis"),
            KeyValue::new("db.operation.name", name.clone()),
            KeyValue::new("db.namespace", self.server.database.to_string()),
            KeyValue::new("server.address", self.server.address.clone()),
        ];
        attributes.extend(self.server.port.map(|port| KeyValue::new("server.port", i64::from(port))));
        attributes.extend(operation.batch.map(|size| KeyValue::new("db.operation.batch.size", whole(size))));
        let End { outcome, error, code } =
            operation.end.unwrap_or(End { outcome: "unknown", error: Some(ABANDONED), code: None });
        attributes.push(KeyValue::new("collective.outcome", outcome));
        attributes.extend(code.map(|code| KeyValue::new("db.response.status_code", code)));
        let failed = error.or(code);
        attributes.extend(failed.map(|word| KeyValue::new("error.type", word)));
        let mut events = SpanEvents::default();
        events.events = operation.events.iter().map(|event| event_told(event, now)).collect();
        let target = match self.server.port {
            Some(port) => format!("{}:{port}", self.server.address),
            None => self.server.address.clone(),
        };
        let status = if failed.is_some() { Status::error("") } else { Status::Unset };
        Told { name: format!("{name} {target}"), kind: SpanKind::Client, attributes, events, status }
    }
}

/// What is told of a subject.
struct Told {
    name: String,
    kind: SpanKind,
    attributes: Vec<KeyValue>,
    events: SpanEvents,
    status: Status,
}

fn request_told(request: &Request) -> Told {
    let method = request.method.word();
    // The conventions' words for a method that an attacker may have made up.
    let (shown, attribute) = if request.method == Method::Other { ("HTTP", "_OTHER") } else { (method, method) };
    let route = (request.route != Route::Unmatched).then(|| request.route.word());
    let mut attributes = vec![KeyValue::new("http.request.method", attribute), KeyValue::new("url.scheme", "http")];
    attributes.extend(route.map(|route| KeyValue::new("http.route", route)));
    attributes.extend(request.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
    attributes.extend(request.outcome.map(|outcome| KeyValue::new("collective.outcome", outcome)));
    let error = if request.status.is_none() { Some(ABANDONED) } else { request.error };
    attributes.extend(error.map(|word| KeyValue::new("error.type", word)));
    let name = route.map_or_else(|| shown.to_owned(), |route| format!("{shown} {route}"));
    let status = if error.is_some() { Status::error("") } else { Status::Unset };
    Told { name, kind: SpanKind::Server, attributes, events: SpanEvents::default(), status }
}

fn event_told(event: &Event, now: Reading) -> trace::Event {
    let at = now.wall_at(event.at);
    match &event.kind {
        EventKind::Attempt { number, took, attempt } => {
            let mut attributes = vec![
                KeyValue::new("collective.attempt.number", i64::from(*number)),
                KeyValue::new("collective.attempt.verdict", attempt.verdict),
                KeyValue::new("collective.attempt.duration_ms", millis(*took)),
            ];
            attributes.extend(attempt.fence.map(|fence| KeyValue::new("collective.attempt.fence", fence)));
            named("attempt", at, attributes)
        }
        EventKind::Retry { decision, backoff } => {
            let mut attributes = vec![KeyValue::new("collective.retry.decision", decision.word())];
            attributes.extend(backoff.map(|backoff| KeyValue::new("collective.retry.backoff_ms", millis(backoff))));
            named("retry", at, attributes)
        }
    }
}

fn named(name: &'static str, at: SystemTime, attributes: Vec<KeyValue>) -> trace::Event {
    trace::Event::new(name, at, attributes, 0)
}

fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

fn whole(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::span::Attempt;
    use super::super::{SpanId, TraceId};
    use super::*;
    use crate::resilience::Moment;
    use crate::telemetry::metrics::RetryOutcome;

    const BEGAN: Moment = Moment::from_micros(500_000);

    fn translated(subject: Subject, state: Option<&str>) -> SpanData {
        let server = Server { address: "db.example".to_owned(), port: Some(6379), database: 2 };
        let (Some(trace), Some(span)) = (TraceId::new(0xabc), SpanId::new(0xdef)) else { panic!("not zero") };
        let ended = BEGAN + Duration::from_millis(20);
        let record =
            Record { trace, span, parent: SpanId::new(1), state: state.map(Arc::from), began: BEGAN, ended, subject };
        Translator::new(server).span(record, Reading::take())
    }

    fn attribute(of: &[KeyValue], name: &str) -> Option<String> {
        of.iter().find(|pair| pair.key.as_str() == name).map(|pair| pair.value.to_string())
    }

    fn request(method: Method, route: Route, status: Option<u16>) -> Subject {
        Subject::Request(Request { method, route, status, error: None, outcome: None })
    }

    #[test]
    fn a_request_is_named_after_its_route_and_an_invented_method_after_nothing() {
        let span = translated(request(Method::Get, Route::Key, Some(404)), None);
        assert_eq!((span.name.as_ref(), span.span_kind.clone()), ("GET /v1/keys/{key}", SpanKind::Server));
        assert_eq!(attribute(&span.attributes, "http.response.status_code").as_deref(), Some("404"));
        assert_eq!((attribute(&span.attributes, "error.type"), &span.status), (None, &Status::Unset));
        assert!(span.parent_span_is_remote);
        let span = translated(request(Method::Other, Route::Unmatched, Some(405)), None);
        assert_eq!(span.name, "HTTP");
        assert_eq!(attribute(&span.attributes, "http.request.method").as_deref(), Some("_OTHER"));
        assert_eq!(attribute(&span.attributes, "http.route"), None);
    }

    #[test]
    fn an_operation_tells_its_attempts_its_waits_and_its_fence() {
        let attempt = Attempt { verdict: "connection_lost", fence: Some("stands") };
        let (took, at) = (Duration::from_micros(1500), BEGAN + Duration::from_millis(2));
        let events = vec![
            Event { at, kind: EventKind::Attempt { number: 2, took, attempt } },
            Event { at, kind: EventKind::Retry { decision: RetryOutcome::Retried, backoff: Some(took) } },
        ];
        let end = Some(End { outcome: "unknown", error: Some("connection_lost"), code: None });
        let span = translated(Subject::Operation(Operation { name: "GET", batch: None, end, events }), None);
        assert_eq!((span.name.as_ref(), span.span_kind), ("GET db.example:6379", SpanKind::Client));
        for (name, value) in [
            ("db.system.name", "redis"),
            ("db.operation.name", "GET"),
            ("db.namespace", "2"),
            ("collective.outcome", "unknown"),
            ("error.type", "connection_lost"),
        ] {
            assert_eq!(attribute(&span.attributes, name).as_deref(), Some(value), "{name}");
        }
        let [attempt, retry] = span.events.events.as_slice() else { panic!("two events") };
        assert_eq!(attribute(&attempt.attributes, "collective.attempt.number").as_deref(), Some("2"));
        assert_eq!(attribute(&attempt.attributes, "collective.attempt.duration_ms").as_deref(), Some("1.5"));
        assert_eq!(attribute(&attempt.attributes, "collective.attempt.fence").as_deref(), Some("stands"));
        assert_eq!(attribute(&retry.attributes, "collective.retry.decision").as_deref(), Some("retried"));
        assert_eq!(attribute(&retry.attributes, "collective.retry.backoff_ms").as_deref(), Some("1.5"));
    }

    #[test]
    fn what_nobody_waited_for_is_told_as_abandoned() {
        let operation = Operation { name: "CLIENT|KILL", batch: Some(3), end: None, events: Vec::new() };
        for (subject, name) in [
            (Subject::Operation(operation), "CLIENT KILL db.example:6379"),
            (request(Method::Get, Route::Key, None), "GET /v1/keys/{key}"),
        ] {
            let span = translated(subject, None);
            assert_eq!(span.name, name);
            assert_eq!(attribute(&span.attributes, "error.type").as_deref(), Some(ABANDONED));
        }
    }

    #[test]
    fn a_tracestate_is_handed_on_and_nonsense_is_not() {
        let state =
            |text| translated(request(Method::Get, Route::Key, None), Some(text)).span_context.trace_state().header();
        assert_eq!(state("vendor=1,other=2"), "vendor=1,other=2");
        assert_eq!(state("no state at all"), "");
    }

    #[test]
    fn a_span_ends_as_long_after_its_beginning_as_it_took() {
        let span = translated(request(Method::Get, Route::Key, None), None);
        let took = span.end_time.duration_since(span.start_time);
        assert_eq!(took.ok(), Some(Duration::from_millis(20)));
    }
}
