//! The room seen from outside: files and variables in, settings or mistakes out.

#![cfg(test)]

use std::time::Duration;

use super::*;
use crate::security::TokenDigest;

const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const STRONG: &str = "k7Jm2xQvT0aLw9ZsBn4rEy8uHc3fGd6p";

/// A configuration under test: a file and variables, in a directory of its own.
struct Case {
    directory: tempfile::TempDir,
    input: LoadInput,
}

impl Case {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), input: LoadInput::default() }
    }

    fn file(mut self, toml: &str) -> Self {
        self.input.file = Some(self.write("collective.toml", toml));
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.input.env.push((format!("{ENVIRONMENT_PREFIX}{name}"), value.to_owned()));
        self
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn settings(self) -> Settings {
        self.loaded().settings
    }

    fn loaded(self) -> Loaded {
        load(self.input).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
    }

    fn mistakes(self) -> Vec<String> {
        load(self.input).unwrap_err().iter().map(ToString::to_string).collect()
    }

    fn only_mistake(self) -> String {
        let mut mistakes = self.mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:#?}");
        mistakes.remove(0)
    }
}

fn env(name: &str, value: &str) -> Case {
    Case::new().env(name, value)
}

fn redis(url: &str) -> Case {
    env("REDIS__URL", url)
}

#[test]
fn nothing_configured_gives_the_defaults_without_a_warning() {
    let loaded = Case::new().loaded();
    let settings = loaded.settings;
    assert!(loaded.warnings.is_empty());
    assert_eq!(settings.server.bind, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(settings.redis.acquire_timeout, Duration::from_millis(250));
    assert_eq!(settings.redis.max_connection_age, Some(Duration::from_secs(1800)));
    assert_eq!((settings.limits.body, settings.limits.head), (16 << 20, 16 << 10));
    assert_eq!(settings.log.format, LogFormat::Auto);
    assert!(settings.redis.url.is_none() && settings.auth.root_token.is_none());
}

#[test]
fn every_key_is_a_field_and_every_field_is_a_key() {
    // `Debug` of the tree prints every field with its name; a key that is no field fails `load` already.
    let tree = format!("{:?}", Case::new().settings());
    let fields = tree.matches(": ").count();
    let sections: BTreeSet<_> =
        KEYS.iter().map(|key| key.section_and_name().0).filter(|name| !name.is_empty()).collect();
    let keys = KEYS.iter().filter(|key| !matches!(key.kind, Kind::SecretFile { .. })).count();
    assert_eq!(fields, keys + sections.len(), "{tree}");
}

#[test]
fn the_example_file_loads_and_equals_the_defaults() {
    let example = Case::new().file(EXAMPLE).settings();
    assert_eq!(format!("{example:?}"), format!("{:?}", Case::new().settings()));
}

#[test]
fn the_example_file_names_every_key_once() {
    let mut section = String::new();
    let mut named = Vec::new();
    for line in EXAMPLE.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = format!("{name}.");
        }
        if let Some((name, _)) = line.split_once(" = ").filter(|(name, _)| !name.contains(' ')) {
            named.push(format!("{section}{name}"));
        }
    }
    assert_eq!(named, KEYS.iter().map(|key| key.path).collect::<Vec<_>>());
}

#[test]
fn the_environment_beats_the_file_and_the_file_beats_the_default() {
    let case = Case::new().file("[retry]\nattempts = 2\nbudget_tokens = 7\n").env("RETRY__ATTEMPTS", "1");
    let retry = case.settings().retry;
    assert_eq!((retry.attempts, retry.budget_tokens, retry.budget_ratio), (1, 7, 0.2));
}

#[test]
fn five_wrong_settings_of_different_kinds_give_five_messages() {
    let file = "data_dirr = 'x'\n[server]\nbind = 'localhost'\nkeep_alive = 75\n[redis]\nqueue = 'many'\ntopology = 'cluster'\n";
    let mistakes = Case::new().file(file).mistakes();
    assert_eq!(mistakes.len(), 5, "{mistakes:#?}");
    for (mistake, said) in mistakes.iter().zip([
        "did you mean `data_dir`?",
        "`localhost` is not an address with a port",
        "`75` is a bare number",
        "`cluster` is not built yet",
        "is a text in quotes where a value of type `whole number` belongs",
    ]) {
        assert!(mistake.contains(said) && mistake.contains("collective.toml"), "{mistake}");
        assert_eq!(mistake.lines().count(), 1);
    }
}

