//! A balancer in miniature: follows the readiness of replicas and spreads requests over those that are ready.
//!
//! What: [`Balancer::over`] asks every replica's `/readyz` on a beat, as a kubelet or a load balancer does; [`Balancer::pick`]
//! gives the next ready replica's client. [`Balancer::replace`] is told where a restarted replica listens now, as an endpoint
//! list is.
//!
//! Why so: a rolling restart is a conversation between a service that says it is about to leave and somebody who believes it. The
//! service's half is under test, so the other half is as plain as can be: no retries, no failover, and it notices with a delay.
//!
//! Limits: a replica that does not answer its probe is left alone until it does; nothing is guessed from requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{App, Client};

/// One replica as the balancer sees it.
struct Replica {
    client: Client,
    ready: bool,
    /// Requests it was given since it was last replaced.
    given: u64,
}

/// The replicas and the task that watches them.
pub struct Balancer {
    replicas: Arc<Mutex<Vec<Replica>>>,
    watch: JoinHandle<()>,
}

impl Balancer {
    /// Watches these, with this beat between two looks at each.
    pub fn over(apps: &[&App], beat: Duration) -> Arc<Balancer> {
        let replicas = apps.iter().map(|app| Replica { client: app.client(), ready: false, given: 0 }).collect();
        let replicas = Arc::new(Mutex::new(replicas));
        let watch = tokio::spawn(watch(replicas.clone(), beat));
        Arc::new(Balancer { replicas, watch })
    }

    /// The next ready replica, in turn; `None` if there is none.
    pub fn pick(&self) -> Option<Client> {
        let mut replicas = self.replicas();
        // The one that was given least: in turn while both are ready, and a newcomer does not get a flood.
        let least = replicas.iter_mut().filter(|replica| replica.ready).min_by_key(|replica| replica.given)?;
        least.given += 1;
        Some(least.client.clone())
    }

    /// Where the replica of this place listens now. It counts as unready until a probe says otherwise.
    pub fn replace(&self, place: usize, app: &App) {
        let mut replicas = self.replicas();
        let most = replicas.iter().map(|replica| replica.given).max().unwrap_or_default();
        replicas[place] = Replica { client: app.client(), ready: false, given: most };
    }

    /// Whether the balancer sends to this replica.
    pub fn sends_to(&self, place: usize) -> bool {
        self.replicas()[place].ready
    }

    fn replicas(&self) -> MutexGuard<'_, Vec<Replica>> {
        lock(&self.replicas)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

async fn watch(replicas: Arc<Mutex<Vec<Replica>>>, beat: Duration) {
    let mut beat = tokio::time::interval(beat);
    loop {
        beat.tick().await;
        let clients: Vec<Client> = lock(&replicas).iter().map(|replica| replica.client.clone()).collect();
        for (place, client) in clients.into_iter().enumerate() {
            let ready = matches!(client.try_probe("/readyz").await, Ok(answer) if answer.status == 200);
            let mut replicas = lock(&replicas);
            // Replaced while it was asked: the answer is another's.
            if replicas[place].client.is_of(&client) {
                replicas[place].ready = ready;
            }
        }
    }
}

fn lock(replicas: &Mutex<Vec<Replica>>) -> MutexGuard<'_, Vec<Replica>> {
    replicas.lock().unwrap_or_else(PoisonError::into_inner)
}
