//! The composition root: configuration in, exit code out. Builds every room in order, binds, serves, drains.
//!
//! `Starting → Ready → Draining → Stopped`. Both ports are bound before anything is started, so that a taken port costs nothing;
//! Redis is not waited for, its absence is a state the product serves in. Limits: one process, one endpoint.

mod announce;
mod background;
mod build;
mod descriptors;
mod lifecycle;
mod migrate;
mod public;
mod redis_acl;
mod traces;
mod view;

use std::process::ExitCode;

use crate::cli::{EXIT_CONFIGURATION, EXIT_FAILURE, EXIT_OK, Invocation, Page, USAGE, Verb};
use crate::config::{self, LoadInput, Loaded, Settings};
use crate::redis::catalogue::AclOptions;
use crate::{api, redis, telemetry};

/// Does what the command line asks for.
pub fn run(invocation: &Invocation) -> ExitCode {
    let code = match invocation.verb {
        Verb::Help => print(USAGE),
        Verb::Version => print(&format!("collective {}\n", env!("CARGO_PKG_VERSION"))),
        Verb::Docs(page) => print(&document(page)),
        Verb::CheckConfig => match load(invocation) {
            Ok(loaded) => {
                loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
                print("the configuration is valid\n")
            }
            Err(code) => code,
        },
        Verb::Healthcheck => match load(invocation) {
            Ok(loaded) => lifecycle::healthcheck(loaded.settings.ops.bind),
            Err(code) => code,
        },
        Verb::RedisAcl => match load(invocation) {
            Ok(loaded) => redis_acl(&loaded.settings),
            Err(code) => code,
        },
        Verb::Token => match load(invocation) {
            Ok(loaded) => token(&loaded.settings),
            Err(code) => code,
        },
        Verb::Serve => match load(invocation) {
            Ok(loaded) => serve(loaded),
            Err(code) => code,
        },
        Verb::Migrate(mode) => match load(invocation) {
            Ok(loaded) => migrate::run(&loaded.settings, mode),
            Err(code) => code,
        },
        Verb::Openapi => print(&api::openapi::TEXT),
    };
    ExitCode::from(code)
}

/// Prints to standard output; a reader who has left is no failure of ours.
fn print(text: &str) -> u8 {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    EXIT_OK
}

/// Prints the root token the service with this configuration asks for: the one line a script or a person needs.
fn token(settings: &Settings) -> u8 {
    match build::root_token_in_force(settings) {
        Ok(token) => print(&format!("{}\n", token.expose())),
        Err(failure) => {
            eprintln!("collective: {failure}");
            failure.exit_code()
        }
    }
}

fn document(page: Page) -> String {
    match page {
        Page::Commands => redis::catalogue::markdown(),
        Page::Dialect => api::upstash::docs::markdown(),
        Page::Errors => api::problem::markdown(),
        Page::Configuration => config::markdown(),
        Page::Metrics => telemetry::metrics::markdown(),
        Page::Example => config::example(),
        Page::UsersAcl => redis::catalogue::acl(&AclOptions::default()).unwrap_or_default(),
    }
}

fn redis_acl(settings: &config::Settings) -> u8 {
    match redis_acl::list(settings) {
        Ok(list) => {
            if settings.redis.password.is_none() {
                eprintln!("warning: {}", redis_acl::NO_PASSWORD);
            }
            print(&list)
        }
        Err(unfit) => {
            eprintln!("redis.username: {unfit}");
            EXIT_CONFIGURATION
        }
    }
}

/// The configuration, or every mistake in it on standard error and the exit code for that.
fn load(invocation: &Invocation) -> Result<Loaded, u8> {
    // Variables that are not text cannot be ours: our names and values are.
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    config::load(LoadInput { file: invocation.config.clone(), env }).map_err(|mistakes| {
        mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
        EXIT_CONFIGURATION
    })
}

fn serve(loaded: Loaded) -> u8 {
    telemetry::logs::init(build::log_config(&loaded.settings.log));
    telemetry::panics::install();
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let built = match build::Built::new(loaded.settings, loaded.root_token) {
        Ok(built) => built,
        Err(failure) => {
            eprintln!("collective: {failure}");
            return failure.exit_code();
        }
    };
    match lifecycle::run(built) {
        Ok(()) => EXIT_OK,
        Err(error) => {
            tracing::error!(%error, "the service failed");
            eprintln!("collective: {error}");
            EXIT_FAILURE
        }
    }
}