#[test]
fn mistakes_of_file_environment_and_rules_come_together() {
    let case = Case::new()
        .file("[server]\nbind = 1\n[breaker]\nwindow = '1s'\n")
        .env("ATTEMPT__TIMEOUT", "800ms")
        .env("RETRY__ATTEMPTS", "2")
        .env("LOG__LEVEL", "loud")
        .env("NONSENSE", "1");
    let mistakes = case.mistakes();
    assert_eq!(mistakes.len(), 4, "{mistakes:#?}");
    assert!(mistakes[3].starts_with("breaker.window ("), "{}", mistakes[3]);
    assert!(mistakes[3].contains("(here breaker.window = 1s, attempt.timeout = 800ms)"), "{}", mistakes[3]);
}

#[test]
fn a_wrong_value_does_not_also_break_a_rule() {
    let mistake = env("BREAKER__WINDOW", "1ms").only_mistake();
    assert!(mistake.contains("out of range") && mistake.contains("COLLECTIVE_BREAKER__WINDOW"), "{mistake}");
}

#[test]
fn a_bare_number_duration_is_refused_wherever_it_comes_from() {
    assert!(Case::new().file("[drain]\ndelay = 0\n").only_mistake().contains("`0` is a bare number"));
    assert!(env("DRAIN__DELAY", "0").only_mistake().contains("for example `0ms` or `0s`"));
}

#[test]
fn all_bodies_together_have_room_for_the_largest_unless_somebody_says_otherwise() {
    let bodies = |case: Case| case.settings().limits.bodies;
    assert_eq!(bodies(env("LIMITS__BODY", "256MiB")), 256 << 20);
    assert_eq!(bodies(env("LIMITS__BODY", "1MiB").env("LIMITS__ARGUMENT", "1MiB")), 128 << 20);
    let mistake = env("LIMITS__BODY", "256MiB").env("LIMITS__BODIES", "128MiB").only_mistake();
    assert!(mistake.contains("raise limits.bodies"), "{mistake}");
}

#[test]
fn numbers_flags_sizes_and_durations_are_read_from_text_variables() {
    let settings = env("LIMITS__BODY", "33554432")
        .env("LIMITS__HEAD", "32KiB")
        .env("REDIS__ALLOW_INSECURE", "true")
        .env("REDIS__MAX_CONNECTION_AGE", "0s")
        .env("BREAKER__SLOW_RATIO", "1")
        .settings();
    assert_eq!((settings.limits.body, settings.limits.head), (32 << 20, 32 << 10));
    assert!(settings.redis.allow_insecure && settings.redis.max_connection_age.is_none());
    assert!((settings.breaker.slow_ratio - 1.0).abs() < f64::EPSILON);
}

#[test]
fn an_empty_variable_is_a_mistake_and_not_a_default() {
    assert!(env("REDIS__URL", "").only_mistake().contains("is empty"));
}

#[test]
fn service_links_are_ignored_with_one_warning() {
    let loaded =
        env("SERVICE_HOST", "10.0.0.1").env("SERVICE_PORT", "80").env("PORT_80_TCP", "tcp://10.0.0.1:80").loaded();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("COLLECTIVE_SERVICE_HOST"));
}

#[test]
fn an_unreadable_file_does_not_hide_the_mistakes_of_the_environment() {
    let mut case = env("DRAIN__DELAY", "5");
    case.input.file = Some("/nonexistent/collective.toml".into());
    assert_eq!(case.mistakes().len(), 2);
}

