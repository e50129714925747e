//! Who hears of writes: every write that succeeded, or may have, is told to a witness before its caller is answered.
//!
//! Why here: the gateway is the only way to Redis, so a call that is added later cannot forget to tell. What a write touched is read
//! off its own arguments by the catalogue. The price while nobody is interested is one relaxed load for each write and nothing
//! for a read: [`Interest`] says whether there is anything to be told, and only then are the keys looked for. Relaxed is enough,
//! because whoever is interested says so before he asks Redis, and a write concerns him only if Redis answered him first.
//!
//! A write whose caller leaves is told as well, when its future is dropped. Limits: one witness; writes of other instances and
//! other clients of Redis are not seen, nor what a module changes behind a key that the command does not name.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use redis_rs::{Arg, Cmd, Pipeline};

use super::Answer;
use super::attempt::Cargo;
use super::catalogue::{self, Arguments, Class, Spec};
use super::error::{Error, Outcome};

/// What a write may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touched<'a> {
    /// This Redis key.
    Key(&'a [u8]),
    /// Nobody can say: any key.
    Everything,
}

/// Hears of writes.
pub trait Witness: Send + Sync {
    /// A write that succeeded, or may have, touched this. Called before its caller is answered.
    fn wrote(&self, touched: Touched<'_>);
}

/// How many things there are that a write could concern.
#[derive(Clone, Debug, Default)]
pub struct Interest(Arc<AtomicUsize>);

impl Interest {
    /// So many more.
    pub fn raise(&self, by: usize) {
        self.0.fetch_add(by, Ordering::SeqCst);
    }

    /// So many fewer. Never more than were raised.
    pub fn lower(&self, by: usize) {
        let before = self.0.fetch_sub(by, Ordering::SeqCst);
        debug_assert!(before >= by, "interest was lowered below nothing");
    }

    /// Whether there is any.
    #[inline]
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}

/// Where an endpoint tells of writes.
#[derive(Default)]
pub struct Writes {
    interest: Interest,
    witness: OnceLock<Arc<dyn Witness>>,
}

impl Writes {
    /// What the witness raises while writes concern him.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// Tells this witness from now on. The first one stays.
    pub fn tell(&self, witness: Arc<dyn Witness>) {
        let _ = self.witness.set(witness);
    }

    /// Tells that anything may have changed: a write turned out to have had its effect, of which nobody here knows the keys.
    pub fn tell_of_everything(&self) {
        if self.interest.any()
            && let Some(witness) = self.witness.get()
        {
            witness.wrote(Touched::Everything);
        }
    }

    /// To be held while `cargo` is under way.
    pub(super) fn notice<'a, C: Cargo>(&'a self, cargo: &'a C) -> Notice<'a, C> {
        Notice { writes: self, cargo: (cargo.class() != Class::Read).then_some(cargo) }
    }

    #[cold]
    fn tell_of(&self, cargo: &impl Cargo) {
        if let Some(witness) = self.witness.get() {
            cargo.touched(&mut |touched| witness.wrote(touched));
        }
    }
}

/// A write under way: told of when this is dropped, unless it is known to have changed nothing.
pub(super) struct Notice<'a, C: Cargo> {
    writes: &'a Writes,
    cargo: Option<&'a C>,
}

impl<C: Cargo> Notice<'_, C> {
    /// Takes note of how the call ended.
    pub(super) fn settle(&mut self, result: &Result<Answer<C::Reply>, Error>) {
        let Some(cargo) = self.cargo else { return };
        let changed = match result {
            Ok(answer) => cargo.changed(&answer.reply),
            Err(error) => error.outcome != Outcome::NotExecuted,
        };
        if !changed {
            self.cargo = None;
        }
    }
}

impl<C: Cargo> Drop for Notice<'_, C> {
    fn drop(&mut self) {
        if let Some(cargo) = self.cargo
            && self.writes.interest.any()
        {
            self.writes.tell_of(cargo);
        }
    }
}

