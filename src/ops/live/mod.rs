//! The page's memory and its heartbeat: looks at the service ten times a second, remembers five minutes, tells viewers.
//!
//! Runs on the thread of the operator listener, beside its worker and away from the public ones. A change of a breaker, of
//! the phase or of Redis' reach is told with the next look, everything else once a second. What is told is made once for all
//! viewers, and not at all while there are none.
//!
//! - `history`: the samples
//! - `hub`: the viewers
//! - `events`: `/events`, one viewer's stream

pub(super) mod events;
pub(super) mod history;
pub(super) mod hub;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::MissedTickBehavior;

use super::page;
use super::routes::View;
use super::status::{Phase, StatusDocument};
use crate::resilience::Moment;
use crate::telemetry::clock;
use history::History;
use hub::Hub;

/// Time between two looks. A tenth of the second in which a change must be on the page.
const LOOK: Duration = Duration::from_millis(100);

/// Time between two samples.
const SECOND: Duration = Duration::from_secs(1);

/// What the page needs beyond the present.
pub(super) struct Live {
    view: Arc<View>,
    memory: Mutex<Memory>,
    hub: Hub,
}

#[derive(Default)]
struct Memory {
    history: History,
    sampled: Option<Moment>,
    told: Option<(Phase, bool)>,
}

impl Live {
    pub fn new(view: Arc<View>) -> Arc<Self> {
        Arc::new(Self { view, memory: Mutex::default(), hub: Hub::default() })
    }

    /// Looks and tells until the runtime ends.
    pub async fn run(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            looks.tick().await;
            self.look(clock::now());
        }
    }

    /// The page as it stands now.
    pub fn page(&self) -> String {
        page::render(&self.values(&self.present()))
    }

    /// Ends every stream; no new ones are let in.
    pub fn close(&self) {
        self.hub.close();
    }

    /// One look; tells if there is something to tell.
    fn look(&self, now: Moment) {
        let document = self.view.status();
        let worth_telling = {
            let mut memory = self.memory();
            let mut news = memory.history.look(now, &document.breakers);
            let told = Some((document.phase, document.redis.reachable));
            news |= std::mem::replace(&mut memory.told, told) != told;
            let due = memory.sampled.is_none_or(|at| now.saturating_since(at) >= SECOND);
            if due {
                memory.sampled = Some(now);
                memory.history.sample(now, self.view.traffic());
            }
            news || due
        };
        if worth_telling && self.hub.is_watched() {
            self.hub.send(&self.event(&self.present()));
        }
        if document.phase == Phase::Draining {
            self.hub.close();
        }
    }

    /// The present, with the states of the breakers as they are to be shown.
    fn present(&self) -> StatusDocument {
        let mut document = self.view.status();
        for (breaker, shown) in document.breakers.iter_mut().zip(self.memory().history.shown()) {
            breaker.state = shown;
        }
        document
    }

    fn values(&self, document: &StatusDocument) -> page::Values {
        let transitions = self.view.transitions();
        page::Values::of(document, &self.memory().history, &transitions, clock::now())
    }

    fn event(&self, document: &StatusDocument) -> Bytes {
        events::state(&self.values(document).json())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::Fake;

    #[test]
    fn a_change_of_a_breaker_is_told_within_a_second() {
        let view = Fake::new();
        let live = Live::new(view.clone());
        let mut viewer = live.hub.join().expect("a place");
        let mut told = |looks: u32| {
            live.look(clock::start() + LOOK * looks);
            viewer.try_recv().ok().map(|event| String::from_utf8_lossy(&event).into_owned())
        };
        assert!(told(0).is_some_and(|event| event.contains("\"b0_word\":\"closed\"")));
        assert_eq!(told(1), None, "nothing has changed");
        view.set(|facts| facts.breakers[0].state = "open");
        assert!(told(2).is_some_and(|event| event.contains("\"b0_word\":\"open\"")), "the next look tells of it");
        assert!((3..10).all(|looks| told(looks).is_none()));
        assert!(told(10).is_some(), "everything else is told once a second");
    }
}
