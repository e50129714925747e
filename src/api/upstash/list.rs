//! Several commands in one request: `/pipeline`, one round trip with an answer for each, and `/multi-exec`, all or nothing.
//!
//! Both are parsed item by item into what will be sent. In a pipeline an item that is refused here is answered in its place and the
//! others run; in a transaction it discards the whole. Limits: a list can never honour an `Idempotency-Key`, because it has no
//! single reply that could be remembered (D17).

use actix_web::http::header::HeaderValue;
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

use super::adapt::{Adapted, Telling, adapt};
use super::arguments::{ArgumentError, BatchSink, Sink};
use super::ask::{Ask, Builder, Formats, Visitor};
use super::error::{DialectError, Refusal, check};
use super::reply::{self, Encoding};
use super::scripts::Scripts;
use super::{arguments, size, success, typed_scan};
use crate::api::envelope::OUTCOME;
use crate::redis::catalogue::Class;
use crate::redis::{Batch, Command, Ending, Judge, Outcome, Reply, Transaction};
use crate::security::Principal;

/// `POST /pipeline`: a list of commands, one round trip.
pub(super) async fn pipeline(
    visitor: Visitor,
    request: &HttpRequest,
    payload: &mut Payload,
) -> Result<HttpResponse, DialectError> {
    let ask = visitor.read(request, payload, Formats::JsonOnWish).await?;
    let mut list = List::parse(&ask, Batch::default())?;
    if list.load.is_empty() {
        return Ok(list.answer(Vec::new(), &ask));
    }
    let lane = list.load.lane();
    let sent = ask.visitor.worker.gateway.run_batch(&list.load, ask.deadline).await;
    let mut replies = sent.map_err(|error| DialectError::of_gateway(&error, lane))?.reply;
    list.tell(&mut replies, &ask).await;
    Ok(list.answer(replies, &ask))
}

/// `POST /multi-exec`: a list of commands, all or none of them, and nobody else's in between.
pub(super) async fn transaction(
    visitor: Visitor,
    request: &HttpRequest,
    payload: &mut Payload,
) -> Result<HttpResponse, DialectError> {
    let ask = visitor.read(request, payload, Formats::JsonAlways).await?;
    let mut list = List::parse(&ask, Transaction::new())?;
    if let Some(refusal) = list.first_refusal() {
        return Err(DialectError::discarded(refusal));
    }
    let transaction = std::mem::take(&mut list.load);
    let lane = transaction.lane();
    let sent = ask.visitor.worker.gateway.run_transaction(transaction, ask.deadline).await;
    let mut replies = match sent.map_err(|error| DialectError::of_gateway(&error, lane))?.reply {
        Ending::Executed(replies) => replies,
        Ending::Discarded(error) => return Err(DialectError::of_redis(&error, Outcome::NotExecuted)),
        Ending::Scattered(error) => return Err(DialectError::scattered(&error)),
        Ending::Unreadable => return Err(DialectError::unreadable()),
    };
    list.tell(&mut replies, &ask).await;
    Ok(list.answer(replies, &ask))
}

/// What commands are loaded onto: both keep their order.
trait Load {
    fn push(&mut self, command: Command);
}

impl Load for Batch {
    fn push(&mut self, command: Command) {
        Batch::push(self, command);
    }
}

impl Load for Transaction {
    fn push(&mut self, command: Command) {
        Transaction::push(self, command);
    }
}

/// A list as it is parsed: what goes to Redis, and what is answered in its place.
struct List<'a, L> {
    builder: Builder,
    load: L,
    places: Vec<Place>,
    principal: Principal,
    scripts: &'a Scripts,
    /// Whether any reply is told otherwise than Redis gave it.
    retold: bool,
}

/// One item of the answer.
enum Place {
    /// Its reply is the next one.
    Sent(Sent),
    /// It was sent and answered, but the reply is not told: why, and what became of the command.
    Untold(String, Outcome),
    /// It was refused here.
    Refused(Refusal),
}

/// What is known of an item that was sent.
struct Sent {
    judge: Judge,
    /// Of this very call.
    class: Class,
    telling: Telling,
}

impl<L: Load> Sink for List<'_, L> {
    fn argument(&mut self, bytes: &[u8]) {
        self.builder.argument(bytes);
    }
}

