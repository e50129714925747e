//! A well-behaved caller who must notice nothing of what happens beside him.
//!
//! He reads, counts and pipelines all the time and knows each answer beforehand. Limits: one connection; he is slowed down by a
//! busy machine like everybody, so only wrong answers count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;

use crate::harness::{App, Client, eventually};

/// Longest wait for his first rounds.
const PATIENCE: Duration = Duration::from_secs(20);

/// The neighbour at work.
pub struct Neighbour {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    rounds: JoinHandle<u64>,
    client: Client,
}

impl Neighbour {
    /// He starts.
    pub async fn moves_in(app: &App) -> Neighbour {
        let client = app.client();
        assert_eq!(client.put_key("neighbour", "calm").await.status, 201);
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let rounds = tokio::spawn(live(client.clone(), stop.clone(), made.clone()));
        Neighbour { stop, made, rounds, client }
    }

    /// He stops, and tells what he noticed: nothing. No breaker has opened either.
    pub async fn noticed_nothing(self) {
        // He has had a call under way all the time; how many he could make of them meanwhile is the machine's affair.
        let at_home = async || self.made.load(Ordering::Relaxed) >= 3 || self.rounds.is_finished();
        eventually(PATIENCE, at_home).await;
        self.stop.store(true, Ordering::Relaxed);
        let rounds = self.rounds.await.expect("every answer was right");
        assert!(rounds >= 3, "he had time for {rounds} rounds only");
        let status = self.client.status().await;
        for breaker in status["breakers"].as_array().expect("breakers") {
            assert_eq!(breaker["opened_total"], 0, "{breaker}");
            assert_eq!(breaker["state"], "closed", "{breaker}");
        }
    }
}

async fn live(client: Client, stop: Arc<AtomicBool>, made: Arc<AtomicU64>) -> u64 {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let read = client.get_key("neighbour").await;
        assert_eq!((read.status, read.text().as_str()), (200, "calm"));
        assert_eq!(client.post_command(&["INCR", "neighbour:count"]).await.result(), round);
        let batch =
            client.pipeline(&[&["SET", "neighbour:last", "x"], &["STRLEN", "neighbour:last"], &["GET", "none"]]);
        assert_eq!(batch.await.json(), json!([{"result": "OK"}, {"result": 1}, {"result": null}]));
        made.store(round, Ordering::Relaxed);
    }
    round
}
