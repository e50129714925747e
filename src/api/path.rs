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

/// The raw path after `prefix`, or the empty text if the path is not below it.
pub fn after<'a>(request: &'a HttpRequest, prefix: &str) -> &'a str {
    request.uri().path().strip_prefix(prefix).unwrap_or_default()
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
    fn percent_sequences_are_decoded_once() {
        assert_eq!(decode("a%2Fb%252F+").expect("valid").as_ref(), b"a/b%2F+");
        assert_eq!(decode("%00%ff").expect("valid").as_ref(), &[0, 255]);
        assert_eq!(decode("a%zz"), Err(BadPercent { offset: 1 }));
        assert_eq!(decode("ab%4"), Err(BadPercent { offset: 2 }));
    }
}
