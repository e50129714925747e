//! Spans while they are being made: one for a request, one for each operation at Redis, with its attempts as events.
//!
//! They are plain records in our own words. What OpenTelemetry calls it all is known to `otlp`, which translates on the
//! background thread; here, in the path of a request, a span costs two small allocations and no text is made. A span that is
//! dropped without an end was abandoned by its caller, and says so. No name, key, value or argument of a caller has a place in
//! any of these types but `tracestate`, which is his message to his own tracing system.
//!
//! The span of the request is found by what is done in its name through a task-local value, so that the rooms in between need
//! not hand it on. Limits: work that a handler gives to another task is not found.

use std::sync::Arc;
use std::time::Duration;

use super::queue::Queue;
use super::{Parent, SpanId, TraceId};
use crate::resilience::Moment;
use crate::telemetry::clock;
use crate::telemetry::metrics::{Method, RetryOutcome, Route};

/// Most events of one span; retries are few, so this is never reached, but it is a bound.
const MOST_EVENTS: usize = 64;

tokio::task_local! {
    static CURRENT: Origin;
}

/// Whose work is being done: the trace, and the span that new ones are children of.
#[derive(Clone)]
struct Origin {
    queue: Arc<Queue>,
    trace: TraceId,
    span: SpanId,
    state: Option<Arc<str>>,
}

/// A finished span.
pub(super) struct Record {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) state: Option<Arc<str>>,
    pub(super) began: Moment,
    pub(super) ended: Moment,
    pub(super) subject: Subject,
}

/// What a span is about.
pub(super) enum Subject {
    Request(Request),
    Operation(Operation),
}

/// A request on the public listener.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) route: Route,
    /// The status of the answer; none if nobody was there to answer.
    pub(super) status: Option<u16>,
    pub(super) error: Option<&'static str>,
    pub(super) outcome: Option<&'static str>,
}

/// One operation at Redis.
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) batch: Option<usize>,
    pub(super) end: Option<End>,
    pub(super) events: Vec<Event>,
}

/// Something that happened during an operation.
pub(super) struct Event {
    pub(super) at: Moment,
    pub(super) kind: EventKind,
}

/// What happened.
pub(super) enum EventKind {
    Attempt { number: u32, took: Duration, attempt: Attempt },
    Retry { decision: RetryOutcome, backoff: Option<Duration> },
}

/// How one attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How it ended, in a word.
    pub verdict: &'static str,
    /// What became of the fence before it, if one was owed.
    pub fence: Option<&'static str>,
}

/// What is known of an operation besides its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The command, from the catalogue and never from a caller.
    pub name: &'static str,
    /// How many commands, where it is a batch.
    pub batch: Option<usize>,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Whether it took effect.
    pub outcome: &'static str,
    /// What stopped it.
    pub error: Option<&'static str>,
    /// The code of Redis' own error.
    pub code: Option<&'static str>,
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// What went wrong, in a word, where it was not the caller's mistake.
    pub error: Option<&'static str>,
    /// Whether it took effect, where that is a question.
    pub outcome: Option<&'static str>,
}

/// The span of a request.
pub struct RequestSpan {
    record: Option<Box<Record>>,
    origin: Origin,
}

impl RequestSpan {
    pub(super) fn new(queue: &Arc<Queue>, parent: Option<Parent>, method: Method, route: Route, began: Moment) -> Self {
        let (trace, remote, state) = match parent {
            Some(parent) => (parent.trace, Some(parent.span), parent.state),
            None => (TraceId::random(), None, None),
        };
        let span = SpanId::random();
        let subject = Subject::Request(Request { method, route, status: None, error: None, outcome: None });
        let record = Record { trace, span, parent: remote, state: state.clone(), began, ended: began, subject };
        Self { record: Some(Box::new(record)), origin: Origin { queue: queue.clone(), trace, span, state } }
    }

    /// The trace it belongs to.
    pub fn trace(&self) -> TraceId {
        self.origin.trace
    }

    /// Its own id.
    pub fn id(&self) -> SpanId {
        self.origin.span
    }

    /// Does `work` in the name of this span: operations begun in it are its children.
    pub async fn around<F: Future>(&self, work: F) -> F::Output {
        CURRENT.scope(self.origin.clone(), work).await
    }

    /// The request is answered.
    pub fn finish(mut self, answered: Answered) {
        if let Some(Subject::Request(request)) = self.record.as_mut().map(|record| &mut record.subject) {
            let Answered { status, error, outcome } = answered;
            (request.status, request.error, request.outcome) = (Some(status), error, outcome);
        }
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        hand_over(&mut self.record, &self.origin.queue);
    }
}

/// The span of an operation, or nothing: then all of it is one branch a call.
pub struct OperationSpan(Option<Recorded>);

struct Recorded {
    record: Option<Box<Record>>,
    queue: Arc<Queue>,
}

impl OperationSpan {
    /// Begins a span if the request in whose name this is done is recorded.
    #[inline]
    pub fn begin(name: impl FnOnce() -> Name) -> Self {
        match CURRENT.try_with(Origin::clone) {
            Err(_) => Self(None),
            Ok(origin) => Self(Some(Recorded::new(origin, name()))),
        }
    }

