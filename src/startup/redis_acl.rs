//! The verb `redis-acl`: the access list for the Redis that the configuration describes, ready to be its `aclfile`.
//!
//! Why from the configuration: user, password and database then stand in one place, and only the password's hash leaves it.
//! Limits: nothing is sent to Redis; the operator installs the file.

use sha2::{Digest, Sha256};

use crate::config::Settings;
use crate::redis::catalogue::{AclOptions, UnfitUser, acl};

/// Said beside a list in which no password is set.
pub(super) const NO_PASSWORD: &str = "no redis.password is configured: the list holds 64 zeros in its place and nobody can sign in; \
                                      configure it, or put there what `printf %s \"$PASSWORD\" | sha256sum` prints";

/// The list.
pub(super) fn list(settings: &Settings) -> Result<String, UnfitUser> {
    let redis = &settings.redis;
    acl(&AclOptions {
        user: redis.username.as_deref(),
        password_sha256: redis.password.as_ref().map(|password| Sha256::digest(password.expose()).into()),
        selects: redis.url.as_ref().is_some_and(|url| url.database != 0),
    })
}