impl<L: Load> BatchSink for List<'_, L> {
    fn begin(&mut self) {
        self.builder = Builder::default();
    }

    fn end(&mut self) {
        let command = self.builder.take();
        self.places.push(match check(&command, self.principal) {
            Err(refusal) => Place::Refused(refusal),
            Ok(()) => {
                let Adapted { command, telling } = adapt(command, self.scripts);
                let (judge, class) = (command.judge(), command.class());
                self.retold |= !matches!(telling, Telling::Verbatim);
                self.load.push(command);
                Place::Sent(Sent { judge, class, telling })
            }
        });
    }

    fn refuse(&mut self, error: ArgumentError) {
        self.places.push(Place::Refused(error.into()));
    }
}

impl<'a, L: Load> List<'a, L> {
    fn parse(ask: &'a Ask, load: L) -> Result<Self, DialectError> {
        let mut list = Self {
            builder: Builder::default(),
            load,
            places: Vec::new(),
            principal: ask.visitor.principal,
            scripts: &ask.visitor.worker.shared.scripts,
            retold: false,
        };
        arguments::parse_batch(&ask.body, &ask.visitor.limits(), &mut list)?;
        Ok(list)
    }
}

impl<L> List<'_, L> {
    fn first_refusal(&self) -> Option<&Refusal> {
        self.places.iter().find_map(|place| match place {
            Place::Refused(refusal) => Some(refusal),
            Place::Sent(..) | Place::Untold(..) => None,
        })
    }

    /// Changes the replies that the hosted service would have given otherwise.
    async fn tell(&mut self, replies: &mut [Reply], ask: &Ask) {
        if !self.retold {
            return;
        }
        let mut scans = Vec::new();
        let sent = self.places.iter_mut().filter(|place| matches!(place, Place::Sent(..)));
        for (place, reply) in sent.zip(replies) {
            match place {
                Place::Sent(Sent { telling: Telling::TypedScan, .. }) => scans.push((place, reply)),
                Place::Sent(sent) => sent.telling.tell(reply),
                Place::Untold(..) | Place::Refused(_) => {}
            }
        }
        let (places, replies): (Vec<_>, Vec<_>) = scans.into_iter().unzip();
        let added = typed_scan::add_types(replies, &ask.visitor.worker.gateway, ask.deadline).await;
        if let Err(error) = added {
            // The other items have happened: they keep their answers.
            let untold = || Place::Untold(typed_scan::failure_text(&error), Outcome::NotExecuted);
            places.into_iter().for_each(|place| *place = untold());
        }
    }

    /// Writes the answer. Replies for which there is no room are kept back; the other items keep their answers. Each reply is let
    /// go of as soon as it is written, so that the list is not held twice.
    fn answer(&self, replies: Vec<Reply>, ask: &Ask) -> HttpResponse {
        let mut told = Told {
            list: reply::List::of(self.places.len(), ask.encoding),
            worst: None,
            encoding: ask.encoding,
            limit: ask.visitor.worker.shared.settings.reply_bytes,
        };
        let mut replies = replies.into_iter();
        for place in &self.places {
            match place {
                Place::Refused(refusal) => told.error(&refusal.text, Outcome::NotExecuted),
                Place::Untold(text, outcome) => {
                    drop(replies.next());
                    told.error(text, *outcome);
                }
                Place::Sent(sent) => match replies.next() {
                    Some(reply) => told.reply(&reply, sent),
                    // The gateway gives all replies or none, so there is one for each place that was sent.
                    None => told.error("ERR the reply is missing", Outcome::Unknown),
                },
            }
        }
        told.response()
    }
}

/// An answer that is being written.
struct Told {
    list: reply::List,
    /// Of the items that did not succeed.
    worst: Option<Outcome>,
    encoding: Encoding,
    /// For each reply, and for those of reads all together.
    limit: usize,
}

impl Told {
    fn reply(&mut self, reply: &Reply, sent: &Sent) {
        // Error lines are short, and what they say of the command must not give way to what its size says.
        if let Reply::ServerError(error) = reply {
            self.worst = self.worst.max(Some(sent.judge.outcome(error)));
            return self.list.reply(reply);
        }
        let refused = size::refusal_in_list(reply, sent.class, self.encoding, self.limit, self.list.bytes());
        if let Some((text, outcome)) = refused {
            return self.error(&text, outcome);
        }
        self.list.reply(reply);
    }

    fn error(&mut self, text: &str, outcome: Outcome) {
        self.worst = self.worst.max(Some(outcome));
        self.list.error(text);
    }

    fn response(self) -> HttpResponse {
        let mut response = success(self.list.finish());
        if let Some(outcome) = self.worst {
            response.headers_mut().insert(OUTCOME, HeaderValue::from_static(outcome.as_str()));
        }
        response
    }
}
