//! `Cache-Control: stale-if-error=N`: a read that fails because Redis does not answer is told what it was told last, if that is not
//! older than N seconds (RFC 5861, D19).
//!
//! Redis is always asked first. Only a request with the field has its answer remembered, so whoever does not use it pays one look
//! into his own head; and only the same caller with the same call is served from memory. Such an answer is a 200 with `Age`, rounded
//! up so that nothing is told to be younger than it is, and with `Cache-Status` (RFC 9211): `hit` with a negative `ttl` where Redis
//! was not asked because it is known to be down, and `fwd=stale` where it was asked in vain; `fwd-status` is then the status without
//! this, and `detail` the code. What Redis decided, a 4xx above all, is never replaced, and takes the old answer's place.
//!
//! A directive that is malformed is not there, as RFC 9111 has it: the caller then gets the 503 he would have got without. Of
//! several the least is meant. `no-store` and `no-cache` beside it mean that nothing is kept and nothing old wanted. Limits:
//! single reads that name their keys; not pipelines, transactions, listings, code in Redis, nor limiters, whose level changes by
//! itself and whose takes have a policy of their own for this.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{AGE, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};

use super::problem::{Problem, whole_seconds};
use super::report::Failed;
use super::{Shared, caller};
use crate::redis::catalogue::Lane;
use crate::resources::keys::Facts;
use crate::resources::leases::Holder;
use crate::resources::presence::Room;
use crate::resources::stale::{Asked, Question};
use crate::resources::{Failure, Found, stale};
use crate::security::{Action, Principal};
use crate::telemetry::clock;

/// How a cache handled the request.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// What digests are made for.
const ASKER: &str = "stale: asker";
const CALL: &str = "stale: call";

/// All remembered answers.
pub type Answers = stale::Answers<Kept>;

/// An answer as it is remembered. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Kept {
    /// A key's content, or a whole answer of the dialect.
    Bytes(Bytes),
    /// What a `HEAD` tells.
    Facts(Arc<Facts>),
    /// A counter's value.
    Number(i64),
    /// Who held a lease.
    Holder(Arc<Holder>),
    /// How many were in a room.
    Room(Room),
}

impl Kept {
    fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Facts(_) => size_of::<Facts>() + 64,
            Self::Number(_) => size_of::<i64>(),
            Self::Holder(holder) => size_of::<Holder>() + holder.owner.len(),
            Self::Room(_) => size_of::<Room>(),
        }
    }
}

/// What a read of `/v1` finds, and what of it is remembered.
pub trait Keepable: Sized {
    /// To be remembered.
    fn keep(&self) -> Kept;
    /// As it is told when it is `age` old; `None` if it is known to be over.
    fn recall(kept: Kept, age: Duration) -> Option<Self>;
}

impl Keepable for Bytes {
    fn keep(&self) -> Kept {
        Kept::Bytes(self.clone())
    }

    fn recall(kept: Kept, _: Duration) -> Option<Self> {
        if let Kept::Bytes(bytes) = kept { Some(bytes) } else { None }
    }
}

impl Keepable for i64 {
    fn keep(&self) -> Kept {
        Kept::Number(*self)
    }

    fn recall(kept: Kept, _: Duration) -> Option<Self> {
        if let Kept::Number(number) = kept { Some(number) } else { None }
    }
}

impl Keepable for Room {
    fn keep(&self) -> Kept {
        Kept::Room(*self)
    }

    fn recall(kept: Kept, _: Duration) -> Option<Self> {
        if let Kept::Room(room) = kept { Some(room) } else { None }
    }
}

impl Keepable for Holder {
    fn keep(&self) -> Kept {
        Kept::Holder(Arc::new(self.clone()))
    }

    /// A lease that has run out meanwhile is known to be over.
    fn recall(kept: Kept, age: Duration) -> Option<Self> {
        let Kept::Holder(holder) = kept else { return None };
        let remaining = holder.remaining.checked_sub(age).filter(|left| !left.is_zero())?;
        Some(Self { owner: holder.owner.clone(), remaining })
    }
}

impl Keepable for Facts {
    fn keep(&self) -> Kept {
        Kept::Facts(Arc::new(self.clone()))
    }

    /// A lifetime went on meanwhile, and may have ended.
    fn recall(kept: Kept, age: Duration) -> Option<Self> {
        let Kept::Facts(facts) = kept else { return None };
        match facts.ttl {
            None => Some(Self::clone(&facts)),
            Some(ttl) => Some(Self { ttl: Some(ttl.checked_sub(age)?), ..Self::clone(&facts) }),
        }
    }
}

/// A read whose caller takes an old answer for none.
pub struct Recall<'a> {
    asked: Asked<'a, Kept>,
    at_most: Duration,
    shared: &'a Shared,
}

