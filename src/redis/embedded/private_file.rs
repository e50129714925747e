//! Small files nobody else may read: secrets and the settings that contain one.
//!
//! A file is written beside its final name, fsynced and renamed, so a crash leaves the old content or the new, never
//! half a secret. Limits: the caller holds the directory's lock, so there is one writer; the file must fit in memory.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

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
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(file = %path.display(), mode = format!("{mode:o}"), "a secret file was open to other users: closed it");
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
    }
    fs::read_to_string(path).map(Some)
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
        assert_eq!(read(&path).expect("read").as_deref(), Some("second"));
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, MODE);
        assert!(!draft_of(&path).exists());
    }

    #[test]
    fn a_secret_open_to_others_is_closed_when_read() {
        let home = tempfile::tempdir().expect("temporary directory");
        let path = home.path().join("secret");
        write(&path, b"content").expect("write");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("loosen");
        read(&path).expect("read");
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, MODE);
    }
}