    /// When the attempt that follows began; nothing if nobody wants to know.
    #[inline]
    pub fn attempt_begins(&self) -> Option<Moment> {
        self.0.as_ref().map(|_| clock::now())
    }

    /// An attempt ended.
    #[inline]
    pub fn attempt_ended(&mut self, began: Option<Moment>, number: u32, attempt: impl FnOnce() -> Attempt) {
        if let (Some(recorded), Some(began)) = (&mut self.0, began) {
            let took = clock::now().saturating_since(began);
            recorded.note(EventKind::Attempt { number, took, attempt: attempt() });
        }
    }

    /// It was decided whether there is another one, and how long to wait for it.
    #[inline]
    pub fn decided(&mut self, decision: RetryOutcome, backoff: Option<Duration>) {
        if let Some(recorded) = &mut self.0 {
            recorded.note(EventKind::Retry { decision, backoff });
        }
    }

    /// The operation ended.
    #[inline]
    pub fn finish(mut self, end: impl FnOnce() -> End) {
        if let Some(operation) = self.0.as_mut().and_then(Recorded::operation) {
            operation.end = Some(end());
        }
    }
}

impl Recorded {
    #[cold]
    fn new(origin: Origin, name: Name) -> Self {
        let Origin { queue, trace, span, state } = origin;
        let Name { name, batch } = name;
        let operation = Operation { name, batch, end: None, events: Vec::new() };
        let began = clock::now();
        let record = Record {
            trace,
            span: SpanId::random(),
            parent: Some(span),
            state,
            began,
            ended: began,
            subject: Subject::Operation(operation),
        };
        Self { record: Some(Box::new(record)), queue }
    }

    #[cold]
    fn note(&mut self, kind: EventKind) {
        if let Some(operation) = self.operation()
            && operation.events.len() < MOST_EVENTS
        {
            operation.events.push(Event { at: clock::now(), kind });
        }
    }

    fn operation(&mut self) -> Option<&mut Operation> {
        match &mut self.record.as_mut()?.subject {
            Subject::Operation(operation) => Some(operation),
            Subject::Request(_) => None,
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        hand_over(&mut self.record, &self.queue);
    }
}

fn hand_over(record: &mut Option<Box<Record>>, queue: &Queue) {
    if let Some(mut record) = record.take() {
        record.ended = clock::now();
        queue.push(record);
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Queue;
    use super::*;
    use crate::telemetry::Metrics;
    use crate::telemetry::metrics::Build;

    const GET: Name = Name { name: "GET", batch: None };
    const DONE: End = End { outcome: "executed", error: None, code: None };

    fn queue(spans: usize) -> (Arc<Queue>, tokio::sync::mpsc::Receiver<Box<Record>>, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(Build::current()).expect("a valid table"));
        let (queue, receiver) = Queue::new(spans, metrics.clone());
        (queue, receiver, metrics)
    }

    fn request(queue: &Arc<Queue>) -> RequestSpan {
        RequestSpan::new(queue, None, Method::Get, Route::Key, clock::now())
    }

    #[tokio::test]
    async fn an_operation_is_the_child_of_the_request_in_whose_name_it_is_done() {
        let (queue, mut spans, _) = queue(8);
        let span = request(&queue);
        span.around(async { OperationSpan::begin(|| GET).finish(|| DONE) }).await;
        OperationSpan::begin(|| panic!("nobody asked for this one")).finish(|| DONE);
        let (trace, id) = (span.trace(), span.id());
        span.finish(Answered { status: 200, error: None, outcome: None });
        let (operation, request) = (spans.try_recv().expect("a span"), spans.try_recv().expect("a span"));
        assert_eq!((operation.trace, operation.parent), (trace, Some(id)));
        assert_eq!((request.trace, request.span, request.parent), (trace, id, None));
        assert!(request.began <= operation.began && operation.ended <= request.ended);
        assert!(spans.try_recv().is_err(), "two spans and no more");
    }

    #[tokio::test]
    async fn whoever_leaves_ends_his_spans_without_an_answer() {
        let (queue, mut spans, _) = queue(8);
        let span = request(&queue);
        span.around(async { drop(OperationSpan::begin(|| GET)) }).await;
        drop(span);
        let operation = spans.try_recv().expect("a span").subject;
        assert!(matches!(operation, Subject::Operation(Operation { end: None, .. })));
        let request = spans.try_recv().expect("a span").subject;
        assert!(matches!(request, Subject::Request(Request { status: None, .. })));
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, mut spans, metrics) = queue(2);
        (0..5).for_each(|_| drop(request(&queue)));
        let text = metrics.render();
        assert!(text.contains("collective_traces_dropped_total{reason=\"queue_full\"} 3"), "{text}");
        assert!(spans.try_recv().is_ok() && spans.try_recv().is_ok() && spans.try_recv().is_err());
    }

    #[tokio::test]
    async fn the_events_of_a_span_are_bounded() {
        let (queue, mut spans, _) = queue(8);
        let work = async {
            let mut span = OperationSpan::begin(|| GET);
            (0..1000).for_each(|_| span.decided(RetryOutcome::Retried, None));
        };
        request(&queue).around(work).await;
        let Subject::Operation(operation) = spans.try_recv().expect("a span").subject else { panic!("an operation") };
        assert_eq!(operation.events.len(), MOST_EVENTS);
    }
}
