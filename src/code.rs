//! Which Lua modules the VMs have loaded, and from which files.
//!
//! A reload asks whether one has changed. If so the next configuration belongs to another
//! generation of code, and every worker makes itself a new VM for it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The generation of code that is in use.
#[derive(Debug, Default)]
pub struct Code(Mutex<Generation>);

#[derive(Debug, Default)]
struct Generation {
    number: u64,
    files: Arc<Files>,
}

/// The modules of one generation, by name.
#[derive(Debug, Default)]
pub struct Files(Mutex<HashMap<String, Origin>>);

/// Where a module came from: a file as it was then, or this binary.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin(Option<(PathBuf, Option<Look>)>);

/// Time of the last change, length, and which file it is.
type Look = (SystemTime, u64, u64);

fn look(path: &Path) -> Option<Look> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len(), meta.ino()))
}

impl Files {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Origin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes where a module is about to be loaded from; `None` is this binary. What was noted first
    /// stays: other VMs may have that.
    pub fn note(&self, module: &str, file: Option<&Path>) {
        let origin = Origin(file.map(|file| (file.to_owned(), look(file))));
        self.known().entry(module.to_owned()).or_insert(origin);
    }

    fn have_changed(&self) -> bool {
        let is_other = |origin: &Origin| match &origin.0 {
            Some((path, seen)) => look(path) != *seen,
            None => false,
        };
        self.known().values().any(is_other)
    }

    /// Whether a module that both know is not the same.
    fn differ_from(&self, others: &Self) -> bool {
        let others = others.known();
        self.known().iter().any(|(module, own)| others.get(module).is_some_and(|one| one != own))
    }

    fn add(&self, others: &Self) {
        let others = others.known();
        let mut known = self.known();
        for (module, origin) in others.iter() {
            known.entry(module.clone()).or_insert_with(|| origin.clone());
        }
    }
}

impl Code {
    fn generation(&self) -> MutexGuard<'_, Generation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation of a configuration whose trial has loaded these modules: another one, if
    /// something has changed since the one in use was loaded.
    pub fn next(&self, loaded: Arc<Files>) -> u64 {
        let mut generation = self.generation();
        if generation.files.have_changed() || loaded.differ_from(&generation.files) {
            generation.number += 1;
            generation.files = loaded;
        } else {
            generation.files.add(&loaded);
        }
        generation.number
    }

    /// Where the VMs of a generation note what they load; nobody reads that of an older one.
    pub fn files(&self, number: u64) -> Arc<Files> {
        let generation = self.generation();
        if generation.number == number { generation.files.clone() } else { Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(module: &str, file: Option<&Path>) -> Arc<Files> {
        let files = Files::default();
        files.note(module, file);
        Arc::new(files)
    }

    #[test]
    fn a_file_that_changes_begins_another_generation_and_others_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lua");
        fs::write(&path, "return 1").unwrap();
        let code = Code::default();
        assert_eq!(code.next(loaded("a", Some(&path))), 0);
        assert_eq!(code.next(loaded("a", Some(&path))), 0, "nothing has changed");
        assert_eq!(code.next(loaded("b", None)), 0, "a plugin more");
        fs::write(&path, "return 1000").unwrap();
        assert_eq!(code.next(loaded("a", Some(&path))), 1);
        assert_eq!(code.next(loaded("a", Some(&path))), 1);
        fs::remove_file(&path).unwrap();
        assert_eq!(code.next(loaded("a", None)), 2);
    }

    #[test]
    fn a_file_in_front_of_an_embedded_module_begins_another_generation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lua");
        let code = Code::default();
        assert_eq!(code.next(loaded("a", None)), 0);
        fs::write(&path, "return 1").unwrap();
        assert_eq!(code.next(loaded("a", Some(&path))), 1);
    }

    #[test]
    fn what_a_worker_loads_later_counts_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("late.lua");
        fs::write(&path, "return 1").unwrap();
        let code = Code::default();
        assert_eq!(code.next(loaded("a", None)), 0);
        code.files(0).note("late", Some(&path));
        fs::write(&path, "return 1000").unwrap();
        assert_eq!(code.next(loaded("a", None)), 1);
    }
}
