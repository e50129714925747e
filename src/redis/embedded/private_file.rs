//! Small files nobody else may read: secrets and the settings that contain one.
//!
//! A file is written beside its final name, fsynced and renamed, so a crash leaves the old content or the new, never
//! half a secret. Limits: the caller holds the directory's lock, so there is one writer; the file must fit in memory.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::data_dir::DataDirError;

/// Readable and writable by the owner alone.
pub(super) const MODE: u32 = 0o600;

/// Replaces the file's content, all of it or nothing.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = draft_of(path);
    remove_if_there(&draft)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    // The new name lives in the directory, so the directory has to reach the disk, too.
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// The file's content, `None` when there is no such file. A file others could read is closed to them first.
pub(super) fn read(path: &Path, owner: u32) -> Result<Option<String>, DataDirError> {
    let mut file = match open(path, OpenOptions::new().read(true), owner) {
        Err(DataDirError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let reading = |source| DataDirError::io("read", path, source);
    let mode = file.metadata().map_err(reading)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(file = %path.display(), mode = format!("{mode:o}"), "a secret file was open to other users: closed it");
        file.set_permissions(Permissions::from_mode(MODE)).map_err(reading)?;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(reading)?;
    Ok(Some(text))
}

/// Opens a plain file of that owner's. A link is not followed, whoever made it, and nothing that is no file is waited for.
pub(super) fn open(path: &Path, options: &mut OpenOptions, owner: u32) -> Result<File, DataDirError> {
    let not_plain = || DataDirError::NotPlain { path: path.to_owned() };
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let opened = options.custom_flags(i32::try_from(flags).unwrap_or_default()).open(path);
    let file = opened.map_err(|source| match source.raw_os_error() {
        Some(code) if code == Errno::LOOP.raw_os_error() => not_plain(),
        _ => DataDirError::io("open", path, source),
    })?;
    // Of what was opened, not of what now has the name.
    let metadata = file.metadata().map_err(|source| DataDirError::io("inspect", path, source))?;
    if !metadata.is_file() {
        return Err(not_plain());
    }
    owned_by(&metadata, owner, path)?;
    Ok(file)
}

/// Lets pass what belongs to that user.
pub(super) fn owned_by(metadata: &Metadata, wanted: u32, path: &Path) -> Result<(), DataDirError> {
    let owner = metadata.uid();
    if owner == wanted { Ok(()) } else { Err(DataDirError::Foreign { path: path.to_owned(), owner, wanted }) }
}

/// The user we run as.
pub(super) fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Removes a file that may not be there.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_is_private_and_survives_a_left_over_draft() {
        let home = tempfile::tempdir().expect("temporary directory");
        let path = home.path().join("secret");
        fs::write(draft_of(&path), "half a secr").expect("draft");
        write(&path, b"first").expect("first");
        write(&path, b"second").expect("second");
        assert_eq!(read(&path, us()).expect("read").as_deref(), Some("second"));
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, MODE);
        assert!(!draft_of(&path).exists());
    }

    #[test]
    fn a_secret_open_to_others_is_closed_when_read() {
        let home = tempfile::tempdir().expect("temporary directory");
        let path = home.path().join("secret");
        write(&path, b"content").expect("write");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("loosen");
        read(&path, us()).expect("read");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, MODE);
    }
}
