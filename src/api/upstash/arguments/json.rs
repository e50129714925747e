//! A cursor over JSON text: whole values out, byte offsets in every complaint.
//!
//! The grammar is RFC 8259, with the three leniencies named in the parent module. Numbers are checked, never computed.
//! A nested array or object is read to its end, since its length decides where the next argument starts, but only its
//! opening bracket is reported: the dialect has no use for the content.
//!
//! Limits: no recursion; `skip_nested` holds one byte per open bracket.

use crate::api::upstash::scan;

/// What is wrong with the text, and where.
#[derive(Debug)]
pub(super) struct Syntax {
    /// Offset into the body, in bytes.
    pub(super) at: usize,
    pub(super) what: &'static str,
}

impl Syntax {
    fn new(at: usize, what: &'static str) -> Self {
        Self { at, what }
    }

    pub(super) fn ends_early(at: usize) -> Self {
        Self::new(at, "the text ends before the array is closed")
    }
}

/// One complete JSON value.
pub(super) enum Value<'a> {
    /// A decoded string, or the literal text of a number or boolean.
    Scalar(&'a [u8]),
    Null,
    Array,
    Object,
}

pub(super) struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    /// Offset of the next byte that was not read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn at_end(&self) -> bool {
        self.at == self.body.len()
    }

    /// Takes a `[` with the space before it; takes only the space if another byte follows.
    pub(super) fn open_array(&mut self) -> bool {
        self.skip_space();
        self.take(b'[')
    }

    /// Moves to the next element of the open array, or past its `]` and answers false.
    pub(super) fn next_element(&mut self, first: bool) -> Result<bool, Syntax> {
        self.skip_space();
        if self.take(b']') {
            return Ok(false);
        }
        if self.at_end() {
            return Err(Syntax::ends_early(self.at));
        }
        if !first {
            self.expect(b',', "expected ',' or ']' after an element")?;
            self.skip_space();
        }
        Ok(true)
    }

    /// Reads one value of any kind to its end. `scratch` is used, and overwritten, only by strings with escapes.
    pub(super) fn value<'t>(&mut self, scratch: &'t mut Vec<u8>) -> Result<Value<'t>, Syntax>
    where
        'a: 't,
    {
        match self.peek() {
            Some(b'[') => self.skip_nested(scratch).map(|()| Value::Array),
            Some(b'{') => self.skip_nested(scratch).map(|()| Value::Object),
            _ => self.scalar(scratch),
        }
    }

    /// Nothing but space may follow.
    pub(super) fn end(&mut self) -> Result<(), Syntax> {
        self.skip_space();
        if self.at_end() {
            return Ok(());
        }
        Err(self.unexpected("expected nothing after the array"))
    }

    fn scalar<'t>(&mut self, scratch: &'t mut Vec<u8>) -> Result<Value<'t>, Syntax>
    where
        'a: 't,
    {
        match self.peek() {
            Some(b'"') => self.string(scratch).map(Value::Scalar),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Scalar),
            Some(b't') => self.word(b"true").map(Value::Scalar),
            Some(b'f') => self.word(b"false").map(Value::Scalar),
            Some(b'n') => self.word(b"null").map(|_| Value::Null),
            Some(_) => Err(self.unexpected("expected a value")),
            None => Err(Syntax::ends_early(self.at)),
        }
    }

    fn word(&mut self, word: &'static [u8]) -> Result<&'a [u8], Syntax> {
        if !self.body[self.at..].starts_with(word) {
            return Err(self.unexpected("expected a value"));
        }
        self.at += word.len();
        Ok(word)
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`, returned as it stands.
    fn number(&mut self) -> Result<&'a [u8], Syntax> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        Ok(&self.body[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Syntax> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.unexpected("expected a digit"));
        }
        Ok(())
    }

    /// The fast path of the whole dialect: without an escape the string is a slice of the body.
    fn string<'t>(&mut self, scratch: &'t mut Vec<u8>) -> Result<&'t [u8], Syntax>
    where
        'a: 't,
    {
        let opening = self.at;
        self.at += 1;
        let plain = self.plain_run();
        if self.take(b'"') {
            return Ok(plain);
        }
        scratch.clear();
        scratch.extend_from_slice(plain);
        while self.take(b'\\') {
            self.escape(scratch)?;
            let plain = self.plain_run();
            scratch.extend_from_slice(plain);
        }
        self.expect(b'"', "").map_err(|_| Syntax::new(opening, "the string that starts here is not closed"))?;
        Ok(scratch)
    }

    /// Takes everything before the next `"` or `\`.
    fn plain_run(&mut self) -> &'a [u8] {
        let rest = &self.body[self.at..];
        let run = &rest[..scan::until_quote_or_backslash(rest)];
        self.at += run.len();
        run
    }

    /// Decodes one escape, its backslash already taken.
    fn escape(&mut self, scratch: &mut Vec<u8>) -> Result<(), Syntax> {
        let start = self.at - 1;
        let kind = self.peek();
        self.at += usize::from(kind.is_some());
        scratch.push(match kind {
            Some(same @ (b'"' | b'\\' | b'/')) => same,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode_escape(start, scratch),
            _ => return Err(Syntax::new(start, "unknown escape in a string")),
        });
        Ok(())
    }

    fn unicode_escape(&mut self, start: usize, scratch: &mut Vec<u8>) -> Result<(), Syntax> {
        let unit = self.hex_unit().ok_or_else(|| Syntax::new(start, "expected four hex digits after \\u"))?;
        let character = match unit {
            0xD800..=0xDBFF => self
                .low_surrogate()
                .map(|low| 0x1_0000 + ((u32::from(unit) - 0xD800) << 10) + (u32::from(low) - 0xDC00)),
            // A low surrogate on its own has no character either; `from_u32` refuses it.
            _ => Some(u32::from(unit)),
        };
        let character = character.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
        scratch.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// Takes `\uDC00`…`\uDFFF` if exactly that follows; else takes nothing, so that it is decoded on its own.
    fn low_surrogate(&mut self) -> Option<u16> {
        let before = self.at;
        let low = (self.take(b'\\') && self.take(b'u'))
            .then(|| self.hex_unit())
            .flatten()
            .filter(|unit| (0xDC00..=0xDFFF).contains(unit));
        if low.is_none() {
            self.at = before;
        }
        low
    }

    fn hex_unit(&mut self) -> Option<u16> {
        let digits = self.body.get(self.at..self.at + 4)?;
        let mut unit = 0;
        for &digit in digits {
            let value = char::from(digit).to_digit(16)?;
            unit = unit << 4 | value as u16;
        }
        self.at += 4;
        Some(unit)
    }

    /// Reads an array or object to its end and checks it on the way. A stack of the brackets still to come instead of
    /// recursion: the depth is the caller's choice.
    fn skip_nested(&mut self, scratch: &mut Vec<u8>) -> Result<(), Syntax> {
        let mut closers = Vec::new();
        self.open_nested(&mut closers);
        let mut first = true;
        while let Some(&closer) = closers.last() {
            self.skip_space();
            if self.take(closer) {
                closers.pop();
                first = false;
                continue;
            }
            self.separator(first)?;
            if closer == b'}' {
                self.member_name(scratch)?;
            }
            first = self.open_nested(&mut closers);
            if !first {
                self.scalar(scratch)?;
            }
        }
        Ok(())
    }

    fn open_nested(&mut self, closers: &mut Vec<u8>) -> bool {
        let closer = match self.peek() {
            Some(b'[') => b']',
            Some(b'{') => b'}',
            _ => return false,
        };
        self.at += 1;
        closers.push(closer);
        true
    }

    fn separator(&mut self, first: bool) -> Result<(), Syntax> {
        if self.at_end() {
            return Err(Syntax::ends_early(self.at));
        }
        if !first {
            self.expect(b',', "expected ',' or the closing bracket")?;
            self.skip_space();
        }
        Ok(())
    }

    fn member_name(&mut self, scratch: &mut Vec<u8>) -> Result<(), Syntax> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("expected a member name in quotes"));
        }
        self.string(scratch)?;
        self.skip_space();
        self.expect(b':', "expected ':' after a member name")?;
        self.skip_space();
        Ok(())
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Syntax> {
        if self.take(byte) {
            return Ok(());
        }
        Err(self.unexpected(what))
    }

    fn unexpected(&self, what: &'static str) -> Syntax {
        Syntax::new(self.at, what)
    }

    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }
}
