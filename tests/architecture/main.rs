//! The walls of the house, read from the sources: which room may enter which, and what may be named where.
//!
//! A rule kept by habit is a rule lost in the second month, so each one is a test whose failure tells the reason. Every
//! test first breaks its own rule on a small fixture, so that a rule that can no longer fire is noticed, and then reads
//! the tree. `clippy.toml` holds some of the same walls by resolved path; this file also sees imports, files and prose.
//!
//! Limits: this is a reader of text, not a compiler. Comments, literals and `#[cfg(test)]` items are blanked before the
//! code is judged; paths that a macro assembles stay unseen.

mod deploy;
mod judgement;
mod policy;
mod proofs;
mod source;
mod updates;
mod watching;

use judgement::{
    allowed_in, bare_lengths_of_time, crate_paths, decision_is_explained, decisions_named, document_exists,
    documents_named, may_enter, module_of, proofs_missing,
};
use source::{Offence, Source, everything, rust_files, sources};

/// What each room may name of the others; the longest matching prefix on the left decides. `*` is every room.
///
/// An entry on the right with a `::` opens that one item and not the room around it.
const ROOMS: &[(&str, &[&str])] = &[
    ("resilience", &[]),
    ("telemetry", &["resilience"]),
    ("redis", &["resilience", "telemetry"]),
    ("security", &["resilience", "telemetry", "redis"]),
    (
        "resources",
        &[
            "telemetry",
            "redis",
            "resilience::Deadline",
            "resilience::deadline",
            "resilience::Moment",
            "resilience::moment",
        ],
    ),
    // Of Redis: the door it hands to a resource and the words of a failure; never a command or a reply.
    (
        "api",
        &[
            "resilience",
            "telemetry",
            "security",
            "resources",
            "redis::Gateway",
            "redis::Outcome",
            "redis::ErrorKind",
            "redis::catalogue::Lane",
        ],
    ),
    // The command dialect is Redis spoken over HTTP: it alone of `api` sees Redis' own types.
    ("api::upstash", &["resilience", "telemetry", "redis", "security", "resources"]),
    // Snapshots for people who run it; never a caller's data, so no `resources`.
    ("ops", &["resilience", "telemetry", "redis", "security"]),
    ("config", &["resilience", "telemetry", "redis", "security", "resources", "api", "ops"]),
    ("startup", &["*"]),
    ("cli", &["*"]),
    ("main", &["*"]),
    ("lib", &["*"]),
];

/// A file that must be scrolled for minutes is two files: the quoted models of this style stay near a hundred lines.
const LONGEST_FILE: usize = 600;

/// An `expect` is a claim that it cannot fail; shorter than this it names the thing and not the reason.
const SHORTEST_CLAIM: usize = 12;

macro_rules! rules {
    ($(
        $(#[$meta:meta])*
        $name:ident {
            reads: $reads:expr,
            because: $because:expr,
            broken_by: ($broken_path:expr, $broken_text:expr),
            kept_by: ($kept_path:expr, $kept_text:expr),
            judge: $judge:expr $(,)?
        }
    )*) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            let judge: fn(&Source) -> Vec<Offence> = $judge;
            let broken = Source::new($broken_path, $broken_text);
            assert!(!judge(&broken).is_empty(), "this rule no longer fires on its own fixture {}", broken.path);
            let kept = judge(&Source::new($kept_path, $kept_text));
            assert!(kept.is_empty(), "this rule fires on code that keeps it: {kept:?}");

            let found: Vec<String> = $reads
                .iter()
                .flat_map(|source| judge(source).into_iter().map(|offence| offence.describe(&source.path)))
                .collect();
            assert!(found.is_empty(), "\n{}\nWhy: {}\n", found.join("\n"), $because);
        }
    )*};
}

