//! Keeping a connection alive that carries error lines with bytes the driver cannot read.
//!
//! Redis quotes what a caller sent in some of its errors, byte for byte, and scripts may return any bytes as an error or a status;
//! the driver gives the whole connection up over a line that is not UTF-8. On connections that carry such calls, bytes of error
//! and status lines that are no UTF-8 become `?` on their way in. Data is never touched: it travels in bulk strings, which are
//! skipped by their length. Limits: RESP2; a letter that arrives in two pieces becomes `?` as well.

/// Follows the frames of one connection, from a frame's beginning on.
#[derive(Debug, Default)]
pub(super) struct Sanitizer {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// The next byte is a type.
    #[default]
    Type,
    /// Within an error or status line.
    Text,
    /// Within the line of a number or of an array's length.
    Plain,
    /// Within the line that gives a bulk string's length.
    Length { so_far: usize, null: bool },
    /// Within a bulk string and its line end: this many bytes.
    Bulk(usize),
}

impl Sanitizer {
    /// Takes the bytes that just arrived, and mends them in place.
    pub(super) fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = &mut bytes[taken..];
        }
    }

    /// Looks at the beginning of `bytes`; how many are done with.
    fn step(&mut self, bytes: &mut [u8]) -> usize {
        let first = bytes[0];
        match &mut self.state {
            State::Bulk(left) => {
                let skipped = bytes.len().min(*left);
                *left -= skipped;
                if *left == 0 {
                    self.state = State::Type;
                }
                return skipped;
            }
            State::Text => {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let text = end.unwrap_or(bytes.len());
                mend(&mut bytes[..text]);
                if end.is_none() {
                    return text;
                }
                self.state = State::Type;
                return text + 1;
            }
            State::Type => {
                self.state = match first {
                    b'-' | b'+' => State::Text,
                    b'$' => State::Length { so_far: 0, null: false },
                    _ => State::Plain,
                };
            }
            State::Length { so_far, null } => match first {
                // The line end's own two bytes belong to the string.
                b'\n' => self.state = if *null { State::Type } else { State::Bulk(*so_far + 2) },
                b'-' => *null = true,
                digit if digit.is_ascii_digit() => {
                    *so_far = so_far.saturating_mul(10).saturating_add(usize::from(digit - b'0'));
                }
                _ => {}
            },
            State::Plain if first == b'\n' => self.state = State::Type,
            State::Plain => {}
        }
        1
    }
}

/// Replaces what is no UTF-8, byte for byte: lengths stay.
fn mend(text: &mut [u8]) {
    let mut from = 0;
    while let Err(error) = str::from_utf8(&text[from..]) {
        let bad = from + error.valid_up_to();
        let end = error.error_len().map_or(text.len(), |length| bad + length);
        text[bad..end].fill(b'?');
        from = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(bytes: &[u8], cut: usize) -> Vec<u8> {
        let (mut sanitizer, mut bytes) = (Sanitizer::default(), bytes.to_vec());
        bytes.chunks_mut(cut).for_each(|chunk| sanitizer.pass(chunk));
        bytes
    }

    #[test]
    fn only_error_and_status_lines_are_mended_however_they_arrive() {
        let frames =
            b"-ERR unknown '\xff\xc3'\r\n$4\r\n\xff\r\n-\r\n*2\r\n:1\r\n$-1\r\n+O\xfeK\r\n$0\r\n\r\n-E\x80\r\n";
        let expected = b"-ERR unknown '??'\r\n$4\r\n\xff\r\n-\r\n*2\r\n:1\r\n$-1\r\n+O?K\r\n$0\r\n\r\n-E?\r\n";
        for cut in 1..=frames.len() {
            assert_eq!(mended(frames, cut), expected, "in pieces of {cut}");
        }
    }

    #[test]
    fn letters_beyond_ascii_that_arrive_whole_are_kept() {
        let frame = "-ERR unknown 'ü\u{1f600}'\r\n".as_bytes();
        assert_eq!(mended(frame, frame.len()), frame);
        assert!(mended(frame, 1).is_ascii());
    }
}