/// How old an answer is, and why it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    age: Duration,
    status: u16,
    code: &'static str,
    forwarded: bool,
}

impl<'a> Recall<'a> {
    /// To be made before Redis is asked; `None` without the field, and where nothing can be remembered. `call` is all that decides
    /// the answer, `keys` the Redis keys it depends on.
    pub fn of(
        headers: &HeaderMap,
        shared: &'a Shared,
        principal: &Principal,
        call: &[&[u8]],
        keys: &[&[u8]],
    ) -> Option<Self> {
        let at_most = allowed_age(headers)?;
        let asker = principal.pseudonym(ASKER, b"");
        let question = Question { asker, call: principal.pseudonym(CALL, &joined(call)) };
        let asked = shared.stale.ask(question, keys, clock::now())?;
        Some(Self { asked, at_most, shared })
    }

    /// The same for a read of one name below `/v1`.
    pub fn of_name<A: Action>(
        request: &HttpRequest,
        caller: &'a caller::Caller<A>,
        call: &str,
        name: &[u8],
    ) -> Option<Self> {
        let key = caller.worker.names.key(name).ok()?;
        Self::of_keys(request, caller, call, name, &[key])
    }

    /// The same where the service's own records of the name are read.
    pub fn of_keys<A: Action>(
        request: &HttpRequest,
        caller: &'a caller::Caller<A>,
        call: &str,
        name: &[u8],
        keys: &[&[u8]],
    ) -> Option<Self> {
        let principal = caller.authorized.principal();
        Self::of(request.headers(), &caller.worker.shared, &principal, &[call.as_bytes(), name], keys)
    }

    /// Remembers a success.
    pub fn keep(self, answer: Kept) {
        let bytes = answer.bytes();
        self.asked.keep(answer, bytes);
    }

    /// Redis decided otherwise than before.
    pub fn forget(self) {
        self.asked.forget();
    }

    /// What to tell instead of this failure. A decision of Redis' is no failure to get an answer, and ends what was told before.
    pub fn instead_of<T>(
        self,
        failed: Failed,
        tell: impl FnOnce(Kept, Duration) -> Option<T>,
    ) -> Option<(T, Staleness)> {
        let row = failed.code.row();
        if !matches!(row.status, 503 | 504) {
            self.forget();
            return None;
        }
        let (kept, age) = self.asked.recall(self.at_most, clock::now())?;
        let told = tell(kept, age)?;
        self.shared.metrics.stale_served.increment();
        let forwarded = failed.attempts.unwrap_or_default() > 0;
        Some((told, Staleness { age, status: row.status, code: row.code, forwarded }))
    }
}

impl Staleness {
    /// Says so in the head of the answer.
    pub fn mark(&self, headers: &mut HeaderMap) {
        let age = whole_seconds(self.age);
        headers.insert(AGE, HeaderValue::from(age));
        let Self { status, code, .. } = self;
        let told = match self.forwarded {
            true => format!("collective; fwd=stale; fwd-status={status}; ttl=-{age}; detail={code}"),
            false => format!("collective; hit; ttl=-{age}; detail={code}"),
        };
        // Codes are words of the table.
        if let Ok(told) = HeaderValue::from_str(&told) {
            headers.insert(CACHE_STATUS, told);
        }
    }
}

/// The answer, marked with its age if it is an old one.
pub fn aged(mut response: HttpResponse, age: Option<Staleness>) -> HttpResponse {
    if let Some(age) = age {
        age.mark(response.headers_mut());
    }
    response
}

/// Asks Redis, and memory if that fails.
///
/// # Errors
/// What the caller is to be told when neither knows.
pub async fn read<T: Keepable>(
    recall: Option<Recall<'_>>,
    call: impl Future<Output = Result<Found<T>, Failure>>,
) -> Result<(Found<T>, Option<Staleness>), Problem> {
    let answer = call.await.map_err(|failure| Problem::of_failure(&failure, Lane::Read));
    let Some(recall) = recall else { return answer.map(|found| (found, None)) };
    match answer {
        Ok(found) => {
            match &found.value {
                Some(value) => recall.keep(value.keep()),
                None => recall.forget(),
            }
            Ok((found, None))
        }
        Err(problem) => {
            let failed = problem.failed();
            let attempts = failed.attempts.unwrap_or_default();
            let told = recall.instead_of(failed, T::recall).ok_or(problem)?;
            Ok((Found { value: Some(told.0), attempts }, Some(told.1)))
        }
    }
}

