//! The lines of docs/operators.md that make a backup and restore it, run as they stand there.
//!
//! Limits: the embedded Redis; when to back up and where to keep it is the operator's affair.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{App, eventually};

const PAGE: &str = include_str!("../../docs/operators.md");

fn shell(directory: &Path, line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(directory).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell
}

/// What a line prints, trimmed; what goes wrong is part of it.
fn said(directory: &Path, line: &str) -> String {
    let output = shell(directory, line).output().expect("a shell");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned()
}

/// Killed with the test that started it.
struct Restored(Child);

impl Drop for Restored {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_backup_made_as_the_operators_page_says_is_restored_as_it_says() {
    let lines: Vec<&str> =
        PAGE.split("```sh\n").skip(1).filter_map(|block| block.split_once("\n```")).map(|(line, _)| line).collect();
    let [backup, restore] = lines[..] else { panic!("two lines, each expected below: {lines:?}") };
    let app = App::builder().set("data_dir", "./.collective").start().await;
    let directory = app.data_directory().parent().expect("a directory around the data").to_owned();
    let client = app.client();
    eventually(Duration::from_secs(10), async || client.put_key("kept", "before").await.is_success()).await;
    // A write waits for the disk, which may take longer than an attempt. Under a key it counts once, however often it is sent.
    let counted = client.idempotency_key("visits");
    eventually(Duration::from_secs(10), async || counted.increment("visits", 41).await.is_success()).await;
    let told = said(&directory, backup);
    assert!(directory.join("backup.rdb").is_file(), "{told}");
    client.put_key("kept", "after").await;

    let elsewhere = directory.join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    std::fs::copy(directory.join("backup.rdb"), elsewhere.join("backup.rdb")).expect("a copy");
    let _restored =
        Restored(shell(&elsewhere, &format!("exec {restore}")).stdout(Stdio::null()).spawn().expect("a shell"));
    let ask = |command: &str| said(&elsewhere, &format!("redis-cli -s restored.sock {command}"));
    eventually(Duration::from_secs(10), async || ask("PING") == "PONG").await;
    assert_eq!((ask("GET kept"), ask("GET visits")), ("before".to_owned(), "41".to_owned()));
}
