//! `Collective-Fence: <lease>;<token>`: a write under a lease, refused once a newer holder of it is known.
//!
//! The lease's name is percent-decoded once, as it is in a path; the token is the number its acquisition answered. Limits: on writes
//! of keys and counters alone; everywhere else the field is refused (`mod.rs`).

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;

use super::super::{caller, path};
use crate::api::problem::{Code, Problem};
use crate::resources::Fence;

/// The field.
pub const HEADER: HeaderName = HeaderName::from_static("collective-fence");
/// The field as people write it.
pub const SPELLED: &str = "Collective-Fence";

const RULE: &str = "Collective-Fence must be <lease>;<token>: the lease's name, percent-encoded where it is not plain, a semicolon, \
                    and the token as digits";

/// The fence of this request, if it brings one.
pub fn of(request: &HttpRequest) -> Result<Option<Fence>, Problem> {
    let Some(value) = caller::single(request, &HEADER, SPELLED)? else { return Ok(None) };
    let fence = value.to_str().ok().and_then(read);
    fence.map(Some).ok_or_else(|| Problem::new(Code::InvalidRequest, RULE))
}

fn read(text: &str) -> Option<Fence> {
    let (lease, token) = text.rsplit_once(';')?;
    let (lease, token) = (path::decode(lease.trim()).ok()?, token.trim());
    let is_number = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    let token = token.parse().ok().filter(|_| is_number)?;
    (!lease.is_empty()).then(|| Fence::new(&lease, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_a_lease_and_a_token() {
        for (text, lease, token) in [
            ("jobs;7", &b"jobs"[..], 7),
            ("jobs; 007", b"jobs", 7),
            ("a/b%3Bc;18446744073709551615", b"a/b;c", u64::MAX),
            ("%ff;0", b"\xff", 0),
        ] {
            assert_eq!(read(text), Some(Fence::new(lease, token)), "{text}");
        }
        for bad in ["", "jobs", "jobs;", ";7", "jobs;+7", "jobs;-1", "jobs;1.5", "j%zz;7", "jobs;18446744073709551616"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