#[test]
fn each_rule_between_keys_is_broken_by_one_case() {
    let cases: [&[(&str, &str)]; 27] = [
        &[("OPS__BIND", "0.0.0.0:8080")],
        &[("REDIS__PASSWORD", STRONG)],
        &[("REDIS__USERNAME", "ann")],
        &[("REDIS__URL", "redis://:inurl@localhost"), ("REDIS__PASSWORD", STRONG)],
        &[("REDIS__URL", "redis://ann:inurl@localhost"), ("REDIS__USERNAME", "bob")],
        &[("REDIS__URL", "redis://localhost"), ("REDIS__TLS__CA_FILE", "ca.pem")],
        &[("REDIS__URL", "rediss://localhost"), ("REDIS__TLS__KEY_FILE", "key.pem")],
        &[("REDIS__URL", "redis://db.example"), ("REDIS__PASSWORD", STRONG)],
        &[("REDIS__URL", "redis://db.example")],
        &[("REDIS__URL", "redis://db.example"), ("REDIS__PASSWORD", "foobared")],
        &[(
            "DATA_DIR",
            "/a-directory-name-of-some-length/and-another-one-below-it/that-goes-on/and-on/until-it-is-too-long",
        )],
        &[("AUTH__FULL_TOKEN_SHA256", DIGEST), ("AUTH__READ_ONLY_TOKEN_SHA256", DIGEST)],
        &[("TRACES__HEADERS", "authorization=inurl")],
        &[("REDIS__ACQUIRE_TIMEOUT", "2s")],
        &[("REQUESTS__TIMEOUT_MAX", "1s")],
        &[("ATTEMPT__TIMEOUT", "3s")],
        &[("RETRY__ATTEMPTS", "5")],
        &[("RETRY__BACKOFF_BASE", "101ms")],
        &[("BREAKER__WINDOW", "1s"), ("ATTEMPT__TIMEOUT", "501ms")],
        &[("BREAKER__SLOW_CALL_AFTER", "400ms")],
        &[("BREAKER__STALL_AFTER", "299ms")],
        &[("BREAKER__PROBE_TIMEOUT", "251ms")],
        &[("BREAKER__OPEN_WAIT", "1001ms")],
        &[("BREAKER__PROBES_TO_CLOSE", "10"), ("BREAKER__PROBE_TIMEOUT", "201ms")],
        &[("LIMITS__ARGUMENT", "17MiB")],
        &[("LIMITS__BODY", "129MiB"), ("LIMITS__BODIES", "128MiB")],
        &[("LIMITS__CONNECTIONS", "1023")],
    ];
    assert_eq!(cases.len(), RULES.len());
    for (variables, rule) in cases.iter().zip(RULES) {
        let case = variables.iter().fold(Case::new(), |case, (name, value)| case.env(name, value));
        let mistakes = case.mistakes();
        let said = mistakes
            .iter()
            .find(|mistake| mistake.contains(rule.text))
            .unwrap_or_else(|| panic!("{variables:?}: {mistakes:#?}"));
        assert!(said.contains("(COLLECTIVE_"), "the key that was set is named: {said}");
        assert!(!said.contains("inurl") && !said.contains(STRONG), "{said}");
    }
}

#[test]
fn rules_hold_at_their_edge() {
    env("REQUESTS__TIMEOUT_MAX", "2s").settings();
    env("RETRY__ATTEMPTS", "4").env("RETRY__BACKOFF_MAX", "133ms").settings();
    env("BREAKER__PROBE_TIMEOUT", "250ms").env("BREAKER__OPEN_WAIT_MAX", "500ms").settings();
    env("LIMITS__ARGUMENT", "16MiB").env("LIMITS__CONNECTIONS", "1024").settings();
    env("SERVER__BIND", "127.0.0.1:0").env("OPS__BIND", "127.0.0.1:0").settings();
    env("SERVER__BIND", "127.0.0.1:9000").env("OPS__BIND", "127.0.0.2:9000").settings();
}

#[test]
fn headers_of_traces_are_never_shown_and_their_way_without_tls_is_told() {
    let traces = |endpoint| env("TRACES__ENDPOINT", endpoint).env("TRACES__HEADERS", "authorization=Bearer canary");
    assert!(traces("http://127.0.0.1:4318").loaded().warnings.is_empty());
    let loaded = traces("http://collector.example:4318").loaded();
    assert!(loaded.warnings[0].contains("http://collector.example:4318/v1/traces"), "{:?}", loaded.warnings);
    assert!(!format!("{:?}{:?}", loaded.warnings, loaded.settings).contains("canary"));
}

#[test]
fn the_embedded_socket_may_have_107_bytes_and_not_108() {
    let of = |bytes: usize| env("DATA_DIR", &format!("/{}", "d".repeat(bytes - 1 - "/redis.sock".len())));
    assert_eq!(of(107).settings().embedded_socket().as_os_str().len(), 107);
    assert!(of(108).only_mistake().contains("choose a shorter data_dir, or set redis.url"));
    of(108).env("REDIS__URL", "redis://localhost").settings();
}

