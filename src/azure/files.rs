//! How the files that hold a proof look, to see that somebody has replaced them.
//!
//! Kubernetes replaces a mounted secret by swapping a link to its folder, which is no event of the
//! file itself. So the files are looked at through all links, every two seconds, by one task for
//! the whole process; they are few.

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
}
