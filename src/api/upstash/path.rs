//! Path style of the command dialect: `POST /set/key?EX=100` with body `V` is `SET key V EX 100`.
//!
//! Works on the raw path and query text: a router that decodes first cannot tell `%2F` from `/` any more. Order of the
//! arguments: path segments, then the body if it has any bytes, then each query parameter as name and value.
//!
//! - *Slashes.* Leading and trailing ones are dropped, since SDKs join base URLs carelessly (`//pipeline`). Between two
//!   segments an empty one is an empty argument: dropping it would silently shift the ones behind it. So `/set/k/`
//!   is `SET k`; an empty *last* argument needs `POST /`.
//! - *Plus.* In the path it is a plus (`/xrange/s/-/+`). In the query it is a space, `%2B` a plus: that is how every
//!   form library writes queries. The token alone keeps its plus, because a token never holds a space.
//! - *Query.* `?NX` gives one argument, `?EX=` gives `EX` and an empty one, `&&` gives nothing. `_token` is an
//!   argument nowhere, even when its name is spelled with percent signs.
//!
//! Limits: [`Limits::argument_bytes`] holds for each argument, the body included; the head is bounded by the HTTP layer.

#[cfg(test)]
mod tests;

use super::arguments::{ArgumentError, Limits, Sink};

/// The query parameter that carries credentials.
const TOKEN: &[u8] = b"_token";

/// What a path of the dialect asks for. The text inside is raw, without the slashes around it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/`: one command in the body.
    Root,
    /// `/pipeline`
    Pipeline,
    /// `/multi-exec`
    MultiExec,
    /// `/subscribe/…`: everything behind the first segment, empty if there is nothing. See [`channel`].
    Subscribe(&'a str),
    /// `/psubscribe/…`: likewise, a pattern.
    PatternSubscribe(&'a str),
    /// `/monitor`
    Monitor,
    /// Anything else: the whole path is the command. See [`parse_path`].
    Command(&'a str),
}

/// Tells the routes apart. Names are matched in any case and only as they are written, not percent-encoded. A name that
/// takes no segments is that route only without any: `/pipeline/x` is the command `pipeline`, which Redis will refuse.
pub fn route(path: &str) -> Route<'_> {
    let path = path.trim_matches('/');
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let is = |name: &str| first.eq_ignore_ascii_case(name);
    let alone = first.len() == path.len();
    if path.is_empty() {
        Route::Root
    } else if alone && is("pipeline") {
        Route::Pipeline
    } else if alone && is("multi-exec") {
        Route::MultiExec
    } else if alone && is("monitor") {
        Route::Monitor
    } else if is("subscribe") {
        Route::Subscribe(rest)
    } else if is("psubscribe") {
        Route::PatternSubscribe(rest)
    } else {
        Route::Command(path)
    }
}

/// Gives the sink the arguments of a [`Route::Command`].
///
/// `query` is what follows the `?`. `body` is one opaque argument whatever its media type, and none if it is empty;
/// a method without a body passes an empty one.
pub fn parse_path<S: Sink + ?Sized>(
    command: &str,
    query: Option<&str>,
    body: &[u8],
    limits: &Limits,
    sink: &mut S,
) -> Result<(), ArgumentError> {
    let mut push = |bytes: &[u8]| limits.check_argument(bytes).map(|()| sink.argument(bytes));
    let mut scratch = Vec::new();
    for segment in command.split('/') {
        push(decode(segment, Place::Path, &mut scratch)?)?;
    }
    if !body.is_empty() {
        push(body)?;
    }
    for (name, value) in parameters(query.unwrap_or_default()) {
        let name = decode(name, Place::Query, &mut scratch)?;
        if name == TOKEN {
            continue;
        }
        push(name)?;
        if let Some(value) = value {
            push(decode(value, Place::Query, &mut scratch)?)?;
        }
    }
    Ok(())
}

/// The channel or pattern of a subscribe route: all of it, slashes included, decoded once.
///
/// SDKs ask for one channel per request and do not encode its slashes, so `/subscribe/user/1` means the channel
/// `user/1`. Reading it as two channels would break them.
pub fn channel(raw: &str) -> Result<Vec<u8>, ArgumentError> {
    decode(raw, Place::Path, &mut Vec::new()).map(<[u8]>::to_vec)
}

/// The first `_token` of a query, if there is one with a value. Unreadable percent sequences make it absent:
/// whoever sent it is answered as any caller without a token.
pub fn token(query: &str) -> Option<Vec<u8>> {
    let mut scratch = Vec::new();
    parameters(query).find_map(|(name, value)| {
        let is_token = decode(name, Place::Query, &mut scratch).is_ok_and(|name| name == TOKEN);
        let value = value.filter(|_| is_token)?;
        let value = decode(value, Place::Path, &mut scratch).ok()?;
        Some(value.to_vec())
    })
}

/// Where a text stands decides what its plus means.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Place {
    Path,
    Query,
}

fn parameters(query: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    query.split('&').filter(|parameter| !parameter.is_empty()).map(|parameter| match parameter.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (parameter, None),
    })
}

/// Decodes into `scratch`, or returns the text itself when there is nothing to decode.
fn decode<'t>(text: &'t str, place: Place, scratch: &'t mut Vec<u8>) -> Result<&'t [u8], ArgumentError> {
    let plus_is_space = place == Place::Query;
    let is_code = |&byte: &u8| byte == b'%' || (plus_is_space && byte == b'+');
    if !text.as_bytes().iter().any(is_code) {
        return Ok(text.as_bytes());
    }
    scratch.clear();
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        scratch.push(match byte {
            b'%' => {
                let decoded = hex_pair(&text.as_bytes()[at + 1..]);
                bytes.nth(1);
                decoded.ok_or_else(|| malformed(&text[at..], place))?
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    Ok(scratch)
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let digit = |index: usize| char::from(*bytes.get(index)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

fn malformed(from: &str, place: Place) -> ArgumentError {
    let sequence: String = from.chars().take(3).collect();
    let place = match place {
        Place::Path => "path",
        Place::Query => "query",
    };
    ArgumentError::bad_request(format!(
        "ERR malformed percent-encoding '{sequence}' in the {place}: write a literal percent sign as '%25'"
    ))
}
