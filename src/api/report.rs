//! The log of requests that failed: one line for each broken expectation, and one a second for a flood of refusals.
//!
//! A failure is told here and nowhere below, because only here is it known how the request ended. By consequence: `error` when
//! the outcome is unknown or the mistake is ours, `warn` when the caller was told truthfully that nothing was done, `debug` for
//! every other answer. The line has the route's template, never the path, and neither name, value, query nor address of anybody.
//!
//! Refusals come by the thousand while a breaker is open or Redis is full, and the cause has its own line; so they are counted
//! and told together, once a second for each code. Lines of their own are bounded as well ([`OWN_LINES`]): a caller with a
//! deadline of 1 ms must not fill the disk. Limits: a success costs a comparison and a look at the log level, nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use tracing::field::DisplayValue;

use super::Shared;
use super::envelope::{OUTCOME, REQUEST_ID};
use super::problem::{Code, Problem};
use super::trace_context;
use super::upstash::error::DialectError;
use crate::redis::Outcome;
use crate::resilience::Moment;
use crate::telemetry::clock;
use crate::telemetry::metrics::{Method, Route};
use crate::telemetry::traces::TraceId;

/// Lines that tell of one request each, in one second. Enough to see every one of a bad minute's failures at the rates where
/// single requests still mean something, and 30 kB a second at most.
pub const OWN_LINES: u64 = 100;
/// How long failures that are told together are collected.
const TOGETHER: Duration = Duration::from_secs(1);

/// How a request failed, in the words of both surfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What happened.
    pub code: Code,
    /// Whether it took effect, where Redis is concerned.
    pub outcome: Option<Outcome>,
    /// Attempts handed to a connection, where it is known.
    pub attempts: Option<u32>,
}

/// What is known of the request besides its answer.
#[derive(Clone, Copy)]
pub struct Request {
    /// The template of its route.
    pub route: Route,
    /// Its method.
    pub method: Method,
    /// From its head to its answer.
    pub elapsed: Duration,
    /// The trace it is recorded in, if it is.
    pub trace: Option<TraceId>,
}

/// How many failures of each code wait to be told, and the lines of the current second.
pub struct FailureLog {
    waiting: Vec<AtomicU64>,
    second: AtomicU64,
    lines: AtomicU64,
}

impl Default for FailureLog {
    fn default() -> Self {
        let waiting = Code::ALL.iter().map(|_| AtomicU64::new(0)).collect();
        Self { waiting, second: AtomicU64::new(0), lines: AtomicU64::new(0) }
    }
}

impl FailureLog {
    /// True if the failure may have a line of its own. Two threads at the turn of a second may both get a few more.
    fn has_own_line(&self, code: Code, now: Moment) -> bool {
        if told_together(code) {
            return false;
        }
        let second = now.as_micros() / 1_000_000;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.lines.store(0, Ordering::Relaxed);
        }
        self.lines.fetch_add(1, Ordering::Relaxed) < OWN_LINES
    }

    /// Counts one; true if it is the first to wait, so that somebody must see to it that it is told.
    fn add(&self, code: Code) -> bool {
        self.waiting[code as usize].fetch_add(1, Ordering::Relaxed) == 0
    }

    /// Tells what has been counted of `code`.
    fn tell(&self, code: Code) {
        let count = self.waiting[code as usize].swap(0, Ordering::Relaxed);
        let row = code.row();
        let (code_word, status, within_ms) = (row.code, row.status, TOGETHER.as_millis() as u64);
        match count {
            0 => {}
            _ if is_error(code) => {
                tracing::error!(
                    code = code_word,
                    status,
                    count,
                    within_ms,
                    "requests failed beyond the bound of lines"
                );
            }
            _ => tracing::warn!(code = code_word, status, count, within_ms, "requests were refused"),
        }
    }
}

/// Tells of an answer: of a 5xx as the module says, of anything else at `debug`.
#[cold]
pub fn answered<B: MessageBody>(response: &ServiceResponse<B>, shared: &Arc<Shared>, request: Request) {
    let failed = failed(response);
    if !response.status().is_server_error() {
        return debug_line(response, request, failed);
    }
    // A 5xx that no table of ours made can only be the framework's, and is our mistake.
    let failed = failed.unwrap_or(Failed { code: Code::Internal, outcome: None, attempts: None });
    if shared.failures.has_own_line(failed.code, clock::now()) {
        own_line(response, request, failed);
    } else if shared.failures.add(failed.code) {
        let collected = Collected { shared: shared.clone(), code: failed.code };
        actix_web::rt::spawn(async move {
            let _told_when_dropped = collected;
            tokio::time::sleep(TOGETHER).await;
        });
    }
}

