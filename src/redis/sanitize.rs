//! Keeping a connection alive that carries replies the driver cannot read.
//!
//! Redis quotes what a caller sent in some of its errors, byte for byte, and scripts may return any bytes as an error or a status;
//! the driver gives the whole connection up over a line that is not UTF-8, and over arrays nested more than a hundred levels deep, which
//! a script makes just as easily. On connections that carry such calls, bytes of error and status lines that are no UTF-8 become
//! `?` on their way in, and an array that lies too deep becomes an error line of the same length: its first byte and all that is
//! in it are written over, so that the frame around it still ends where it ended. Whoever tells the reply refuses one that is
//! nested so deep ([`DEEPEST_REPLY`]), so nobody reads such a line. Data is never touched otherwise: it travels in bulk strings,
//! which are skipped by their length. Limits: RESP2; a letter that arrives in two pieces becomes `?` as well.

/// Most levels of arrays in a reply that is told to a caller.
pub const DEEPEST_REPLY: usize = 95;

/// Most levels that reach the driver, which reads 100. Two more than are told, so that a reply that was cut is seen to be too deep also
/// where it is an item of a transaction's reply and one level is the transaction's.
const DEEPEST_FRAME: usize = DEEPEST_REPLY + 2;

/// What an array that lies too deep is written over with, from its second byte on.
const FILLER: u8 = b'.';

/// Follows the frames of one connection, from a frame's beginning on.
#[derive(Debug, Default)]
pub(super) struct Sanitizer {
    state: State,
    nest: Nest,
}

#[derive(Debug, Default)]
enum State {
    /// The next byte is a type.
    #[default]
    Type,
    /// Within an error or status line.
    Text,
    /// Within the line of a number.
    Plain,
    /// Within the line that gives the length of a bulk string or an array.
    Length { of: Kind, so_far: usize, null: bool },
    /// Within a bulk string and its line end: this many bytes.
    Bulk(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    String,
    Array,
}

/// The arrays around the next frame.
#[derive(Debug, Default)]
struct Nest {
    /// Elements still to come, the outermost array first.
    open: Vec<usize>,
    /// Elements still to come of an array that lies too deep, those of the arrays in it included.
    cut: usize,
}

impl Nest {
    /// A frame has ended that holds this many others.
    fn ended(&mut self, elements: usize) {
        if self.cut > 0 {
            self.cut = (self.cut - 1).saturating_add(elements);
            if self.cut == 0 {
                self.close();
            }
        } else if elements > 0 {
            self.open.push(elements);
        } else {
            self.close();
        }
    }

