//! For how long this machine stood still.
//!
//! What: [`Pauses::watch`] has a thread do nothing but nap, and [`Pauses::end`] tells how much later than it asked for it woke:
//! all such pauses together, and the longest. Late by less than a nap is every thread, so that is none.
//!
//! Why so: who measures how long the program takes measures the machine with it, and one that is paused for a second says
//! nothing of the program. A thread that wants next to no processor is late by that pause and by little else.
//!
//! Limits: seen is what keeps a thread of the test from running. What holds up the program alone counts for the program.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long one nap is.
const NAP: Duration = Duration::from_millis(5);

/// For how long it was kept from running.
#[derive(Clone, Copy, Debug, Default)]
pub struct Paused {
    /// All pauses together.
    pub all: Duration,
    /// The longest.
    pub longest: Duration,
}

/// The napping thread.
pub struct Pauses {
    end: Sender<()>,
    thread: JoinHandle<Paused>,
}

impl Pauses {
    /// Counts from now on.
    pub fn watch() -> Pauses {
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut paused = Paused::default();
            loop {
                let asleep = Instant::now();
                let woken = ended.recv_timeout(NAP);
                let late = asleep.elapsed().saturating_sub(NAP);
                if late >= NAP {
                    paused.all += late;
                    paused.longest = paused.longest.max(late);
                }
                if woken != Err(RecvTimeoutError::Timeout) {
                    return paused;
                }
            }
        });
        Pauses { end, thread }
    }

    /// What there was since.
    pub fn end(self) -> Paused {
        drop(self.end);
        self.thread.join().expect("a thread that naps")
    }
}
