//! The limiter's functions as they lie in `migrations/`, on driven time, and the whole service on real time.
//!
//! Why so: a limiter is right or wrong by the microsecond, and real time shows few of them. So the very source of the functions runs
//! inside a real Redis with its `TIME` replaced, thousands of calls a second, and is held against the arithmetic without bounds in
//! `resources::limiters::policy`. Lua counts in floats; 128-bit integers do not.
//!
//! Limits: what `TIME` itself does is Redis' affair; sixty seconds on real time tie the two together.

use std::time::{Duration, Instant};

use collective::resources::limiters::policy::{Level, PER, Policy, TOKENS_MAX};
use serde_json::json;

use crate::harness::{Connection, Options, Redis, Reply, seeded};
use crate::keys::patient;
use crate::limiters::{Grant, assert_no_stretch_exceeds, take};

/// The longest wait the functions report.
const CENTURY_US: u128 = 3_155_760_000_000_000;

/// Replaces time, keeps every record as long as the test wants, and calls a function by its name.
const STAGE: &str = "
local real, functions = redis, {}
local redis = {
  call = function(name, key, value, ...)
    if name == 'TIME' then return {ARGV[2], ARGV[3]} end
    if name == 'SET' then return real.call('SET', key, value) end
    return real.call(name, key, value, ...)
  end,
  pcall = real.pcall,
  register_function = function(name, callback)
    if type(name) == 'table' then functions[name.function_name] = name.callback else functions[name] = callback end
  end,
}
";

/// The functions on a stage of their own.
struct Stage {
    connection: Connection,
    script: String,
}

impl Stage {
    async fn new(redis: &Redis) -> Stage {
        let source = |ending: &str| {
            let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
            let files =
                std::fs::read_dir(directory).expect("the migrations").map(|entry| entry.expect("a file").path());
            let path = files.into_iter().find(|path| path.to_string_lossy().ends_with(ending));
            std::fs::read_to_string(path.expect("the part is there")).expect("a readable part")
        };
        let call = "local args = {}\nfor at = 4, #ARGV do args[#args + 1] = ARGV[at] end\nreturn functions[ARGV[1]](KEYS, args)";
        let text = format!("{STAGE}\n{}\n{}\n{call}", source("_prelude.lua"), source("_limiters.lua"));
        let mut connection = redis.connect().await;
        let loaded = connection.command(&["SCRIPT", "LOAD", &text]).await.expect("a reply");
        assert!(!loaded.is_error(), "{loaded:?}");
        Stage { connection, script: loaded.to_string() }
    }

    /// A take at this microsecond: whether it was granted, and the five numbers after it.
    async fn take(&mut self, name: &str, policy: &Policy, cost: u64, now: u64) -> (bool, Vec<u128>) {
        let numbers = [policy.capacity, policy.refill, policy.per.as_micros() as u64, cost, 0].map(|n| n.to_string());
        let (seconds, micros) = ((now / 1_000_000).to_string(), (now % 1_000_000).to_string());
        let mut call =
            vec!["EVALSHA", &self.script, "1", name, "collective_v1_limiter_take", &seconds, &micros, "", "", ""];
        call.extend(numbers.iter().map(String::as_str));
        let reply = self.connection.command(&call).await.expect("a reply");
        let Reply::Array(parts) = &reply else { panic!("{reply:?}") };
        let told = parts[1].items();
        let word = told[0].to_string();
        assert!(word == "allowed" || word == "refused", "{reply:?}");
        (word == "allowed", told[1..].iter().map(|part| part.to_string().parse().expect("digits")).collect())
    }
}

/// The same on 128-bit integers.
struct Model {
    policy: Policy,
    level: Level,
    at: u64,
}