#[test]
fn plain_or_passwordless_redis_is_accepted_on_loopback_a_unix_socket_or_with_the_override() {
    for url in ["redis://localhost", "redis://127.0.0.1:7000/2", "redis://:weak@[::1]", "unix:///run/redis.sock"] {
        assert!(redis(url).loaded().warnings.is_empty(), "{url}");
    }
    let mistakes = redis("redis://db.example").mistakes();
    assert_eq!(mistakes.len(), 2, "plain and without password: {mistakes:#?}");
    assert!(mistakes.iter().all(|mistake| mistake.contains("redis.allow_insecure = true")));
    let loaded = redis("redis://:canary@db.example").env("REDIS__ALLOW_INSECURE", "true").loaded();
    assert!(loaded.warnings[0].contains("redis://db.example:6379/0") && !loaded.warnings[0].contains("canary"));
}

#[test]
fn credentials_end_up_in_one_place() {
    let settings = redis("redis://ann:s3same@localhost").settings();
    assert_eq!(settings.redis.username.as_deref(), Some("ann"));
    assert_eq!(settings.redis.password.unwrap().expose(), "s3same");
    let own = redis("redis://localhost").env("REDIS__PASSWORD", "s3same").settings();
    assert_eq!(own.redis.password.unwrap().expose(), "s3same");
}

#[test]
fn a_secret_file_gives_its_content_without_one_trailing_newline() {
    for (content, expected) in
        [("s3same\n", "s3same"), ("s3same\r\n", "s3same"), ("s3same", "s3same"), (" s3 ", " s3 ")]
    {
        let case = redis("redis://localhost");
        let path = case.write("password", content);
        let settings = case.env("REDIS__PASSWORD_FILE", path.to_str().unwrap()).settings();
        assert_eq!(settings.redis.password.unwrap().expose(), expected);
    }
    let case = Case::new();
    let path = case.write("token", &format!("{STRONG}\n"));
    let case = case.file(&format!("[auth]\nroot_token_file = {path:?}\n"));
    // `file` writes beside the token, in the same directory.
    assert_eq!(case.settings().auth.root_token.unwrap().expose(), STRONG);
}

#[test]
fn a_secret_given_twice_is_a_mistake_even_across_layers() {
    let mistake = redis("redis://localhost")
        .file("[redis]\npassword_file = '/run/secrets/redis'\n")
        .env("REDIS__PASSWORD", "canary")
        .only_mistake();
    assert!(mistake.starts_with("redis.password_file ("), "{mistake}");
    assert!(mistake.contains("redis.password is given, too (in COLLECTIVE_REDIS__PASSWORD)"), "{mistake}");
}

#[test]
fn a_bad_secret_file_is_named_by_key_and_neither_path_nor_content_is_shown() {
    let case = redis("redis://localhost").env("REDIS__PASSWORD_FILE", "canary").env("AUTH__ROOT_TOKEN_FILE", "/");
    let mistakes = case.mistakes();
    assert_eq!(mistakes.len(), 2, "{mistakes:#?}");
    let case = redis("redis://localhost");
    let path = case.write("password", "canary\nsecond line\n");
    let second = case.env("REDIS__PASSWORD_FILE", path.to_str().unwrap()).only_mistake();
    assert!(
        second.starts_with("redis.password (the file named by redis.password_file): holds a control character"),
        "{second}"
    );
    let empty = Case::new();
    let path = empty.write("token", "\n");
    let empty = empty.env("AUTH__ROOT_TOKEN_FILE", path.to_str().unwrap()).only_mistake();
    assert!(empty.contains("is empty"), "{empty}");
    assert!(!format!("{mistakes:?}{second}").contains("canary"));
}

#[test]
fn no_message_and_no_debug_output_shows_a_planted_secret() {
    const CANARY: &str = "canary-7731";
    let secrets = [
        "REDIS__URL",
        "REDIS__PASSWORD",
        "REDIS__PASSWORD_FILE",
        "REDIS__USERNAME",
        "AUTH__ROOT_TOKEN",
        "AUTH__ROOT_TOKEN_FILE",
    ];
    let forms =
        [CANARY.to_owned(), format!("redis://u:{CANARY}@host?x"), format!("u:{CANARY}\n@host"), CANARY.repeat(500)];
    for form in &forms {
        for name in secrets {
            let mistakes = env(name, form).env("REDIS__PASWORD", form).mistakes();
            assert!(!format!("{mistakes:?}").contains(CANARY), "{name}: {mistakes:#?}");
        }
        let everywhere = secrets.iter().fold(Case::new(), |case, name| case.env(name, form)).mistakes();
        assert!(!format!("{everywhere:?}").contains(CANARY), "{everywhere:#?}");
    }
    let wrong_types = Case::new()
        .file(&format!("[redis]\npassword = ['{CANARY}']\nurl = {{ x = '{CANARY}' }}\n[auth]\nroot_token = 7731\n"));
    let mistakes = wrong_types.mistakes();
    assert_eq!(mistakes.len(), 3, "{mistakes:#?}");
    assert!(!format!("{mistakes:?}").contains("7731"));
    let good = redis(&format!("redis://u:{CANARY}@localhost")).env("AUTH__ROOT_TOKEN", STRONG).settings();
    let debug = format!("{good:?}");
    assert!(!debug.contains(CANARY) && !debug.contains(STRONG), "{debug}");
}

