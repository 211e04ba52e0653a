//! Writes the log record of every exchange as a line of JSON to a file.
//!
//! A worker has one open file for a path, opened for appending, and writes a line at once, so that
//! lines of several workers do not mix. It never waits: opening and writing do not block, and a
//! pipe that nobody empties loses lines.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Context;
use crate::pdk::{Exchange, log};
use crate::plugin::{Phases, Plugin};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    path: PathBuf,
    reopen: bool,
    /// Set by `lua::plugin::fields`, which stands around this plugin.
    #[serde(rename = "custom_fields_by_lua")]
    _custom_fields_by_lua: Option<IgnoredAny>,
}

struct FileLog {
    sink: Rc<Sink>,
    reopen: bool,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config: Config = context.config()?;
    Ok(Box::new(FileLog::new(&config)))
}

impl Plugin for FileLog {
    fn phases(&self) -> Phases {
        Phases::LOG.and(Phases::RECORD)
    }

    fn log(&self, ex: &Exchange) {
        let mut line = log::serialize(ex).to_string();
        line.push('\n');
        self.sink.write(line.as_bytes(), self.reopen);
    }
}

impl FileLog {
    fn new(config: &Config) -> Self {
        Self { sink: Sink::of(&config.path), reopen: config.reopen }
    }
}

/// A file that lines are appended to; one for a path and worker.
struct Sink {
    path: PathBuf,
    file: RefCell<Option<File>>,
    /// The last line was cut off, so that the next one needs a line break first.
    torn: Cell<bool>,
    /// Lines that were not written since the operator was told.
    lost: Cell<u64>,
    told: Cell<Option<Instant>>,
}

/// The operator is told of lost lines this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

thread_local! {
    static SINKS: RefCell<HashMap<PathBuf, Weak<Sink>>> = RefCell::default();
}

impl Sink {
    /// The sink of this worker for a path.
    fn of(path: &Path) -> Rc<Self> {
        SINKS.with_borrow_mut(|sinks| {
            if let Some(sink) = sinks.get(path).and_then(Weak::upgrade) {
                return sink;
            }
            sinks.retain(|_, sink| sink.strong_count() > 0);
            let sink = Rc::new(Self {
                path: path.to_owned(),
                file: RefCell::default(),
                torn: Cell::new(false),
                lost: Cell::new(0),
                told: Cell::new(None),
            });
            sinks.insert(path.to_owned(), Rc::downgrade(&sink));
            sink
        })
    }

    /// Appends a line. What goes wrong is for the operator; the exchange is over.
    fn write(&self, line: &[u8], reopen: bool) {
        let mut slot = self.file.borrow_mut();
        if reopen {
            *slot = None;
        }
        let file = match slot.take().map_or_else(|| open(&self.path), Ok) {
            Ok(file) => slot.insert(file),
            Err(error) => return self.tell("[file-log] failed to open the file", &error),
        };
        if let Err(error) = self.append(line, file) {
            // A full pipe stays open: its reader would take a new one for the end.
            if error.kind() != ErrorKind::WouldBlock {
                *slot = None;
            }
            self.tell("a log line could not be written", &error);
        }
    }

    fn append(&self, line: &[u8], file: &mut File) -> io::Result<()> {
        let torn = self.torn.get();
        let line = if torn { &[b"\n", line].concat() } else { line };
        let written = write_once(file, line)?;
        self.torn.set(if written == 0 { torn } else { written < line.len() });
        if written < line.len() { Err(ErrorKind::WriteZero.into()) } else { Ok(()) }
    }

    fn tell(&self, what: &str, error: &io::Error) {
        self.lost.set(self.lost.get() + 1);
        if self.told.get().is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        self.told.set(Some(Instant::now()));
        let lost = self.lost.take();
        tracing::error!(
            plugin = "file-log",
            path = %self.path.display(),
            lost,
            "{what}: {}",
            reason(error)
        );
    }
}

/// What the system says, without its number.
fn reason(error: &io::Error) -> String {
    let told = error.to_string();
    told.split_once(" (os error").map_or(told.as_str(), |(reason, _)| reason).to_owned()
}

/// Opens for appending. `O_NONBLOCK`: a pipe without a reader is an error, not a wait.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

fn write_once(file: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match file.write(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            written => return written,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    fn plugin(path: &Path, reopen: bool) -> FileLog {
        FileLog::new(&Config { path: path.to_owned(), reopen, _custom_fields_by_lua: None })
    }

    fn log(plugin: &FileLog, target: &str) {
        plugin.log(&Exchange::for_test("GET", target, &[]));
    }

    fn targets(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let uri = |line: &str| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            record["request"]["uri"].as_str().unwrap().to_owned()
        };
        text.lines().map(uri).collect()
    }

    #[test]
    fn every_exchange_is_one_line_of_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (one, other) = (plugin(&path, false), plugin(&path, false));
        log(&one, "/a");
        log(&other, "/b");
        assert_eq!(targets(&path), ["/a", "/b"]);
        assert!(Rc::ptr_eq(&one.sink, &other.sink));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o133, 0, "{mode:o}");
    }

    #[test]
    fn why_a_file_cannot_be_opened_is_told_in_the_systems_words() {
        let folder = tempfile::tempdir().unwrap();
        let missing = open(&folder.path().join("none/log")).unwrap_err();
        assert_eq!(reason(&missing), "No such file or directory");
        assert_eq!(reason(&open(folder.path()).unwrap_err()), "Is a directory");
        assert_eq!(reason(&ErrorKind::WriteZero.into()), "write zero");
    }

    #[test]
    fn a_file_that_was_moved_away_is_followed_unless_reopened() {
        for (reopen, old, new) in
            [(true, vec!["/a"], vec!["/b"]), (false, vec!["/a", "/b"], vec![])]
        {
            let folder = tempfile::tempdir().unwrap();
            let (path, moved) = (folder.path().join("log"), folder.path().join("old"));
            let plugin = plugin(&path, reopen);
            log(&plugin, "/a");
            std::fs::rename(&path, &moved).unwrap();
            log(&plugin, "/b");
            assert_eq!(targets(&moved), old);
            assert_eq!(if path.exists() { targets(&path) } else { Vec::new() }, new);
        }
    }

    #[test]
    fn a_path_that_cannot_be_opened_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later").join("log");
        let plugin = plugin(&path, false);
        log(&plugin, "/a");
        log(&plugin, "/b");
        // The first line was told at once, the second is still to be told.
        assert_eq!(plugin.sink.lost.get(), 1);
        std::fs::create_dir(folder.path().join("later")).unwrap();
        log(&plugin, "/c");
        assert_eq!(targets(&path), ["/c"]);
    }

    #[test]
    fn a_pipe_neither_waits_for_a_reader_nor_for_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let plugin = plugin(&path, false);
        log(&plugin, "/nobody-reads");
        let mut reader =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        let line = [&[b'x'; 40_000][..], b"\n"].concat();
        // The pipe takes some lines, then a part of one, then nothing.
        while plugin.sink.lost.get() < 2 {
            plugin.sink.write(&line, false);
        }
        let mut drain = || {
            let mut read = Vec::new();
            assert_eq!(reader.read_to_end(&mut read).unwrap_err().kind(), ErrorKind::WouldBlock);
            read
        };
        let torn = !drain().ends_with(b"\n");
        plugin.sink.write(b"{}\n", false);
        assert_eq!(drain(), if torn { &b"\n{}\n"[..] } else { b"{}\n" });
    }
}
