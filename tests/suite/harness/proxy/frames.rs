//! Cutting byte streams into frames and deciding what becomes of each.
//!
//! What: [`Requests`] turns what a client sent into [`Parcel`]s, [`Replies`] what Redis sent.
//! Neighbouring frames with the same fate travel in one parcel, so a pipeline of a hundred costs
//! one write, not a hundred.
//!
//! Why so: a request is forwarded when it is whole, because its name decides; a reply that will
//! pass is forwarded as its bytes come, because bytes that arrive are progress, which the product
//! measures.

use super::super::resp::{Scanner, Step, arguments};
use super::connection::Link;
use super::traffic::Request;

/// Bytes that travel together.
#[derive(Default)]
pub(super) struct Parcel {
    pub bytes: Vec<u8>,
    /// The requests in it; none on the way back.
    pub requests: Vec<Request>,
    /// Whether a hold may keep it.
    pub concerned: bool,
    /// The connection ends after these bytes.
    pub then_close: bool,
}

/// Appends to the last parcel if it has the same properties.
fn append<'a>(parcels: &'a mut Vec<Parcel>, bytes: &[u8], concerned: bool) -> &'a mut Parcel {
    if parcels.last().is_none_or(|last| last.concerned != concerned) {
        parcels.push(Parcel { concerned, ..Parcel::default() });
    }
    let last = parcels.last_mut().expect("just pushed");
    last.bytes.extend_from_slice(bytes);
    last
}

fn close() -> Parcel {
    Parcel { then_close: true, ..Parcel::default() }
}

/// The way to Redis.
#[derive(Default)]
pub(super) struct Requests {
    scanner: Scanner,
    unfinished: Vec<u8>,
    opaque: bool,
}

impl Requests {
    pub fn cut(&mut self, link: &Link, mut bytes: &[u8]) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        while !bytes.is_empty() && !self.opaque {
            match self.scanner.advance(bytes) {
                Step::Whole(used) => {
                    self.unfinished.extend_from_slice(&bytes[..used]);
                    bytes = &bytes[used..];
                    let frame = std::mem::take(&mut self.unfinished);
                    if self.lost(link, &mut parcels, &frame) {
                        return parcels;
                    }
                }
                Step::Partial => {
                    self.unfinished.extend_from_slice(bytes);
                    return parcels;
                }
                Step::NotResp => self.opaque = true,
            }
        }
        if self.opaque {
            let before = std::mem::take(&mut self.unfinished);
            append(&mut parcels, &before, false).bytes.extend_from_slice(bytes);
        }
        parcels
    }

    /// Whether the connection ends instead of forwarding this request.
    fn lost(&self, link: &Link, parcels: &mut Vec<Parcel>, frame: &[u8]) -> bool {
        let words = arguments(frame);
        if words.is_empty() {
            // An empty line or array: Redis ignores it and answers nothing.
            append(parcels, frame, false);
            return false;
        }
        let request = Request::new(&words);
        let (concerned, loss) = link.faults(|f| (f.filter.concerns(&request), f.request_loss));
        if concerned && link.strikes(loss) {
            link.injected(|injected| &mut injected.requests_lost);
            parcels.push(close());
            return true;
        }
        append(parcels, frame, concerned).requests.push(request);
        false
    }
}

/// What becomes of a reply, decided when its first byte comes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    Lose,
    Half,
}

/// The way back.
pub(super) struct Replies {
    scanner: Scanner,
    fate: Fate,
    concerned: bool,
    /// The reply so far, if it will not simply pass.
    kept: Vec<u8>,
    opaque: bool,
}

impl Replies {
    pub fn new() -> Replies {
        Replies { scanner: Scanner::default(), fate: Fate::Pass, concerned: false, kept: Vec::new(), opaque: false }
    }

    /// After a parcel that closes, the rest of the connection is of no interest.
    pub fn cut(&mut self, link: &Link, mut bytes: &[u8]) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        while !bytes.is_empty() && !self.opaque {
            if self.scanner.between_frames() {
                self.decide(link, bytes[0]);
            }
            let (part, whole) = match self.scanner.advance(bytes) {
                Step::Whole(used) => (&bytes[..used], true),
                Step::Partial => (bytes, false),
                Step::NotResp => {
                    self.opaque = true;
                    break;
                }
            };
            bytes = &bytes[part.len()..];
            if self.fate == Fate::Pass {
                append(&mut parcels, part, self.concerned);
            } else {
                self.kept.extend_from_slice(part);
                if whole {
                    self.end(link, &mut parcels);
                    return parcels;
                }
            }
        }
        if self.opaque {
            append(&mut parcels, bytes, false);
        }
        parcels
    }

    fn decide(&mut self, link: &Link, first: u8) {
        // A RESP3 push answers no request; a message to a subscriber finds no request waiting.
        let asked = if first == b'>' { None } else { link.answered() };
        let Some(request) = asked else {
            (self.fate, self.concerned) = (Fate::Pass, false);
            return;
        };
        let (concerned, loss, half) = link.faults(|f| (f.filter.concerns(&request), f.reply_loss, f.half_frame));
        self.concerned = concerned;
        self.fate = if concerned && (link.is_the_one() || link.strikes(loss)) {
            Fate::Lose
        } else if concerned && link.strikes(half) {
            Fate::Half
        } else {
            Fate::Pass
        };
    }

    fn end(&mut self, link: &Link, parcels: &mut Vec<Parcel>) {
        if self.fate == Fate::Half {
            link.injected(|injected| &mut injected.halves);
            append(parcels, &self.kept[..self.kept.len() / 2], self.concerned);
        } else {
            link.injected(|injected| &mut injected.replies_lost);
        }
        parcels.push(close());
    }
}
