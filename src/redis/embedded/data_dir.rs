//! The directory this instance owns: its lock, its modes, its generated secrets.
//!
//! One instance per directory. The lock is a `flock` on `lock`, because the kernel drops it with the process however
//! that died; a pid file alone would have to guess. Everything inside is for the owner only: the directory is 0700,
//! files are 0600.
//!
//! Limits: the lock works among processes of one kernel (containers sharing a volume included), not over network file
//! systems that do not carry `flock`. A directory that is open to others and already holds foreign files is refused
//! rather than closed: a mistyped path must not turn somebody's home, or `/tmp`, into a private place.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustix::fs::FlockOperation;

use super::private_file;
use crate::telemetry::Secret;

/// 256 bits: beyond guessing, and as strong as the hash it will be compared by.
const SECRET_BYTES: usize = 32;
/// A secret file somebody edited must still hold this much: 32 characters of base64 are 192 bits.
const SECRET_CHARACTERS_MIN: usize = 32;

const LOCK: &str = "lock";
const ROOT_TOKEN: &str = "root-token";
const DIRECTORY_MODE: u32 = 0o700;

/// A directory of our own, locked for as long as this value, or an [`Embedded`](super::Embedded) made from it, lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    hold: Arc<Hold>,
}

impl DataDir {
    /// Opens the directory, creates it when missing (0700), and locks it.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] when another instance holds it; [`DataDirError::Exposed`] when it is open to other users
    /// and holds files that are not ours; [`DataDirError::Io`] when the file system says no.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let doing = |doing| move |source| DataDirError::Io { doing, path: path.to_owned(), source };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(DIRECTORY_MODE).create(path).map_err(doing("create"))?;
        // Redis changes its working directory, so every path it is told must be absolute.
        let path = path.canonicalize().map_err(doing("resolve"))?;
        close_to_others(&path)?;
        let hold = Arc::new(Hold(lock(&path)?));
        Ok(Self { path, hold })
    }

    /// The directory, absolute and without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where [`root_token`](Self::root_token) keeps the token.
    pub fn root_token_path(&self) -> PathBuf {
        self.path.join(ROOT_TOKEN)
    }

    /// The generated bootstrap token: created on first use (256 random bits, URL-safe), the same ever after.
    ///
    /// # Errors
    /// [`DataDirError::WeakSecret`] when the file's content was replaced by something short or unprintable, else as for
    /// files.
    pub fn root_token(&self) -> Result<Secret, DataDirError> {
        self.secret(ROOT_TOKEN)
    }

    /// The token an instance left in, or uses from, the directory at `path`, which is neither made nor locked.
    ///
    /// # Errors
    /// As for [`root_token`](Self::root_token).
    pub fn kept_root_token(path: &Path) -> Result<Option<Secret>, DataDirError> {
        kept_secret(path.join(ROOT_TOKEN))
    }

    /// The secret kept in the named file, generated when there is none.
    pub(super) fn secret(&self, name: &str) -> Result<Secret, DataDirError> {
        let path = self.path.join(name);
        if let Some(kept) = kept_secret(path.clone())? {
            return Ok(kept);
        }
        let fresh = generate()?;
        private_file::write(&path, format!("{fresh}\n").as_bytes())
            .map_err(|source| DataDirError::io("write", &path, source))?;
        Ok(Secret::from(fresh))
    }

    /// A share in the lock, for parts that must not outlive it.
    pub(super) fn hold(&self) -> Arc<Hold> {
        Arc::clone(&self.hold)
    }
}

fn kept_secret(path: PathBuf) -> Result<Option<Secret>, DataDirError> {
    let kept = private_file::read(&path).map_err(|source| DataDirError::io("read", &path, source))?;
    let Some(kept) = kept else { return Ok(None) };
    let kept = kept.trim();
    let usable = kept.len() >= SECRET_CHARACTERS_MIN && kept.bytes().all(|byte| byte.is_ascii_graphic());
    if usable { Ok(Some(Secret::from(kept.to_owned()))) } else { Err(DataDirError::WeakSecret { path }) }
}

/// The lock of a data directory, given back on drop.
///
/// Given back explicitly, because closing is not enough: a process that is being forked at that moment has a copy of the
/// descriptor until its exec, and the lock lives as long as the last copy.
#[derive(Debug)]
pub(super) struct Hold(File);

