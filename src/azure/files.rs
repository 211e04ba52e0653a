//! Files that hold a proof: reading them, and how they look, to see that somebody has replaced
//! them.
//!
//! Kubernetes replaces a mounted secret by swapping a link to its folder, which is no event of the
//! file itself. So the files are looked at through all links, every two seconds, by one task for
//! the whole process; they are few.

use std::fs::File;
use std::io::{self, Error, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// The look of some files; another look means another content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<Look>>);

/// Time of the last change, length, and which file it is: a copy may keep the first two.
type Look = (Option<SystemTime>, u64, u64);

impl Stamp {
    /// Looks without holding up the thread: the files may be on a network.
    pub(super) async fn of(paths: &[&Path]) -> Self {
        let mut looks = Vec::with_capacity(paths.len());
        for path in paths {
            let seen = tokio::fs::metadata(path).await.ok();
            looks.push(seen.map(|meta| (meta.modified().ok(), meta.len(), meta.ino())));
        }
        Self(looks)
    }

    /// Whether every file is there.
    pub(super) fn is_complete(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }
}

/// The content of a regular file with at most `max` bytes; the thread may block.
///
/// It is looked at before it is opened: to open a pipe is to wait for whoever writes to it.
pub(super) fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(Error::new(ErrorKind::InvalidData, format!("larger than {max} bytes")));
    }
    Ok(bytes)
}

/// The same as text, off this thread.
pub(super) async fn read_text(path: &Path, max: u64) -> io::Result<String> {
    let path = path.to_owned();
    let content = tokio::task::spawn_blocking(move || read(&path, max));
    let bytes = content.await.map_err(Error::other)??;
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "not UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn a_secret_that_kubernetes_swaps_has_another_look() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("v1", "one"), ("v2", "two")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("token"), text).unwrap();
        }
        symlink("v1", at("..data")).unwrap();
        symlink("..data/token", at("token")).unwrap();
        let path = at("token");
        let before = Stamp::of(&[&path]).await;
        assert_eq!(before, Stamp::of(&[&path]).await);

        symlink("v2", at("..data_tmp")).unwrap();
        std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_ne!(before, Stamp::of(&[&path]).await);
        std::fs::remove_file(at("..data")).unwrap();
        assert!(!Stamp::of(&[&path]).await.is_complete());
    }

    #[tokio::test]
    async fn a_pipe_where_a_file_should_be_hangs_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let error = read_text(&pipe, 10).await.unwrap_err();
        assert_eq!(error.to_string(), "not a regular file");
    }

    #[tokio::test]
    async fn a_file_is_read_to_its_bound_and_no_further() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789").unwrap();
        assert_eq!(read_text(file.path(), 10).await.unwrap(), "0123456789");
        let error = read_text(file.path(), 9).await.unwrap_err();
        assert_eq!(error.to_string(), "larger than 9 bytes");
        std::fs::write(file.path(), b"\xff").unwrap();
        assert_eq!(read_text(file.path(), 9).await.unwrap_err().to_string(), "not UTF-8");
    }
}
