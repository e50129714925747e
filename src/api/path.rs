//! Names in paths: taken from the raw path and percent-decoded exactly once, by us.
//!
//! The framework's router re-quotes path segments and loses bytes on the way; a key may be any bytes, slashes included. Limits:
//! dot segments are plain bytes here, but many clients resolve them before sending.

use std::borrow::Cow;

use actix_web::HttpRequest;

/// A percent sign that is not followed by two hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPercent {
    /// Byte offset of the sign in the raw text.
    pub offset: usize,
}

/// The raw path after `prefix`, below which the router has found it.
///
/// Segments are counted and not compared: the router takes `/%761/keys/a` for `/v1/keys/a`, as it should, and whoever compared
/// the raw text would find no name in it and read the empty one.
pub fn after<'a>(request: &'a HttpRequest, prefix: &str) -> &'a str {
    below(request.uri().path(), prefix)
}

fn below<'a>(path: &'a str, prefix: &str) -> &'a str {
    let segments = prefix.matches('/').count();
    path.splitn(segments + 1, '/').nth(segments).unwrap_or_default()
}

/// Decodes `%XX` once; everything else, `+` included, stands for itself.
pub fn decode(raw: &str) -> Result<Cow<'_, [u8]>, BadPercent> {
    let bytes = raw.as_bytes();
    let Some(first) = bytes.iter().position(|byte| *byte == b'%') else { return Ok(Cow::Borrowed(bytes)) };
    let mut decoded = Vec::with_capacity(bytes.len());
    decoded.extend_from_slice(&bytes[..first]);
    let mut rest = &bytes[first..];
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            decoded.push(byte);
            rest = tail;
            continue;
        }
        match tail {
            [high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                decoded.push(hex(*high) << 4 | hex(*low));
                rest = after;
            }
            _ => return Err(BadPercent { offset: bytes.len() - rest.len() }),
        }
    }
    Ok(Cow::Owned(decoded))
}

/// The value of a hexadecimal digit; callers have checked that it is one.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_below_a_prefix_however_it_is_spelled() {
        for path in ["/v1/keys/a//b/", "/%76%31/keys/a//b/", "/v1/%6beys/a//b/"] {
            assert_eq!(below(path, "/v1/keys/"), "a//b/", "{path}");
        }
        assert_eq!(below("/v1/keys/", "/v1/keys/"), "");
        assert_eq!(below("/v1/keys/../x", "/v1/keys/"), "../x");
    }

    #[test]
    fn percent_sequences_are_decoded_once() {
        assert_eq!(decode("a%2Fb%252F+").expect("valid").as_ref(), b"a/b%2F+");
        assert_eq!(decode("%00%ff").expect("valid").as_ref(), &[0, 255]);
        assert_eq!(decode("a%zz"), Err(BadPercent { offset: 1 }));
        assert_eq!(decode("ab%4"), Err(BadPercent { offset: 2 }));
    }
}