impl Drop for Hold {
    fn drop(&mut self) {
        // Closing the file, which follows, gives it back all the same.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Why the data directory cannot be used. Texts name the directory and the way out, never a secret.
#[derive(Debug)]
pub enum DataDirError {
    /// Another running instance holds the directory.
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process that wrote itself down when it took the lock.
        holder: Option<u32>,
    },
    /// The directory is open to other users and holds files that are not ours.
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret file holds something too short to be a secret, or unprintable.
    WeakSecret {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    Random(getrandom::Error),
    /// The file system refused.
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DataDirError {
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

impl fmt::Display for DataDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path, holder } => {
                let holder = holder.map(|pid| format!(" (process {pid})")).unwrap_or_default();
                write!(
                    f,
                    "data_dir {} is in use by another collective{holder}: stop that one, or give this one a data_dir of its own \
                     (COLLECTIVE_DATA_DIR)",
                    path.display()
                )
            }
            Self::Exposed { path, mode } => write!(
                f,
                "data_dir {} is open to other users (mode {mode:o}) and holds files that are not ours: set data_dir to a new or \
                 empty directory inside it, or close it with chmod 700",
                path.display()
            ),
            Self::WeakSecret { path } => write!(
                f,
                "{} does not hold at least {SECRET_CHARACTERS_MIN} printable characters without spaces: delete the file, and the \
                 next start writes a new secret",
                path.display()
            ),
            Self::Random(source) => write!(f, "the system gave no random bytes for a new secret: {source}"),
            Self::Io { doing, path, source } => write!(
                f,
                "cannot {doing} {}: {source}; data_dir (COLLECTIVE_DATA_DIR) must be a directory this user owns on a disk with \
                 free space",
                path.display()
            ),
        }
    }
}

impl std::error::Error for DataDirError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Random(source) => Some(source),
            Self::InUse { .. } | Self::Exposed { .. } | Self::WeakSecret { .. } => None,
        }
    }
}

fn close_to_others(path: &Path) -> Result<(), DataDirError> {
    let mode =
        fs::metadata(path).map_err(|source| DataDirError::io("inspect", path, source))?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let ours = path.join(LOCK).exists();
    let mut entries = fs::read_dir(path).map_err(|source| DataDirError::io("list", path, source))?;
    if !ours && entries.next().is_some() {
        return Err(DataDirError::Exposed { path: path.to_owned(), mode });
    }
    fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE))
        .map_err(|source| DataDirError::io("close to other users (chmod 700)", path, source))
}

fn lock(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join(LOCK);
    let mut file = open_lock_file(&path).map_err(|source| DataDirError::io("open the lock", &path, source))?;
    if !try_lock(&file).map_err(|source| DataDirError::io("lock", &path, source))? {
        return Err(DataDirError::InUse { path: directory.to_owned(), holder: holder(&mut file) });
    }
    // For the error text of whoever comes second; the lock itself does not depend on it.
    if let Err(error) = write_holder(&mut file) {
        tracing::debug!(%error, "could not note the process id in the lock file");
    }
    Ok(file)
}

/// Opens a file that exists to be locked. It is closed on exec, so no child holds it unless it is handed over on
/// purpose.
pub(super) fn open_lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(private_file::MODE).open(path)
}

/// Takes the exclusive lock without waiting; `false` when somebody else has it.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn generate() -> Result<String, DataDirError> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(DataDirError::Random)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_empty_directory_is_closed_and_an_open_used_one_is_refused() {
        let home = tempfile::tempdir().expect("temporary directory");
        let path = home.path().join("data");
        fs::create_dir(&path).expect("create");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("open");
        drop(DataDir::open(&path).expect("an empty directory is taken"));
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, DIRECTORY_MODE);

        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).expect("open");
        let refusal = DataDir::open(home.path()).expect_err("a directory with foreign files is refused").to_string();
        assert!(refusal.contains("chmod 700"), "{refusal}");
        assert_eq!(fs::metadata(home.path()).expect("metadata").permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_weak_token_file_is_refused_without_repeating_it() {
        let home = tempfile::tempdir().expect("temporary directory");
        let dir = DataDir::open(&home.path().join("data")).expect("open");
        private_file::write(&dir.root_token_path(), b"hunter2").expect("write");
        let refusal = dir.root_token().expect_err("too short").to_string();
        assert!(refusal.contains("root-token") && !refusal.contains("hunter2"), "{refusal}");
    }
}