/// What one command touches that is not a read. `foreign_code`: it runs code that we did not write, whose keys nobody knows.
pub(super) fn touched_by(
    spec: &Spec,
    args: &(impl Arguments + ?Sized),
    foreign_code: bool,
    tell: &mut dyn FnMut(Touched<'_>),
) {
    let mut positions = Vec::new();
    if foreign_code || catalogue::key_positions(spec, args, &mut positions).is_err() {
        return tell(Touched::Everything);
    }
    // A write without a key is one to all of them (FLUSHDB). What is no write to Redis changes no data (PUBLISH), nor do libraries
    // of functions, which are no keys.
    if positions.is_empty() && spec.flags.contains(&"write") && !spec.name.starts_with("FUNCTION|") {
        return tell(Touched::Everything);
    }
    positions.iter().filter_map(|at| args.at(*at)).for_each(|key| tell(Touched::Key(key)));
}

/// The same for each command of a pipeline. Reads are left out.
pub(super) fn touched_in(pipeline: &Pipeline, tell: &mut dyn FnMut(Touched<'_>)) {
    for command in pipeline.cmd_iter() {
        let args = arguments(command);
        let spec = catalogue::find(&args);
        if catalogue::class_of(spec, &args) != Class::Read {
            touched_by(spec, &args, spec.code, tell);
        }
    }
}

fn arguments(command: &Cmd) -> Vec<&[u8]> {
    let bytes = |argument| match argument {
        Arg::Simple(bytes) => bytes,
        // Cursors the driver manages, which we never make.
        _ => &[][..],
    };
    command.args_iter().map(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::super::command::{Batch, Command};
    use super::super::transaction::Transaction;
    use super::*;

    fn told(cargo: &impl Cargo) -> Vec<String> {
        let mut told = Vec::new();
        cargo.touched(&mut |touched| {
            told.push(match touched {
                Touched::Key(key) => String::from_utf8_lossy(key).into_owned(),
                Touched::Everything => "*".to_owned(),
            });
        });
        told
    }

    fn command(call: &str) -> Command {
        Command::of(&call.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn a_write_touches_the_keys_it_names() {
        for (call, keys) in [
            ("SET k v", &["k"][..]),
            ("DEL a b c", &["a", "b", "c"]),
            ("RENAME a b", &["a", "b"]),
            ("MSET a 1 b 2", &["a", "b"]),
            ("SORT a STORE d", &["a", "d"]),
            ("ZUNIONSTORE d 2 a b", &["d", "a", "b"]),
            ("XREADGROUP GROUP g c STREAMS s >", &["s"]),
            ("PUBLISH channel m", &[]),
            ("SCRIPT LOAD x", &[]),
            ("FUNCTION LOAD x", &[]),
        ] {
            assert_eq!(told(&command(call)), keys, "{call}");
        }
    }

    #[test]
    fn a_write_whose_keys_nobody_can_name_touches_everything() {
        for call in [
            "FLUSHDB",
            "FLUSHALL",
            "EVAL x 1 k",
            "FCALL f 1 k",
            "EVALSHA x 0",
            "NOSUCH k",
            "FT.ADD i d 1",
            "EVAL x",
            "SORT a BY w_* STORE d",
            "ZUNIONSTORE d x a",
        ] {
            assert_eq!(told(&command(call)), ["*"], "{call}");
        }
    }

    #[test]
    fn code_of_our_own_touches_the_keys_it_declares() {
        let call = command("FCALL collective_v1_counter_increment 2 k record 1").of_our_own();
        assert_eq!(told(&call), ["k", "record"]);
    }

    #[test]
    fn of_a_list_the_writes_are_told() {
        let (mut batch, mut transaction) = (Batch::default(), Transaction::new());
        for call in ["GET a", "SET b 1", "EVAL_RO x 1 c", "INCR d"] {
            batch.push(command(call));
            transaction.push(command(call));
        }
        assert_eq!(told(&batch), ["b", "d"]);
        assert_eq!(told(&transaction.sealed()), ["b", "d"]);
        let mut scripts = Batch::default();
        scripts.push(command("EVAL x 0"));
        assert_eq!(told(&scripts), ["*"]);
    }
}
