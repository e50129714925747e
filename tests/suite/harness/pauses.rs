//! For how long this machine stood still.
//!
//! What: [`Pauses::watch`] has a thread do nothing but nap, and [`Pauses::end`] tells how much later than it asked for it woke,
//! all naps together.
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

/// The napping thread.
pub struct Pauses {
    end: Sender<()>,
    thread: JoinHandle<Duration>,
}

impl Pauses {
    /// Counts from now on.
    pub fn watch() -> Pauses {
        let (end, ended) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut late = Duration::ZERO;
            loop {
                let asleep = Instant::now();
                let woken = ended.recv_timeout(NAP);
                late += asleep.elapsed().saturating_sub(NAP);
                if woken != Err(RecvTimeoutError::Timeout) {
                    return late;
                }
            }
        });
        Pauses { end, thread }
    }

    /// What the naps took too long, all together.
    pub fn end(self) -> Duration {
        drop(self.end);
        self.thread.join().expect("a thread that naps")
    }
}
