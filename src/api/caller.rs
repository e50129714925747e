//! From a request to a caller who may do something by some time.
//!
//! Both surfaces ask the same questions (who, until when) and answer refusals in their own shape, so the questions are here and
//! the shapes are with the surfaces. Authentication comes first: nobody's body is read before it is known whose it is.

use std::time::Duration;

use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpRequest, web};

use super::Worker;
use super::envelope::Arrival;
use crate::resilience::Deadline;
use crate::security::{Action, Authorized, Forbidden, Unauthenticated};

/// A caller's own bound on the time a request may take, in milliseconds.
pub const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// A caller who may do `A`.
pub struct Caller<A: Action> {
    /// The proof.
    pub authorized: Authorized<A>,
    /// When the answer must be given.
    pub deadline: Deadline,
    /// This worker's state.
    pub worker: web::Data<Worker>,
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
    /// The application was put together wrongly.
    Misassembled,
}

impl<A: Action> Caller<A> {
    /// Asks all questions of `request`. `token` is a credential from outside the header, where a surface allows one.
    pub fn identify(request: &HttpRequest, token: Option<&[u8]>) -> Result<Self, TurnedAway> {
        let worker = request.app_data::<web::Data<Worker>>().cloned().ok_or(TurnedAway::Misassembled)?;
        let presented = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes()).or(token);
        let principal = worker.shared.authenticator.authenticate(presented).map_err(TurnedAway::Unauthenticated)?;
        let authorized = principal.authorize().map_err(TurnedAway::Forbidden)?;
        let deadline = deadline(request, &worker)?;
        Ok(Self { authorized, deadline, worker })
    }
}

/// The request's deadline: the default, or what the caller asks for up to the maximum.
fn deadline(request: &HttpRequest, worker: &Worker) -> Result<Deadline, TurnedAway> {
    let settings = &worker.shared.settings;
    let timeout = match request.headers().get(&REQUEST_TIMEOUT) {
        None => settings.timeout,
        Some(value) => {
            let millis = value.to_str().ok().and_then(|text| text.parse::<u64>().ok()).filter(|millis| *millis >= 1);
            Duration::from_millis(millis.ok_or(TurnedAway::BadTimeout)?).min(settings.timeout_max)
        }
    };
    Ok(Deadline::after(Arrival::of(request).at, timeout))
}