/// How a request failed, if the answer was made from an error of ours.
pub fn failed<B>(response: &ServiceResponse<B>) -> Option<Failed> {
    let error = response.response().error()?;
    match error.as_error::<Problem>() {
        Some(problem) => Some(problem.failed()),
        None => error.as_error::<DialectError>().and_then(DialectError::failed),
    }
}

/// Tells on drop, so that a worker that stops within the second tells, too.
struct Collected {
    shared: Arc<Shared>,
    code: Code,
}

impl Drop for Collected {
    fn drop(&mut self) {
        self.shared.failures.tell(self.code);
    }
}

/// Refused without the work having been tried: nothing is to be learned from one more of them.
fn told_together(code: Code) -> bool {
    matches!(
        code,
        Code::CircuitOpen
            | Code::Overloaded
            | Code::RedisUnavailable
            | Code::NotDurable
            | Code::GatewayForbidden
            | Code::OutOfMemory
    )
}

fn is_error(code: Code) -> bool {
    matches!(code, Code::OutcomeUnknown | Code::Internal)
}

fn own_line<B: MessageBody>(response: &ServiceResponse<B>, request: Request, failed: Failed) {
    let Line { request_id, route, method, status, duration_ms, trace_id } = Line::of(response, request);
    let Failed { code, outcome, attempts } = failed;
    let (word, outcome) = (code.row().code, outcome.map(Outcome::as_str));
    if is_error(code) {
        tracing::error!(
            request_id,
            route,
            method,
            status,
            code = word,
            outcome,
            attempts,
            duration_ms,
            trace_id,
            "request failed"
        );
    } else {
        tracing::warn!(
            request_id,
            route,
            method,
            status,
            code = word,
            outcome,
            attempts,
            duration_ms,
            trace_id,
            "request failed"
        );
    }
}

fn debug_line<B: MessageBody>(response: &ServiceResponse<B>, request: Request, failed: Option<Failed>) {
    let Line { request_id, route, method, status, duration_ms, trace_id } = Line::of(response, request);
    let code = failed.map(|failed| failed.code.row().code);
    let outcome = response.headers().get(&OUTCOME).and_then(|value| value.to_str().ok());
    tracing::debug!(request_id, route, method, status, code, outcome, duration_ms, trace_id, "request answered");
}

/// The fields every line has.
struct Line<'a> {
    request_id: Option<&'a str>,
    route: &'static str,
    method: &'static str,
    status: u16,
    duration_ms: f64,
    trace_id: Option<DisplayValue<TraceId>>,
}

impl<'a> Line<'a> {
    fn of<B>(response: &'a ServiceResponse<B>, request: Request) -> Self {
        let headers = response.request().headers();
        let trace = request.trace.or_else(|| trace_context::parent(headers).map(|parent| parent.trace));
        Self {
            request_id: response.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok()),
            route: request.route.word(),
            method: request.method.word(),
            status: response.status().as_u16(),
            duration_ms: request.elapsed.as_micros() as f64 / 1000.0,
            trace_id: trace.map(tracing::field::display),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::logs::tests::captured;

    fn second(number: u64) -> Moment {
        Moment::from_micros(number * 1_000_000)
    }

    #[test]
    fn refusals_are_counted_and_told_in_one_line() {
        let log = FailureLog::default();
        assert!(!log.has_own_line(Code::CircuitOpen, second(1)));
        assert!(log.add(Code::CircuitOpen));
        assert!(!log.add(Code::CircuitOpen), "one teller is enough");
        let lines = captured(|| {
            log.tell(Code::CircuitOpen);
            log.tell(Code::CircuitOpen);
        });
        let [line] = lines.as_slice() else { panic!("one line expected: {lines:?}") };
        assert_eq!((line["level"].as_str(), line["count"].as_u64()), (Some("WARN"), Some(2)));
        assert_eq!(line["code"], "circuit_open");
    }

    #[test]
    fn lines_of_their_own_are_bounded_by_the_second() {
        let log = FailureLog::default();
        let allowed = |at| (0..OWN_LINES + 7).filter(|_| log.has_own_line(Code::OutcomeUnknown, at)).count() as u64;
        assert_eq!(allowed(second(1)), OWN_LINES);
        assert_eq!(allowed(second(2)), OWN_LINES);
    }

    #[test]
    fn what_may_have_happened_is_never_merely_a_warning() {
        let log = FailureLog::default();
        log.add(Code::OutcomeUnknown);
        assert_eq!(captured(|| log.tell(Code::OutcomeUnknown))[0]["level"], "ERROR");
    }
}