    /// A whole element has ended, and with it every array whose last one it was.
    fn close(&mut self) {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                break;
            }
            self.open.pop();
        }
    }

    /// Whether an array that begins now lies too deep.
    fn is_full(&self) -> bool {
        self.open.len() >= DEEPEST_FRAME
    }

    /// Whether what follows is being written over.
    fn is_cutting(&self) -> bool {
        self.cut > 0
    }

    /// Whether a frame with this many elements is the last of what is written over: its line end is the error line's.
    fn is_last(&self, elements: usize) -> bool {
        self.cut == 1 && elements == 0
    }
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
        match self.state {
            State::Bulk(left) => self.bulk(bytes, left),
            State::Text => self.text(bytes),
            State::Type => {
                self.begin(&mut bytes[0]);
                1
            }
            State::Plain | State::Length { .. } => {
                self.line(&mut bytes[0]);
                1
            }
        }
    }

    /// The type of a frame. An array that lies too deep begins an error line here.
    fn begin(&mut self, byte: &mut u8) {
        let length = |of| State::Length { of, so_far: 0, null: false };
        self.state = match *byte {
            b'-' | b'+' => State::Text,
            b'$' => length(Kind::String),
            b'*' => length(Kind::Array),
            _ => State::Plain,
        };
        if self.nest.is_cutting() {
            *byte = FILLER;
        } else if *byte == b'*' && self.nest.is_full() {
            *byte = b'-';
            self.nest.cut = 1;
        }
    }

    /// One byte of a line that is a number.
    fn line(&mut self, byte: &mut u8) {
        let seen = *byte;
        let elements = match &mut self.state {
            State::Length { of, so_far, null } => {
                match seen {
                    b'-' => *null = true,
                    b'0'..=b'9' => *so_far = so_far.saturating_mul(10).saturating_add(usize::from(seen - b'0')),
                    _ => {}
                }
                match (*of, *null) {
                    (_, true) => Some(0),
                    (Kind::Array, false) => Some(*so_far),
                    // The string's bytes are still to come, and the two of its line end with them.
                    (Kind::String, false) => None,
                }
            }
            _ => Some(0),
        };
        let keeps_its_end = elements.is_some_and(|elements| self.nest.is_last(elements)) && is_line_end(seen);
        if self.nest.is_cutting() && !keeps_its_end {
            *byte = FILLER;
        }
        if seen == b'\n' {
            match (elements, &self.state) {
                (None, State::Length { so_far, .. }) => self.state = State::Bulk(so_far.saturating_add(2)),
                (elements, _) => self.end(elements.unwrap_or(0)),
            }
        }
    }

    /// A piece of an error or status line.
    fn text(&mut self, bytes: &mut [u8]) -> usize {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let text = end.unwrap_or(bytes.len());
        if self.nest.is_cutting() {
            let last = self.nest.is_last(0);
            let written_over = bytes[..text + usize::from(end.is_some())].iter_mut();
            written_over.filter(|byte| !(last && is_line_end(**byte))).for_each(|byte| *byte = FILLER);
        } else {
            mend(&mut bytes[..text]);
        }
        if end.is_none() {
            return text;
        }
        self.end(0);
        text + 1
    }

    /// A piece of a bulk string and its line end, of which `left` bytes are to come.
    fn bulk(&mut self, bytes: &mut [u8], left: usize) -> usize {
        let taken = bytes.len().min(left);
        if self.nest.is_cutting() {
            let end = if self.nest.is_last(0) { left.saturating_sub(2) } else { left };
            bytes[..taken.min(end)].fill(FILLER);
        }
        if taken == left {
            self.end(0);
        } else {
            self.state = State::Bulk(left - taken);
        }
        taken
    }

    fn end(&mut self, elements: usize) {
        self.nest.ended(elements);
        self.state = State::Type;
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
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
    use proptest::prelude::*;
    use redis_rs::{Value, parse_redis_value};

    use super::*;

    fn mended(bytes: &[u8], cut: usize) -> Vec<u8> {
        let (mut sanitizer, mut bytes) = (Sanitizer::default(), bytes.to_vec());
        bytes.chunks_mut(cut).for_each(|chunk| sanitizer.pass(chunk));
        bytes
    }

    /// An array in an array in an array, so many levels, around `inner`.
    fn nested(levels: usize, inner: &[u8]) -> Vec<u8> {
        [b"*1\r\n".repeat(levels).as_slice(), inner].concat()
    }

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            _ => 0,
        }
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

    #[test]
    fn an_array_that_lies_too_deep_becomes_an_error_line_of_its_length() {
        for inner in ["*0\r\n", "*-1\r\n", "*2\r\n:1\r\n$3\r\na\r\n\r\n", "*1\r\n*2\r\n-E\r\n*1\r\n$-1\r\n"] {
            let frame = nested(DEEPEST_FRAME, inner.as_bytes());
            for cut in 1..=frame.len() {
                let mended = mended(&frame, cut);
                let (kept, line) = mended.split_at(4 * DEEPEST_FRAME);
                assert_eq!(kept, nested(DEEPEST_FRAME, b""), "in pieces of {cut}");
                assert_eq!((line[0], line.len()), (b'-', inner.len()));
                assert!(
                    line.ends_with(b"\r\n")
                        && line[1..line.len() - 2].iter().all(|byte| *byte == FILLER || byte.is_ascii_digit())
                );
                assert_eq!(parse_redis_value(&mended).map(|value| depth(&value)), Ok(DEEPEST_FRAME), "{inner}");
            }
        }
    }

    #[test]
    fn what_the_driver_reads_is_left_alone_and_the_next_frame_is_a_frame() {
        let deep = nested(DEEPEST_FRAME, b":1\r\n");
        let frames =
            [deep.as_slice(), &nested(150, b"$1\r\nx\r\n"), b"+OK\r\n", &nested(1000, b"*0\r\n"), &deep].concat();
        let mended = mended(&frames, 7);
        assert!(mended.starts_with(&deep) && mended.ends_with(&deep));
        assert!(mended.windows(5).any(|window| window == b"+OK\r\n"));
    }

    /// A frame of random shape: depth comes from runs of arrays of one.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
            Just(b"$-1\r\n".to_vec()),
            Just(b"*-1\r\n".to_vec()),
            Just(b"*0\r\n".to_vec()),
            "[a-z ]{0,9}".prop_map(|text| format!("-ERR {text}\r\n").into_bytes()),
            "[a-z ]{0,9}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
            prop::collection::vec(any::<u8>(), 0..12).prop_map(|data| [
                format!("${}\r\n", data.len()).as_bytes(),
                &data,
                b"\r\n"
            ]
            .concat()),
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            (prop_oneof![Just(1_usize), 30..120_usize], prop::collection::vec(inner, 0..4)).prop_map(
                |(levels, items)| {
                    let head = format!("*{}\r\n", items.len());
                    nested(levels - 1, &[head.into_bytes(), items.concat()].concat())
                },
            )
        })
    }

    proptest! {
        #[test]
        fn every_frame_can_be_read_however_deep_it_is_and_however_it_arrives(
            frames in prop::collection::vec(frame(), 1..4),
            cuts in prop::collection::vec(1_usize..200, 1..20),
        ) {
            let (mut sanitizer, mut bytes, mut at) = (Sanitizer::default(), frames.concat(), 0);
            for cut in cuts.iter().cycle() {
                if at == bytes.len() {
                    break;
                }
                let end = bytes.len().min(at + cut);
                sanitizer.pass(&mut bytes[at..end]);
                at = end;
            }
            let mut rest = bytes.as_slice();
            for frame in &frames {
                let (mended, behind) = rest.split_at(frame.len());
                let read = parse_redis_value(mended);
                prop_assert!(read.is_ok(), "{:?}", read);
                let levels = read.map_or(0, |value| depth(&value));
                prop_assert!(levels <= DEEPEST_FRAME);
                prop_assert!(levels == DEEPEST_FRAME || mended == frame.as_slice(), "what is not too deep is left alone");
                rest = behind;
            }
        }
    }
}
