//! Sixty-four authors compare and set one key through a link that loses one reply in ten.
//!
//! The key holds one number for each author, and an author's write adds one to his own. So everybody can see on the next read what
//! became of his writes: a number that is higher than what he was told was made without his knowing (a 412 for his own write), one
//! that is lower was lost. Neither may happen once. Only `unknown` leaves it open, and the next read settles it.
//!
//! Limits: ten thousand rounds by default, more where asked for; one key, which is the worst case.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{App, Client, Options, Proxy, Redis, rounds};

const AUTHORS: usize = 64;
const ROUNDS: usize = 10_000;

/// What one author knows.
#[derive(Debug, Default)]
struct Books {
    /// His number as far as he was told or has seen.
    mine: u64,
    /// The tag a write of unknown outcome was bound to: only while it is the key's, that write may still be made.
    open: Option<String>,
    made: u64,
    refused: u64,
    unknown: u64,
    settled_as_made: u64,
    unread: u64,
    unsent: u64,
}

impl Books {
    /// Holds his number, as read under `tag`, against what he was told.
    fn check(&mut self, author: usize, seen: u64, tag: &str) {
        match &self.open {
            Some(_) if seen == self.mine + 1 => {
                self.settled_as_made += 1;
                (self.mine, self.open) = (seen, None);
            }
            Some(open) if open != tag => {
                assert_eq!(seen, self.mine, "author {author}: {self:?}");
                self.open = None;
            }
            _ => assert_eq!(seen, self.mine, "author {author} was told a lie: {self:?}"),
        }
    }

    async fn round(&mut self, author: usize, client: &Client) {
        let read = client.get_key("cas").await;
        if read.status != 200 {
            assert_eq!(read.outcome(), "not_executed", "{}", read.text());
            self.unread += 1;
            return;
        }
        let tag = read.header("etag").expect("a tag").to_owned();
        let mut numbers: Vec<u64> = serde_json::from_slice(&read.body).expect("numbers");
        self.check(author, numbers[author], &tag);
        numbers[author] += 1;
        let write =
            client.with_header("If-Match", &tag).put_key("cas", serde_json::to_vec(&numbers).expect("JSON")).await;
        match (write.status, write.outcome()) {
            (204, _) => {
                self.made += 1;
                (self.mine, self.open) = (numbers[author], None);
            }
            (412, "not_executed") => self.refused += 1,
            (503, "not_executed") => self.unsent += 1,
            (504, "unknown") => {
                self.unknown += 1;
                self.open = Some(tag);
            }
            other => panic!("author {author}: {other:?} {}", write.text()),
        }
    }
}

#[tokio::test]
async fn sixty_four_authors_lose_no_update_and_are_told_no_lie() {
    let redis = Redis::start(Options::default()).await;
    let proxy = Proxy::in_front_of(&redis, 64);
    // Many connections and attempts, so that most rounds end with a decision: a lost connection takes its neighbours with it.
    let app = App::with_redis(&proxy.url())
        .set("redis.connections_per_worker", 32)
        .set("retry.attempts", 8)
        .set("retry.budget_ratio", 1)
        .set("retry.budget_tokens", 100_000)
        .set("requests.timeout", "20s")
        .set("attempt.timeout", "2s")
        .set("breaker.stall_after", "20s")
        .set("breaker.minimum_calls", 1_000_000)
        .start()
        .await;
    let client = app.client();
    let numbers = serde_json::to_vec(&vec![0_u64; AUTHORS]).expect("JSON");
    assert_eq!(client.with_header("If-None-Match", "*").put_key("cas", numbers).await.status, 201);
    proxy.lose_connection_instead_of_reply(0.1);
    proxy.reset_counts();
    let rounds = ROUNDS * rounds();
    let left = Arc::new(AtomicUsize::new(rounds));
    let mut authors = tokio::task::JoinSet::new();
    for author in 0..AUTHORS {
        let (client, left) = (app.client(), left.clone());
        authors.spawn(async move {
            let mut books = Books::default();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                books.round(author, &client).await;
            }
            (author, books)
        });
    }
    let all: Vec<(usize, Books)> = authors.join_all().await;
    proxy.heal();
    // A write that a lost connection still carries has run once Redis answers a later command of the test's own.
    let last = client.get_key("cas").await;
    let numbers: Vec<u64> = serde_json::from_slice(&last.body).expect("numbers");
    let mut sums = Books::default();
    for (author, mut books) in all {
        books.check(author, numbers[author], last.header("etag").expect("a tag"));
        assert_eq!(numbers[author], books.made + books.settled_as_made, "author {author}: {books:?}");
        sums.made += books.made;
        sums.refused += books.refused;
        sums.unknown += books.unknown;
        sums.settled_as_made += books.settled_as_made;
        sums.unread += books.unread;
        sums.unsent += books.unsent;
    }
    let (writes, lost) = (sums.made + sums.refused + sums.unknown, proxy.injected().replies_lost);
    println!("{sums:?}, {lost} replies lost, {} FCALL for {writes} writes", proxy.count("FCALL"));
    assert_eq!(numbers.iter().sum::<u64>(), sums.made + sums.settled_as_made);
    let all = rounds as u64;
    assert!((sums.unread + sums.unsent) * 10 < all, "one round in ten tried no write: {sums:?}");
    assert!((sums.made + sums.refused) * 10 > all * 9, "one round in ten ended without a decision: {sums:?}");
    assert!(sums.made > all / 50, "too few were made to prove anything: {sums:?}");
    assert!(proxy.count("FCALL") > writes, "writes were sent again");
}
