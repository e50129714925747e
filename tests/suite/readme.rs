//! The README, pasted line by line into a shell beside the built program.
//!
//! Every ```` ```sh ```` block is run as it stands, in order, by `sh` in the directory the program was started in. Four things
//! are other than for a newcomer: `make run` is the program built for this test, the two default addresses are replaced by
//! those it was given, because a test owns no fixed port, and Redis is given more time, because other tests keep the machine
//! busy. A block nobody expects here fails the test, so that none goes unproven. Limits: needs curl; what `make run` does
//! before it starts the program is the end-to-end script's and CI's affair.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::{App, Client, eventually};
use crate::keys::unhurried;

const README: &str = include_str!("../../README.md");
const MAKEFILE: &str = include_str!("../../Makefile");

/// The blocks of a page, in order.
fn blocks(page: &str) -> Vec<&str> {
    let starts = page.split("```sh\n").skip(1);
    starts.map(|rest| rest.split_once("```").expect("the block ends").0).collect()
}

/// A shell in the newcomer's directory.
struct Shell {
    directory: PathBuf,
    public: String,
    operator: String,
}

impl Shell {
    fn beside(app: &App) -> Self {
        let directory = app.data_directory().parent().map(Path::to_path_buf).expect("a directory around the data");
        Self { directory, public: app.public().to_string(), operator: app.operator().to_string() }
    }

    /// Pastes a block and gives its standard output. Each of its commands must succeed.
    fn paste(&self, block: &str) -> String {
        let block = block.replace("127.0.0.1:8080", &self.public).replace("127.0.0.1:8081", &self.operator);
        let mut shell = Command::new("sh");
        let shell = shell.args(["-e", "-c", &block]).current_dir(&self.directory).env_remove("http_proxy");
        let output = shell.output().expect("a shell");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}\nended with {}: {errors}", output.status);
        String::from_utf8(output.stdout).expect("text")
    }
}

#[tokio::test]
async fn every_block_of_the_readme_does_what_it_says() {
    let [start, store, count, limit, freeze, thaw, lease] =
        blocks(README).try_into().expect("six blocks, each expected below");
    assert_eq!(start, "make run\n");
    assert!(MAKEFILE.contains("--release -- serve"), "make run starts the program this test starts");
    let builder = App::builder().unset("auth.root_token").set("data_dir", "./.collective");
    let app = unhurried(builder).start().await;
    let shell = Shell::beside(&app);
    let token = std::fs::read_to_string(shell.directory.join(".collective/root-token")).expect("the token's file");
    let client = Client::new(app.public(), app.operator()).token(token.trim());
    // A start waits two seconds for the embedded Redis, and goes on without it.
    client.settled().await;

    assert_eq!(shell.paste(store), "hello", "what was stored is read back");
    assert_eq!(shell.paste(count), r#"{"value":1}{"result":"1"}[{"result":"OK"},{"result":2}]"#);
    let taken = r#"{"allowed":true,"remaining":4,"retry_after_ms":0,"reset_after_ms":12000,"decided_by":"redis"}"#;
    assert_eq!(shell.paste(limit), taken);
    the_printed_lines_work(&app, &shell);

    let frozen = shell.paste(freeze);
    assert!(frozen.starts_with("HTTP/1.1 50"), "{frozen}");
    assert!(frozen.contains("collective-outcome: not_executed"), "{frozen}");
    assert!(frozen.contains(r#""status":"warn""#), "the status is shown, too: {frozen}");
    let curl = freeze.lines().find(|line| line.starts_with("curl -i")).expect("the block asks for a key");
    eventually(Duration::from_secs(15), async || shell.paste(curl).starts_with("HTTP/1.1 503")).await;
    let refused = shell.paste(curl);
    for promised in ["HTTP/1.1 503", "retry-after: ", "collective-outcome: not_executed"] {
        assert!(refused.contains(promised), "{promised}: {refused}");
    }
    assert_eq!(client.probe("/readyz").await.status, 200, "taking every instance away would help nobody");

    shell.paste(thaw);
    eventually(Duration::from_secs(15), async || client.get_key("greeting").await.text() == "hello").await;
    eventually(Duration::from_secs(15), async || client.put_key("greeting", "hello").await.is_success()).await;
    let held = shell.paste(lease);
    assert!(held.starts_with(r#"{"lease":"nightly","owner":"worker-7","token":"#), "{held}");
    assert!(held.ends_with(r#","held":true,"expires_in_ms":30000}"#), "{held}");
}

/// What the program prints when it starts is a README as well.
fn the_printed_lines_work(app: &App, shell: &Shell) {
    let printed = app.stdout();
    let lines = printed.lines().filter_map(|line| line.find("curl ").map(|at| &line[at..]));
    let answers: Vec<String> = lines.map(|line| shell.paste(line)).collect();
    assert_eq!(answers, ["", "hello"], "{printed}");
}

#[test]
fn every_make_target_a_page_names_exists() {
    let targets: Vec<&str> = MAKEFILE.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    for page in [README, include_str!("../../CONTRIBUTING.md")] {
        let in_prose = page.split('`').filter(|code| !code.contains('\n'));
        let in_blocks = blocks(page).into_iter().flat_map(str::lines);
        let named = in_prose.chain(in_blocks).filter_map(|code| code.strip_prefix("make ")?.split_whitespace().next());
        let named: Vec<&str> = named.filter(|word| *word != "#").collect();
        assert!(named.len() >= 3, "the page names targets, or this reads it wrongly: {named:?}");
        for target in named {
            assert!(targets.contains(&target), "`make {target}` is no target of the Makefile");
        }
    }
}
