//! From a request to a caller who may do something by some time.
//!
//! Both surfaces ask the same questions (who, until when) and answer refusals in their own shape, so the questions are here and
//! the shapes are with the surfaces. Authentication comes first: nobody's body is read before it is known whose it is.

use std::time::Duration;

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpRequest, web};

use super::Worker;
use super::envelope::Arrival;
use crate::resilience::{Deadline, Moment};
use crate::security::{Action, Authorized, Forbidden, Principal, Unauthenticated};

/// A caller's own bound on the time a request may take, in milliseconds.
pub const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// A key that makes a call take effect once (`idempotency.rs`). Refused where it is not honoured (D17).
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A caller who may do `A`.
pub struct Caller<A: Action> {
    /// The proof.
    pub authorized: Authorized<A>,
    /// How long the answer may take.
    pub allowance: Allowance,
    /// This worker's state.
    pub worker: web::Data<Worker>,
}

/// How long an answer may take, before it is known how long the request takes to arrive.
///
/// A body has a time of its own, longer than the default deadline: whoever sends 16 MiB over a slow line is not to be told that
/// Redis was slow. But whoever names a time means all of it.
#[derive(Clone, Copy, Debug)]
pub enum Allowance {
    /// The default, from the moment the whole request is there.
    OnceRead {
        /// How long.
        timeout: Duration,
        /// When the head was read.
        arrival: Moment,
    },
    /// What the caller asked for, from the moment the head was read.
    InAll(Deadline),
}

impl Allowance {
    /// The deadline of a request that ended with its head.
    pub fn without_body(self) -> Deadline {
        match self {
            Self::OnceRead { timeout, arrival } => Deadline::after(arrival, timeout),
            Self::InAll(deadline) => deadline,
        }
    }

    /// The deadline of a request whose body is complete `now`.
    pub fn with_body(self, now: Moment) -> Deadline {
        match self {
            Self::OnceRead { timeout, .. } => Deadline::after(now, timeout),
            Self::InAll(deadline) => deadline,
        }
    }

    /// How long a body may take from `now` on, if bodies may take `most`.
    pub fn for_body(self, most: Duration, now: Moment) -> Duration {
        match self {
            Self::OnceRead { .. } => most,
            Self::InAll(deadline) => most.min(deadline.remaining(now)),
        }
    }
}

/// Why a request was turned away before its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// Nobody we know.
    Unauthenticated(Unauthenticated),
    /// Known, but not allowed.
    Forbidden(Forbidden),
    /// The timeout header is not a whole number of at least 1.
    BadTimeout,
    /// A field that decides who or until when is there more than once.
    Repeated(&'static str),
    /// The application was put together wrongly.
    Misassembled,
}

impl<A: Action> Caller<A> {
    /// Asks all questions of `request`. `token` is a credential from outside the header, where a surface allows one.
    pub fn identify(request: &HttpRequest, token: Option<&[u8]>) -> Result<Self, TurnedAway> {
        let worker = request.app_data::<web::Data<Worker>>().cloned().ok_or(TurnedAway::Misassembled)?;
        let principal = principal(request, &worker, token)?;
        let authorized = principal.authorize().map_err(TurnedAway::Forbidden)?;
        let allowance = allowance(request, &worker)?;
        Ok(Self { authorized, allowance, worker })
    }
}

/// Lets anyone pass who is somebody: for answers that say no more than what there is.
pub fn known(request: &HttpRequest) -> Result<(), TurnedAway> {
    let worker = request.app_data::<web::Data<Worker>>().ok_or(TurnedAway::Misassembled)?;
    principal(request, worker, None).map(|_| ())
}

fn principal(request: &HttpRequest, worker: &Worker, token: Option<&[u8]>) -> Result<Principal, TurnedAway> {
    let presented = single(request, &header::AUTHORIZATION, "Authorization")?.map(HeaderValue::as_bytes).or(token);
    worker.shared.authenticator.authenticate(presented).map_err(TurnedAway::Unauthenticated)
}

/// The default, or what the caller asks for up to the maximum.
fn allowance(request: &HttpRequest, worker: &Worker) -> Result<Allowance, TurnedAway> {
    let settings = &worker.shared.settings;
    let arrival = Arrival::of(request).at;
    Ok(match single(request, &REQUEST_TIMEOUT, "X-Request-Timeout-Ms")? {
        None => Allowance::OnceRead { timeout: settings.timeout, arrival },
        Some(value) => {
            let timeout = Duration::from_millis(millis(value.as_bytes())?).min(settings.timeout_max);
            Allowance::InAll(Deadline::after(arrival, timeout))
        }
    })
}

/// Digits only; what is beyond 64 bits is as good as for ever and is cut to the maximum like all that is too much.
fn millis(digits: &[u8]) -> Result<u64, TurnedAway> {
    let text =
        std::str::from_utf8(digits).ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    match text.map(str::parse::<u64>) {
        None | Some(Ok(0)) => Err(TurnedAway::BadTimeout),
        Some(Ok(millis)) => Ok(millis),
        Some(Err(_)) => Ok(u64::MAX),
    }
}

/// The field, if it is there once. Of two, a proxy may have judged the other one.
pub fn single<'a>(
    request: &'a HttpRequest,
    name: &HeaderName,
    spelled: &'static str,
) -> Result<Option<&'a HeaderValue>, TurnedAway> {
    let mut values = request.headers().get_all(name);
    let first = values.next();
    if values.next().is_some() { Err(TurnedAway::Repeated(spelled)) } else { Ok(first) }
}

/// Whether the head says that a body follows.
pub fn declares_body(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    length || headers.contains_key(header::TRANSFER_ENCODING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_deadline_waits_for_the_body_and_one_that_was_asked_for_does_not() {
        let (arrival, seconds) = (Moment::from_micros(1_000_000), Duration::from_secs);
        let default = Allowance::OnceRead { timeout: seconds(2), arrival };
        let asked = Allowance::InAll(Deadline::after(arrival, seconds(2)));
        let late = arrival + seconds(3);
        assert_eq!(default.with_body(late).remaining(late), seconds(2));
        assert_eq!(default.without_body().remaining(arrival), seconds(2));
        assert!(asked.with_body(late).passed(late));
        assert_eq!(
            (default.for_body(seconds(10), arrival), default.for_body(seconds(10), late)),
            (seconds(10), seconds(10))
        );
        assert_eq!(
            (asked.for_body(seconds(10), arrival), asked.for_body(seconds(1), arrival)),
            (seconds(2), seconds(1))
        );
        assert_eq!(asked.for_body(seconds(10), late), seconds(0));
    }

    #[test]
    fn a_timeout_is_digits_and_at_least_one() {
        assert_eq!(millis(b"1"), Ok(1));
        assert_eq!(millis(b"99999999999999999999999"), Ok(u64::MAX));
        for bad in [&b""[..], b"0", b"000", b"+5", b"-5", b"1.5", b"1e3", b" 5", b"5ms", b"\xff"] {
            assert_eq!(millis(bad), Err(TurnedAway::BadTimeout), "{bad:?}");
        }
    }
}