rules! {
    rooms_enter_only_the_rooms_below_them {
        reads: sources(),
        because: "an arrow upwards makes two rooms one; the table at the top of tests/architecture/main.rs says who \
                  may enter whom. Take the value as an argument, or move the item to the lower room",
        broken_by: ("src/resources/keys.rs", "use crate::{redis::Gateway, security::Principal};"),
        kept_by: ("src/api/upstash/reply.rs", "use crate::redis::Reply; use crate::resilience::Deadline;"),
        judge: |source| {
            let Some(allowed) = allowed_in(&module_of(&source.path)) else {
                return vec![Offence::file("belongs to no room of the table in tests/architecture/main.rs")];
            };
            crate_paths(source)
                .into_iter()
                .filter(|(_, path)| !may_enter(source, allowed, path))
                .map(|(line, path)| Offence::at(line, format!("enters `{path}`")))
                .collect()
        },
    }

    the_map_re_exports_nothing {
        reads: sources(),
        because: "an item lifted to the crate's root could be reached without naming its room, unseen by the walls",
        broken_by: ("src/lib.rs", "pub use redis::Gateway;"),
        kept_by: ("src/lib.rs", "/// The only door to Redis.\npub mod redis;"),
        judge: |source| if source.path == "src/lib.rs" { source.words(&["pub use"]) } else { vec![] },
    }

    only_the_redis_room_names_the_driver {
        reads: sources(),
        because: "every Redis call goes through `redis::Gateway::run`, where breaker, budget, timeout and telemetry \
                  live; outside `src/redis/` use the room's own types, such as `crate::redis::Reply`",
        broken_by: ("src/api/upstash/reply.rs", "fn encode(value: &redis_rs::Value) {}"),
        kept_by: ("src/redis/reply.rs", "pub use redis_rs::Value as Reply;"),
        judge: |source| source.words_outside(&["src/redis/"], &["redis_rs", "bb8_redis", "bb8"]),
    }

    only_resilience_names_failsafe {
        reads: sources(),
        because: "failsafe admits every call when half-open; it may be used only behind the guard that does not",
        broken_by: ("src/redis/gateway.rs", "use failsafe::Config;"),
        kept_by: ("src/resilience/breaker.rs", "use failsafe::StateMachine;"),
        judge: |source| source.words_outside(&["src/resilience/"], &["failsafe"]),
    }

    only_telemetry_names_opentelemetry {
        reads: sources(),
        because: "spans are plain records in our own words until they leave; what a library calls them is one room's affair. \
                  Use `telemetry::traces`",
        broken_by: ("src/redis/gateway.rs", "use opentelemetry::trace::Tracer;"),
        kept_by: ("src/telemetry/traces/otlp.rs", "use opentelemetry_sdk::trace::SpanData;"),
        judge: |source| source.words_outside(
            &["src/telemetry/"],
            &["opentelemetry", "opentelemetry_sdk", "opentelemetry_otlp", "opentelemetry_http"],
        ),
    }

    only_the_api_names_utoipa {
        reads: sources(),
        because: "what a request and an answer look like is decided where they are read and written; a resource below knows neither",
        broken_by: ("src/resources/keys.rs", "use utoipa::ToSchema;"),
        kept_by: ("src/api/openapi/entry.rs", "use utoipa::ToSchema; use utoipa_swagger_ui::Config;"),
        judge: |source| source.words_outside(&["src/api/"], &["utoipa", "utoipa_swagger_ui"]),
    }

    resilience_is_pure {
        reads: sources(),
        because: "decisions about time and failure are tested by hand-driven time; a clock, a task, a socket or a file \
                  in them would make those tests race. Timers stay with the caller",
        broken_by: ("src/resilience/bulkhead.rs", "async fn wait() { tokio::time::sleep(TICK).await }"),
        kept_by: ("src/resilience/bulkhead.rs", "use tokio::sync::Notify; use std::time::Duration;"),
        judge: |source| match source.path.starts_with("src/resilience/") {
            true => source.words(&[
                "tokio::time", "tokio::spawn", "tokio::net", "std::net", "std::fs", "std::env", "thread::spawn",
                "thread::sleep", "actix_web", "actix_rt",
            ]),
            false => vec![],
        },
    }

    only_the_clock_reads_the_time {
        reads: sources(),
        because: "time enters as a value; what reads the clock itself cannot be tested at a chosen moment. \
                  Take a `Moment`, or ask `telemetry::clock`",
        broken_by: ("src/redis/gateway.rs", "let started = Instant::now();"),
        kept_by: ("src/telemetry/clock.rs", "let started = std::time::Instant::now();"),
        judge: |source| source.words_outside(&["src/telemetry/clock.rs"], &["Instant::now", "SystemTime::now"]),
    }

    only_the_door_reads_the_environment {
        reads: sources(),
        because: "settings are read once, validated together and listed with all their mistakes; \
                  a variable read elsewhere escapes `check-config`",
        broken_by: ("src/redis/embedded.rs", "let path = std::env::var_os(NAME);"),
        kept_by: ("src/config/mod.rs", "for (name, value) in std::env::vars() {}"),
        judge: |source| source.words_outside(
            &["src/config", "src/startup", "src/cli", "src/main.rs"],
            &["env::var", "env::vars", "env::var_os", "env::vars_os"],
        ),
    }

    only_the_two_listeners_speak_in_status_codes {
        reads: sources(),
        because: "below `api` and `ops` a failure has a meaning, not a number; one table of `api` gives the number",
        broken_by: ("src/resources/keys.rs", "return Err(StatusCode::CONFLICT);"),
        kept_by: ("src/api/problem.rs", "use actix_web::http::StatusCode;"),
        judge: |source| source.words_outside(&["src/api", "src/ops"], &["StatusCode"]),
    }

    only_the_terminal_rooms_print {
        reads: sources(),
        because: "standard output belongs to whoever started the program; everything else is a log line with a level",
        broken_by: ("src/redis/embedded.rs", "fn started() { println!(); }"),
        kept_by: ("src/cli.rs", "fn version() { println!(); }"),
        judge: |source| source.words_outside(
            &["src/cli", "src/startup", "src/main.rs"],
            &["println!", "eprintln!", "print!", "eprint!", "dbg!"],
        ),
    }

    every_file_opens_with_what_it_is_for {
        reads: rust_files(),
        because: "the first lines of a file say what, why so and its limits, before any code",
        broken_by: ("src/redis/gateway.rs", "use std::fmt;"),
        kept_by: ("src/redis/gateway.rs", "//! One door.\nuse std::fmt;"),
        judge: |source| match source.text.starts_with("//!") {
            true => vec![],
            false => vec![Offence::at(1, "does not start with `//!`")],
        },
    }

    no_file_is_too_long_to_read {
        reads: rust_files(),
        because: "a file of this length has more than one job; split it along them",
        broken_by: ("src/api/handlers.rs", "\n".repeat(LONGEST_FILE + 1)),
        kept_by: ("src/api/handlers.rs", "\n".repeat(LONGEST_FILE)),
        judge: |source| match source.text.lines().count() {
            lines if lines > LONGEST_FILE => vec![Offence::file(format!("has {lines} lines, over {LONGEST_FILE}"))],
            _ => vec![],
        },
    }

    no_file_is_named_after_nothing {
        reads: rust_files(),
        because: "such a name attracts whatever has no place; a file is a noun of the field",
        broken_by: ("src/redis/utils.rs", "//! x"),
        kept_by: ("src/redis/catalogue.rs", "//! x"),
        judge: |source| {
            let names = ["util", "utils", "helper", "helpers", "common", "manager", "misc", "shared", "stuff"];
            match source.path.trim_end_matches(".rs").split('/').find(|part| names.contains(part)) {
                Some(part) => vec![Offence::file(format!("is called `{part}`"))],
                None => vec![],
            }
        },
    }

    nothing_unwraps {
        reads: sources(),
        because: "a panic in the request path answers nobody. Handle it, or claim: `expect(\"why this cannot fail\")`",
        broken_by: ("src/redis/gateway.rs", "let reply = reply.unwrap();"),
        kept_by: ("src/redis/gateway.rs", "let n = n.unwrap_or(0); #[cfg(test)] mod tests { fn t() { x.unwrap(); } }"),
        judge: |source| source.pieces(&[".unwrap()", "todo!(", "unimplemented!(", ".unwrap_err()"]),
    }

    every_expect_says_why_it_holds {
        reads: sources(),
        because: "`expect` claims that this cannot fail; its text is the proof, read by whoever meets it at night",
        broken_by: ("src/api/problem.rs", "let code = table.get(key).expect(\"code\");"),
        kept_by: ("src/api/problem.rs", "let code = table.get(key).expect(\"every code is in the table\");"),
        judge: |source| {
            let claims = source.code.match_indices(".expect(").filter(|(at, call)| {
                let argument = source.text[at + call.len()..].trim_start();
                argument.strip_prefix('"').is_some_and(|text| text.find('"').is_some_and(|end| end < SHORTEST_CLAIM))
            });
            claims.map(|(at, _)| Offence::at(source.line_of(at), "`expect` without a reason")).collect()
        },
    }

    a_length_of_time_carries_its_unit {
        reads: sources(),
        because: "a bare number is read as seconds by one and as milliseconds by the next. In code use `Duration`; \
                  on the wire and in metrics the unit ends the name; a configured one is written like `250ms`",
        broken_by: ("src/redis/pool.rs", "pub struct Config { pub acquire_timeout: u64 }"),
        kept_by: ("src/ops/status.rs", "pub struct Breaker { retry_after_ms: Option<u64>, acquire_timeout: Duration }"),
        judge: bare_lengths_of_time,
    }

    no_test_is_switched_off {
        reads: rust_files(),
        because: "a test that does not run proves nothing and reads as if it did; mend it or delete it",
        broken_by: ("tests/suite/keys.rs", "#[ignore] #[test] fn t() {}"),
        kept_by: ("tests/suite/keys.rs", "#[test] fn t() {}"),
        judge: |source| source.all_code_pieces(&["#[ignore"]),
    }

    no_package_registry_is_named {
        reads: everything(),
        because: "where packages come from is the business of the machine that builds; a name breaks behind a mirror",
        broken_by: ("deny.toml", concat!("allow = [\"https://github.com/rust-lang/cra", "tes.io-index\"]")),
        kept_by: ("deny.toml", "unknown-registry = \"deny\""),
        judge: |source| source.prose(&[
            concat!("cra", "tes.io"), concat!("np", "mjs"), concat!("py", "pi.org"), concat!("python", "hosted"),
            concat!("ruby", "gems.org"), concat!("proxy.go", "lang.org"),
        ]),
    }

    nothing_names_the_machine_it_was_written_on {
        reads: everything(),
        because: "an absolute path of one machine means nothing on another",
        broken_by: ("docs/guarantees.md", concat!("see /wo", "rk/shared")),
        kept_by: ("docs/guarantees.md", "see SECURITY.md; how we work/rest"),
        judge: |source| source.prose(&[
            concat!("/wo", "rk/main"), concat!("/wo", "rk/shared"), concat!("/tmp/", "dev/"),
        ]),
    }

    every_document_named_exists {
        reads: everything(),
        because: "a reference to a page nobody has leaves the reader with nothing; say the reason where it is needed",
        broken_by: ("src/redis/fence.rs", concat!("//! See decisions-of-old", ".md for why.")),
        kept_by: ("src/redis/fence.rs", "//! See ARCHITECTURE.md for why."),
        judge: |source| {
            let mentions = documents_named(&source.text).into_iter();
            mentions
                .filter(|(_, name)| !document_exists(&source.path, name))
                .map(|(line, name)| Offence::at(line, format!("names `{name}`, which does not exist")))
                .collect()
        },
    }

    every_decision_named_is_explained {
        reads: sources(),
        because: "a number without its page is a secret; `docs/decisions.md` holds what each one settled and why",
        broken_by: ("src/redis/fence.rs", "//! One loss is one failure (D99)."),
        kept_by: ("src/redis/fence.rs", "//! Abandoned writes are fenced (D2); 3D, ID3 and D are no decisions."),
        judge: |source| {
            let named = decisions_named(&source.text).into_iter();
            named
                .filter(|(_, label)| !decision_is_explained(label))
                .map(|(line, label)| Offence::at(line, format!("names {label}, unknown to docs/decisions.md")))
                .collect()
        },
    }

    every_test_named_by_a_promise_exists {
        reads: everything(),
        because: "a promise whose test is gone is a claim; name the test that proves it, or write `not yet`",
        broken_by: ("README.md", "| it holds | test: `a_test_nobody_wrote` | e2e: `a sentence nobody wrote` |"),
        kept_by: ("README.md", "| it holds | test: `comments_literals_and_test_modules_are_not_code` | not yet |"),
        judge: |source| match source.path.ends_with(".md") {
            true => proofs_missing(&source.text),
            false => vec![],
        },
    }
}

