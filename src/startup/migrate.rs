//! `collective migrate`: the migrations by hand, over the same gateway as the service.
//!
//! The service applies them itself; this is for operators who want it done before, who want to see how far they are, or who have
//! to decide what the service will not. Limits: for a Redis of its own (`redis.url` unset) the service alone is responsible,
//! since nothing else can reach it.

use std::sync::Arc;
use std::time::Duration;

use super::build::{self, BuildError};
use crate::cli::{EXIT_FAILURE, EXIT_OK, Migrate};
use crate::config::Settings;
use crate::redis::functions::{self, Migrator, Obstacle, Survey};
use crate::redis::{Endpoint, Gateway};
use crate::resilience::Deadline;
use crate::telemetry::clock;

/// How long all of it may take: longer than the lock of a replica that was killed.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two tries while Redis does not answer.
const PAUSE: Duration = Duration::from_millis(100);

/// Does what is asked for and says how it went.
pub(super) fn run(settings: &Settings, mode: Migrate) -> u8 {
    if settings.redis.url.is_none() {
        println!(
            "redis.url is not set: the embedded Redis gets its migrations from `collective serve`, as soon as it answers"
        );
        return EXIT_OK;
    }
    let endpoint = match build::endpoint(settings) {
        Ok(endpoint) => endpoint,
        Err(failure) => return fail(&failure),
    };
    let outcome = actix_web::rt::System::new().block_on(work(endpoint, mode));
    match outcome {
        Ok(text) => {
            print!("{text}");
            EXIT_OK
        }
        Err(obstacle) => {
            eprintln!("collective: {obstacle}");
            EXIT_FAILURE
        }
    }
}

fn fail(failure: &BuildError) -> u8 {
    eprintln!("collective: {failure}");
    failure.exit_code()
}

async fn work(endpoint: Arc<Endpoint>, mode: Migrate) -> Result<String, Obstacle> {
    let gateway = Gateway::new(endpoint);
    let until = Deadline::after(clock::now(), PATIENCE);
    loop {
        let migrator = Migrator::new(&gateway, until);
        let done = match mode {
            Migrate::Apply => migrator.apply().await.map(|applied| applied_text(applied).to_owned()),
            Migrate::Status => migrator.survey().await.map(|survey| table(&survey)),
            Migrate::Repair => {
                migrator.repair().await.map(|()| "the functions of this version are in place\n".to_owned())
            }
        };
        match done {
            Err(obstacle) if obstacle.passes() && until.remaining(clock::now()) > PAUSE => {
                tokio::time::sleep(PAUSE).await
            }
            done => return done,
        }
    }
}

fn applied_text(applied: bool) -> &'static str {
    if applied { "migrations applied\n" } else { "nothing to do: every migration is applied\n" }
}

/// One line a migration, and what would be done about them.
fn table(survey: &Survey) -> String {
    let mut text = String::new();
    for id in functions::migrations() {
        let word = survey.progress(id).map_or("pending", |progress| progress.as_str());
        text.push_str(&format!("{id:<24} {word}\n"));
    }
    let ours: Vec<&str> = functions::migrations().collect();
    for (id, entry) in survey.entries.iter().filter(|(id, _)| !ours.contains(&id.as_str())) {
        text.push_str(&format!("{id:<24} {} (not of this version)\n", entry.progress.as_str()));
    }
    text.push_str(&format!("{}\n", survey.summary()));
    text
}
