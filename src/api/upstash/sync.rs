//! The sync token: a new opaque value on each successful answer, which SDKs send back and compare for inequality only.
//!
//! One Redis needs no token to give read-your-writes; what comes in is ignored. Limits: unique within this process's life and,
//! by its random part, between processes.

use std::cell::Cell;

use actix_web::http::header::{HeaderName, HeaderValue};

/// The header, in and out.
pub const TOKEN: HeaderName = HeaderName::from_static("upstash-sync-token");

/// A token no answer has had.
pub fn fresh() -> HeaderValue {
    thread_local! {
        static NEXT: Cell<u64> = Cell::new(fastrand::u64(..) & !0xffff_ffff);
    }
    let token = NEXT.get();
    NEXT.set(token.wrapping_add(1));
    HeaderValue::from(token)
}