impl Model {
    fn take(&mut self, policy: &Policy, cost: u64, now: u64) -> (bool, Vec<u128>) {
        let elapsed = Duration::from_micros(now.saturating_sub(self.at));
        let mut level = policy.adopt(self.policy.drained(self.level, elapsed), &self.policy);
        let tokens = policy.tokens(cost);
        let (allowed, retry) = (policy.fits(level, tokens), policy.wait(level, tokens));
        if allowed {
            level = level.and(tokens);
        }
        // A refusal by the same numbers is not kept: what drained until now will have drained when it is asked for again. Not so if
        // the clock was set back, since it goes on from there.
        if allowed || self.policy != *policy || now < self.at {
            *self = Model { policy: *policy, level, at: now };
        }
        let per = policy.per.as_micros();
        let numbers = vec![
            u128::from(policy.room(level, policy.tokens(1))),
            retry.as_micros().min(CENTURY_US),
            policy.until_drained(level).as_micros().min(CENTURY_US),
            level.parts() / per,
            level.parts() % per,
        ];
        (allowed, numbers)
    }
}

/// Any policy of those that are accepted, small and huge ones alike.
fn any_policy(random: &mut fastrand::Rng) -> Policy {
    let (least, most) = (PER.start().as_millis() as u64, PER.end().as_millis() as u64);
    Policy {
        capacity: magnitude(random, TOKENS_MAX),
        refill: magnitude(random, TOKENS_MAX),
        per: Duration::from_millis(magnitude(random, most).max(least)),
    }
}

/// From 1 to `most`, each order of magnitude as likely as any other.
fn magnitude(random: &mut fastrand::Rng, most: u64) -> u64 {
    (((most as f64).ln() * random.f64()).exp() as u64).clamp(1, most)
}