#[test]
fn a_weak_root_token_is_refused() {
    assert!(env("AUTH__ROOT_TOKEN", "changeme").only_mistake().contains("fewer than 32 characters"));
    assert!(env("AUTH__ROOT_TOKEN", &"changeme".repeat(4)).only_mistake().contains("openssl rand -hex 32"));
    env("AUTH__ROOT_TOKEN", STRONG).settings();
}

#[test]
fn a_retry_budget_above_the_promise_is_allowed_with_a_warning_and_above_one_refused() {
    assert!(env("RETRY__BUDGET_RATIO", "0.5").loaded().warnings[0].contains("1.2 times"));
    assert!(env("RETRY__BUDGET_RATIO", "1.1").only_mistake().contains("out of range"));
}

#[test]
fn digests_of_tokens_are_a_list_in_the_file_and_a_text_in_the_environment() {
    let file = Case::new().file(&format!("[auth]\nfull_token_sha256 = [\"{DIGEST}\"]\n"));
    let environment = Case::new().env("AUTH__FULL_TOKEN_SHA256", DIGEST);
    for case in [file, environment] {
        let digests = case.settings().auth.full_token_sha256.expect("the key was set");
        assert_eq!(digests, [TokenDigest::of(b"test")]);
    }
    let mistakes = Case::new().file("[auth]\nread_only_token_sha256 = [\"my-own-token\"]\n").mistakes();
    assert!(mistakes[0].contains("entry 1 is not 64 hexadecimal digits"), "{mistakes:?}");
    assert!(!mistakes[0].contains("my-own-token"), "{mistakes:?}");
}

#[test]
fn a_tls_file_that_cannot_be_used_is_a_mistake_of_its_key() {
    let case = redis("rediss://localhost").env("REDIS__TLS__CA_FILE", "/nonexistent/canary.pem");
    let mistake = case.only_mistake();
    assert!(
        mistake.starts_with("redis.tls.ca_file (COLLECTIVE_REDIS__TLS__CA_FILE): cannot be read"),
        "the key and the rule: {mistake}"
    );
    assert!(!mistake.contains("canary"), "{mistake}");
    let case = redis("rediss://localhost");
    let path = case.write("ca.pem", "canary");
    let mistake = case.file(&format!("[redis.tls]\nca_file = {path:?}\n")).only_mistake();
    assert!(mistake.starts_with("redis.tls.ca_file (") && mistake.contains("no certificate in PEM"), "{mistake}");
    let all = redis("rediss://localhost")
        .env("REDIS__TLS__CA_FILE", "/nonexistent/1")
        .env("REDIS__TLS__CERT_FILE", "/nonexistent/2")
        .env("REDIS__TLS__KEY_FILE", "/nonexistent/3")
        .mistakes();
    assert_eq!(all.len(), 3, "all at once: {all:#?}");
    let mistake = redis("rediss://a..b").env("REDIS__PASSWORD", STRONG).only_mistake();
    assert!(mistake.contains("no certificate can name"), "{mistake}");
}

#[test]
fn a_redis_beyond_loopback_is_accepted_over_tls_with_a_strong_password() {
    let loaded = redis("rediss://db.example").env("REDIS__PASSWORD", STRONG).loaded();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert!(redis("rediss://db.example").only_mistake().contains("must have a password"));
}

#[test]
fn the_user_may_come_from_a_file_like_the_password() {
    let case = redis("redis://localhost").env("REDIS__PASSWORD", STRONG);
    let path = case.write("username", "ann\n");
    let settings = case.env("REDIS__USERNAME_FILE", path.to_str().unwrap()).settings();
    assert_eq!(settings.redis.username.as_deref(), Some("ann"));
}