/// The least age the caller allows; `None` if he allows none.
fn allowed_age(headers: &HeaderMap) -> Option<Duration> {
    let mut least = None;
    for field in headers.get_all(CACHE_CONTROL) {
        for directive in field.as_bytes().split(|byte| *byte == b',') {
            let (name, value) = named(directive);
            if name.eq_ignore_ascii_case(b"no-store") || name.eq_ignore_ascii_case(b"no-cache") {
                return None;
            }
            if name.eq_ignore_ascii_case(b"stale-if-error") {
                let seconds = delta_seconds(value?)?;
                least = Some(least.map_or(seconds, |least: u64| least.min(seconds)));
            }
        }
    }
    least.map(Duration::from_secs)
}

fn named(directive: &[u8]) -> (&[u8], Option<&[u8]>) {
    match directive.iter().position(|byte| *byte == b'=') {
        Some(at) => (directive[..at].trim_ascii_start(), Some(directive[at + 1..].trim_ascii_end())),
        None => (directive.trim_ascii(), None),
    }
}

/// Digits, in quotes or not (RFC 9111, 5.2); what does not fit is as good as for ever.
fn delta_seconds(value: &[u8]) -> Option<u64> {
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let digits = quoted.unwrap_or(value);
    let text = str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    if text.is_empty() { None } else { Some(text.parse().unwrap_or(u64::from(u32::MAX))) }
}

/// The parts in one, so that no two lists of parts give the same.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut text = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(fields: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(field).expect("a field value"));
        }
        allowed_age(&headers).map(|age| age.as_secs())
    }

    #[test]
    fn the_directive_is_read_as_http_has_it() {
        for (fields, seconds) in [
            (&["stale-if-error=60"][..], 60),
            (&["max-age=0, Stale-If-Error=60"], 60),
            (&["max-age=0", " stale-if-error=\"60\" ,x"], 60),
            (&["stale-if-error=60, stale-if-error=5"], 5),
            (&["stale-if-error=5", "stale-if-error=60"], 5),
            (&["stale-if-error=0"], 0),
            (&["stale-if-error=99999999999999999999999"], u64::from(u32::MAX)),
        ] {
            assert_eq!(allowed(fields), Some(seconds), "{fields:?}");
        }
    }

    #[test]
    fn what_is_malformed_or_taken_back_allows_nothing() {
        for fields in [
            &[][..],
            &["max-age=60"],
            &["stale-if-error"],
            &["stale-if-error="],
            &["stale-if-error=-1"],
            &["stale-if-error=+1"],
            &["stale-if-error=1.5"],
            &["stale-if-error=5s"],
            &["stale-if-error= 5"],
            &["stale-if-error =5"],
            &["stale-if-error=\"5"],
            &["stale-if-error=\"\""],
            &["stale-if-error=5, stale-if-error=x"],
            &["xstale-if-error=5"],
            &["stale-if-error=60, no-store"],
            &["no-cache", "stale-if-error=60"],
        ] {
            assert_eq!(allowed(fields), None, "{fields:?}");
        }
    }

    #[test]
    fn the_head_says_how_old_it_is_and_why() {
        let marked = |forwarded| {
            let mut headers = HeaderMap::new();
            let age = Duration::from_millis(4200);
            Staleness { age, status: 504, code: "deadline_exceeded", forwarded }.mark(&mut headers);
            [AGE, CACHE_STATUS].map(|name| headers.get(name).expect("it is there").to_str().expect("text").to_owned())
        };
        assert_eq!(marked(true), ["5", "collective; fwd=stale; fwd-status=504; ttl=-5; detail=deadline_exceeded"]);
        assert_eq!(marked(false), ["5", "collective; hit; ttl=-5; detail=deadline_exceeded"]);
    }

    #[test]
    fn a_lifetime_goes_on_in_memory() {
        let facts = |seconds: Option<u64>| Facts {
            etag: crate::resources::keys::ETag::of(b""),
            length: 0,
            ttl: seconds.map(Duration::from_secs),
        };
        let aged = |ttl, age| Facts::recall(facts(ttl).keep(), Duration::from_secs(age)).map(|facts| facts.ttl);
        assert_eq!(aged(None, 100), Some(None));
        assert_eq!(aged(Some(10), 4), Some(Some(Duration::from_secs(6))));
        assert_eq!(aged(Some(10), 11), None);
    }

    #[test]
    fn a_lease_goes_on_in_memory_and_ends_there() {
        let holder = Holder { owner: "a".to_owned(), remaining: Duration::from_secs(10) };
        let aged = |age| Holder::recall(holder.keep(), Duration::from_secs(age)).map(|holder| holder.remaining);
        assert_eq!(aged(4), Some(Duration::from_secs(6)));
        assert_eq!(aged(10), None, "it is over");
    }

    #[test]
    fn no_two_calls_are_joined_to_the_same() {
        assert_ne!(joined(&[b"ab", b"c"]), joined(&[b"a", b"bc"]));
        assert_ne!(joined(&[b"a", b""]), joined(&[b"a"]));
    }
}
