//! The directory this instance owns: its lock, its modes, its generated secrets.
//!
//! One instance per directory. The lock is a `flock` on `lock`, because the kernel drops it with the process however
//! that died; a pid file alone would have to guess. Everything inside is for the owner only: the directory is 0700,
//! files are 0600. And everything is of the user we run as: a directory that somebody else made, in a place where everybody may make
//! one, would hold his token and, under the names of our files, links to what he wants overwritten.
//!
//! Limits: the lock works among processes of one kernel (containers sharing a volume included), not over network file
//! systems that do not carry `flock`. A directory that is open to others and already holds foreign files is refused
//! rather than closed: a mistyped path must not turn somebody's home, or `/tmp`, into a private place.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
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
    /// and holds files that are not ours; [`DataDirError::Foreign`] and [`DataDirError::NotPlain`] when it, or a file in it, is
    /// another user's or a link; [`DataDirError::Io`] when the file system says no.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let doing = |doing| move |source| DataDirError::Io { doing, path: path.to_owned(), source };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(DIRECTORY_MODE).create(path).map_err(doing("create"))?;
        // Redis changes its working directory, so every path it is told must be absolute.
        let path = resolved(path)?;
        own_directory(&path)?;
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
        // An administrator may ask in the name of the service's user, to whom all of it then belongs.
        let owner = fs::metadata(path).map_or_else(|_| private_file::us(), |metadata| metadata.uid());
        kept_secret(path.join(ROOT_TOKEN), owner)
    }

    /// The secret kept in the named file, generated when there is none.
    pub(super) fn secret(&self, name: &str) -> Result<Secret, DataDirError> {
        let path = self.path.join(name);
        if let Some(kept) = kept_secret(path.clone(), private_file::us())? {
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

fn kept_secret(path: PathBuf, owner: u32) -> Result<Option<Secret>, DataDirError> {
    let Some(kept) = private_file::read(&path, owner)? else { return Ok(None) };
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
    /// The directory or a file in it belongs to another user than it has to.
    Foreign {
        /// Which.
        path: PathBuf,
        /// To whom it belongs.
        owner: u32,
        /// To whom it has to.
        wanted: u32,
    },
    /// A symbolic link, or something else that is no plain file or directory, under the name of one of ours.
    NotPlain {
        /// Which.
        path: PathBuf,
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
            Self::Foreign { path, owner, wanted } => write!(
                f,
                "{} belongs to user {owner}, and has to belong to user {wanted}: whoever made it chose what is in it. Set data_dir \
                 (COLLECTIVE_DATA_DIR) to a directory of that user's own; or, if you know what is in it, chown it",
                path.display()
            ),
            Self::NotPlain { path } => write!(
                f,
                "{} is a symbolic link or a special file, and has to be a plain one: put a copy of what it leads to in its place, or \
                 remove it, and the next start makes it anew",
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
            Self::InUse { .. }
            | Self::Exposed { .. }
            | Self::Foreign { .. }
            | Self::NotPlain { .. }
            | Self::WeakSecret { .. } => None,
        }
    }
}

/// Where it really lies. Data and log may be on another disk, behind a link.
pub(super) fn resolved(path: &Path) -> Result<PathBuf, DataDirError> {
    own_link(path)?;
    path.canonicalize().map_err(|source| DataDirError::io("resolve", path, source))
}

/// The same for what may not be there yet.
pub(super) fn resolved_if_there(path: PathBuf) -> Result<PathBuf, DataDirError> {
    match resolved(&path) {
        Err(DataDirError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(path),
        other => other,
    }
}

/// A link to it may be there if we, or those who rule the machine, put it there.
fn own_link(path: &Path) -> Result<(), DataDirError> {
    let metadata = fs::symlink_metadata(path).map_err(|source| DataDirError::io("inspect", path, source))?;
    let (owner, wanted) = (metadata.uid(), private_file::us());
    let by_whom_we_trust = owner == wanted || owner == 0;
    if !metadata.is_symlink() || by_whom_we_trust {
        return Ok(());
    }
    Err(DataDirError::Foreign { path: path.to_owned(), owner, wanted })
}

/// Lets a directory pass that is one, and ours.
pub(super) fn own_directory(path: &Path) -> Result<(), DataDirError> {
    let metadata = fs::symlink_metadata(path).map_err(|source| DataDirError::io("inspect", path, source))?;
    if !metadata.is_dir() {
        return Err(DataDirError::NotPlain { path: path.to_owned() });
    }
    private_file::owned_by(&metadata, private_file::us(), path)
}

fn close_to_others(path: &Path) -> Result<(), DataDirError> {
    let mode =
        fs::metadata(path).map_err(|source| DataDirError::io("inspect", path, source))?.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    // Anybody could have put a file of that name into a directory that was open; then it is not ours.
    let ours =
        fs::symlink_metadata(path.join(LOCK)).is_ok_and(|lock| lock.is_file() && lock.uid() == private_file::us());
    let mut entries = fs::read_dir(path).map_err(|source| DataDirError::io("list", path, source))?;
    if !ours && entries.next().is_some() {
        return Err(DataDirError::Exposed { path: path.to_owned(), mode });
    }
    fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE))
        .map_err(|source| DataDirError::io("close to other users (chmod 700)", path, source))
}

fn lock(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join(LOCK);
    let mut file = open_lock_file(&path)?;
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
pub(super) fn open_lock_file(path: &Path) -> Result<File, DataDirError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(private_file::MODE);
    private_file::open(path, &mut options, private_file::us())
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

    #[test]
    fn a_link_under_the_name_of_one_of_our_files_is_refused_and_what_it_leads_to_stays() {
        for name in [LOCK, ROOT_TOKEN] {
            let home = tempfile::tempdir().expect("temporary directory");
            let path = home.path().join("data");
            DirBuilder::new().mode(DIRECTORY_MODE).create(&path).expect("create");
            let precious = home.path().join("precious");
            fs::write(&precious, "p".repeat(SECRET_CHARACTERS_MIN)).expect("write");
            std::os::unix::fs::symlink(&precious, path.join(name)).expect("link");
            let refusal = DataDir::open(&path).and_then(|dir| dir.root_token()).expect_err("a link").to_string();
            assert!(refusal.contains("symbolic link") && refusal.contains(name), "{refusal}");
            assert_eq!(fs::read_to_string(&precious).expect("read").len(), SECRET_CHARACTERS_MIN, "{name}");
        }
    }

    #[test]
    fn what_belongs_to_another_user_is_refused() {
        if private_file::us() != 0 {
            return; // only root can give a directory away
        }
        const NOBODY: u32 = 65_534;
        let home = tempfile::tempdir().expect("temporary directory");
        let path = home.path().join("data");
        let refusal = || DataDir::open(&path).and_then(|dir| dir.root_token()).expect_err("foreign").to_string();
        drop(DataDir::open(&path).expect("open").root_token().expect("a token"));
        for foreign in [path.join(ROOT_TOKEN), path.join(LOCK), path.clone()] {
            std::os::unix::fs::chown(&foreign, Some(NOBODY), None).expect("chown");
            assert!(refusal().contains("belongs to user 65534"), "{}: {}", foreign.display(), refusal());
            std::os::unix::fs::chown(&foreign, Some(0), None).expect("chown");
        }
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("link");
        drop(DataDir::open(&link).expect("a link of our own"));
        std::os::unix::fs::lchown(&link, Some(NOBODY), None).expect("chown");
        DataDir::open(&link).expect_err("somebody else's link");
    }

    #[test]
    fn a_foreign_lock_does_not_make_an_open_directory_ours() {
        let home = tempfile::tempdir().expect("temporary directory");
        let path = home.path().join("data");
        fs::create_dir(&path).expect("create");
        fs::set_permissions(&path, Permissions::from_mode(0o777)).expect("open");
        std::os::unix::fs::symlink("/nowhere", path.join(LOCK)).expect("link");
        let refusal = DataDir::open(&path).expect_err("refused").to_string();
        assert!(refusal.contains("chmod 700"), "{refusal}");
    }
}