#[tokio::test]
async fn the_functions_count_as_exactly_as_integers_without_bounds() {
    let redis = Redis::start(Options::default()).await;
    let mut stage = Stage::new(&redis).await;
    let mut random = seeded(20);
    let (mut now, mut granted, mut refused) = (1_700_000_000_000_000_u64, 0, 0);
    for limiter in 0..300 {
        let name = format!("limiter:{limiter}");
        let mut policy = any_policy(&mut random);
        let mut model = Model { policy, level: Level::default(), at: 0 };
        for turn in 0..40 {
            if random.u8(0..10) == 0 {
                policy = any_policy(&mut random);
            }
            // Around the time that one token takes, and sometimes back.
            let token = (policy.per.as_micros() as u64 / policy.refill).max(1);
            now = match random.u8(0..12) {
                0 => now - random.u64(0..1000),
                1 => now + random.u64(0..token.saturating_mul(policy.capacity).clamp(1, 1 << 45)),
                2..5 => now,
                _ => now + random.u64(0..=token * 2),
            };
            let cost = if random.bool() { magnitude(&mut random, policy.capacity) } else { 1 };
            let told = stage.take(&name, &policy, cost, now).await;
            let expected = model.take(&policy, cost, now);
            assert_eq!(told, expected, "limiter {limiter}, turn {turn}: {policy:?}, cost {cost}, at {now}");
            *(if told.0 { &mut granted } else { &mut refused }) += 1;
        }
    }
    println!("{granted} granted, {refused} refused");
    assert!(granted > 1000 && refused > 1000, "both were tried: {granted} and {refused}");
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_stop_a_limiter() {
    let redis = Redis::start(Options::default()).await;
    let mut stage = Stage::new(&redis).await;
    let policy = Policy { capacity: 3, refill: 1, per: Duration::from_secs(10) };
    let full = 1_700_000_000_000_000;
    for _ in 0..3 {
        assert!(stage.take("l", &policy, 1, full).await.0);
    }
    let back = full - 3_600_000_000;
    let (granted, told) = stage.take("l", &policy, 1, back).await;
    let wait = u64::try_from(told[1]).expect("microseconds");
    assert_eq!(
        (granted, wait),
        (false, 10_000_000),
        "what was spent stays spent, and it takes no longer than it ever does"
    );
    assert!(!stage.take("l", &policy, 1, back + wait - 1).await.0, "and no shorter");
    assert!(stage.take("l", &policy, 1, back + wait).await.0, "whoever waits as long as told is served");
}

#[tokio::test]
async fn in_sixty_seconds_of_random_load_no_stretch_of_time_has_more_than_its_bound() {
    let redis = Redis::start(Options::default()).await;
    let mut stage = Stage::new(&redis).await;
    let mut random = seeded(21);
    for (name, capacity, refill, per_millis) in
        [("a", 20, 50, 1000), ("b", 1, 7, 333), ("c", 200, 1, 13), ("d", 5, 5, 5000)]
    {
        let policy = Policy { capacity, refill, per: Duration::from_millis(per_millis) };
        let per = per_millis * 1000;
        let (start, mut now) = (1_700_000_000_000_000_u64, 1_700_000_000_000_000_u64);
        // In parts of a token: what was granted so far, and the least it was above what was refilled so far, before a grant.
        let (mut parts, mut least, mut granted) = (0_i128, 0_i128, 0);
        while now - start < 60_000_000 {
            // Bursts as dense as a flood, or a little more than the limiter gives.
            let pause = per / refill / if random.u8(0..4) == 0 { 50 } else { 1 };
            for _ in 0..random.u64(1..30) {
                let cost = random.u64(1..=capacity.min(4));
                let refilled = i128::from(refill * (now - start));
                if stage.take(name, &policy, cost, now).await.0 {
                    least = least.min(parts - refilled);
                    parts += i128::from(cost * per);
                    granted += cost;
                    let stretch = parts - refilled - least;
                    assert!(stretch <= i128::from(capacity * per), "{name}: {stretch} parts at {now}");
                }
                now += random.u64(0..=pause);
            }
            now += random.u64(0..=per * 10 / refill);
        }
        let bound = capacity + refill * 60_000_000 / per;
        println!("{name}: {granted} granted, the bound is {bound}");
        assert!(granted * 10 >= bound * 4, "{name}: the load was there, and {granted} of {bound} were granted");
    }
}

/// What is promised is promised for sixty seconds of load.
const LOAD: Duration = Duration::from_secs(60);

#[tokio::test]
async fn chaos_of_random_load_is_granted_no_more_than_the_bound() {
    let redis = Redis::start(Options::default()).await;
    let app = patient(&redis.url()).start().await;
    let policy = json!({ "capacity": 40, "refill": 30, "per": "500ms" });
    assert_eq!(take(&app.client(), "warm", &policy).await.status, 200);
    let start = Instant::now();
    let end = start + LOAD;
    let mut callers = tokio::task::JoinSet::new();
    for seed in 0..6 {
        let (client, mut body) = (app.client(), policy.clone());
        callers.spawn(async move {
            let (mut random, mut granted) = (fastrand::Rng::with_seed(seed), Vec::new());
            while Instant::now() < end {
                let (tokens, asked) = (random.u64(1..4), Instant::now());
                body["cost"] = tokens.into();
                let answer = take(&client, "l", &body).await;
                assert_eq!(answer.json()["decided_by"], "redis", "{}", answer.text());
                if answer.json()["allowed"] == true {
                    granted.push(Grant { tokens, asked, told: Instant::now() });
                }
                tokio::time::sleep(Duration::from_millis(random.u64(0..60))).await;
            }
            granted
        });
    }
    let grants = callers.join_all().await.concat();
    assert_no_stretch_exceeds(&grants, (40.0, 60.0), 1.0);
    let granted: u64 = grants.iter().map(|grant| grant.tokens).sum();
    let bound = 40.0 + 60.0 * start.elapsed().as_secs_f64();
    println!("{granted} granted, the bound is {bound}");
    assert!(granted as f64 >= 0.7 * bound, "the load was there: {granted} of {bound}");
}
