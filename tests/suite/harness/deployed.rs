//! The suite against a Redis as `deploy/redis` sets it up, instead of one that allows everything.
//!
//! What: with `COLLECTIVE_TEST_REDIS_CONF` naming that directory, every server is started from its `redis.conf` and `users.acl`, and
//! the program signs in as the user `collective`. Command-line arguments change only what two servers on one machine cannot share
//! (port, directory, socket, path of the list) and what a test asks for; to the list one user is added, [`OWN`], for what a test itself
//! does to Redis, and `DEBUG` is switched on for that user.
//!
//! Why so: a list of rights is complete only when everything the product does was done under it.
//!
//! Limits: a server with a password of the default user is started as without the variable, since that user is switched off in the
//! list, and so is one with [`super::Options::plain`]. Each start leaves a line in the file that `COLLECTIVE_TEST_REDIS_REPORT` names, so that what was left out can be told.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The user the program signs in as; its password below stands in for the zeros of the committed list.
pub const USER: &str = "collective";
/// Strong enough for any rule about passwords.
pub const PASSWORD: &str = "Xc7RmV2qTn9LkB4wYh8ZpD3sGf6JaE5u";
/// The user of the tests themselves: every right, any password.
pub const OWN: &str = "harness";

/// SHA-256 of [`PASSWORD`].
const HASH: &str = "c31d924aaec3edd88738f9ab41a45b040688f6ab47c85c5f3185de0319264227";

/// The directory with the two files, if the suite is to use them.
pub fn directory() -> Option<PathBuf> {
    std::env::var_os("COLLECTIVE_TEST_REDIS_CONF").map(PathBuf::from)
}

/// Writes the access list for one server into its directory.
pub fn write_list(deployed: &Path, directory: &Path) -> PathBuf {
    let committed = std::fs::read_to_string(deployed.join("users.acl")).expect("users.acl");
    let zeros = "0".repeat(64);
    assert_eq!(committed.matches(&zeros).count(), 1, "one password to fill in");
    let list = format!("{}user {OWN} on nopass ~* &* +@all\n", committed.replace(&zeros, HASH));
    let path = directory.join("users.acl");
    std::fs::write(&path, list).expect("an access list");
    path
}

/// Notes what server this test got: one of `deploy/redis`, or why not.
pub fn report(unfit: Option<&str>) {
    let Some(path) = std::env::var_os("COLLECTIVE_TEST_REDIS_REPORT") else { return };
    let thread = std::thread::current();
    // A runner that starts a process for each test names it on the command line.
    let argument = std::env::args().nth(1).unwrap_or_default();
    let name = thread.name().filter(|name| *name != "main").unwrap_or(&argument);
    let mut file = File::options().create(true).append(true).open(path).expect("the report");
    // One call for one short line: lines of processes side by side do not mix.
    file.write_all(format!("{}\t{name}\n", unfit.unwrap_or("deployed")).as_bytes()).expect("a line of the report");
}