#[test]
fn comments_literals_and_test_modules_are_not_code() {
    let text = "// a::b\nlet c = \"d::e\"; /* f /* g */ h */ let i = r#\"j\"k\"#; let l: &'m str; let n = '\\'';\n\
                #[cfg(test)]\nmod tests { fn o() { p(); } }\nfn q() {}";
    let code = Source::new("src/redis/x.rs", text).code;
    for gone in ["a::b", "d::e", "g", "h", "j", "o()", "p()"] {
        assert!(!code.contains(gone), "{gone} should be blank in {code}");
    }
    for kept in ["let c", "let i", "&'m str", "let n", "fn q"] {
        assert!(code.contains(kept), "{kept} should stay in {code}");
    }
}

#[test]
fn grouped_and_relative_imports_are_read_path_by_path() {
    let text =
        "use crate::{redis::{Gateway, error::Error}, telemetry};\nuse super::super::resources::Keys;\nuse super::path;";
    let paths = crate_paths(&Source::new("src/api/v1.rs", text));
    let names: Vec<_> = paths.iter().map(|(line, path)| (*line, path.as_str())).collect();
    assert_eq!(
        names,
        [(1, "redis::Gateway"), (1, "redis::error::Error"), (1, "telemetry"), (2, "resources::Keys"), (3, "api::path")]
    );
}
