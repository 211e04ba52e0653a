//! The hosts file: fixed names, which stand above DNS. It is read again when it has changed.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::settings::RecordKind;

/// The names of one file.
pub(super) struct Hosts {
    path: PathBuf,
    read: Mutex<Read>,
}

/// What the file said when it was read last.
#[derive(Default)]
struct Read {
    /// What tells whether it is still the same.
    version: Option<(SystemTime, u64)>,
    names: HashMap<String, Entry>,
}

/// The first address of each kind (Kong).
#[derive(Clone, Copy, Default)]
struct Entry {
    four: Option<Ipv4Addr>,
    six: Option<Ipv6Addr>,
}

impl Hosts {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::default() }
    }

    /// The address of a name, of the kind that comes first in the order.
    pub(super) fn find(&self, name: &str, order: &[RecordKind]) -> Option<Arc<[IpAddr]>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let version = std::fs::metadata(&self.path)
            .and_then(|metadata| Ok((metadata.modified()?, metadata.len())))
            .ok();
        if version != read.version || read.names.is_empty() {
            let text = std::fs::read(&self.path).unwrap_or_default();
            *read = Read { version, names: parse(&String::from_utf8_lossy(&text)) };
        }
        let entry = read.names.get(name.strip_suffix('.').unwrap_or(name))?;
        let preferred = order.iter().find_map(|kind| match kind {
            RecordKind::A => entry.four.map(IpAddr::from),
            RecordKind::Aaaa => entry.six.map(IpAddr::from),
            RecordKind::Last | RecordKind::Srv => None,
        });
        let any = entry.four.map(IpAddr::from).or(entry.six.map(IpAddr::from));
        Some([preferred.or(any)?].into())
    }
}

fn parse(text: &str) -> HashMap<String, Entry> {
    let mut names: HashMap<String, Entry> = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for name in words {
            let entry = names.entry(name.to_ascii_lowercase()).or_default();
            match ip {
                IpAddr::V4(four) => entry.four = entry.four.or(Some(four)),
                IpAddr::V6(six) => entry.six = entry.six.or(Some(six)),
            }
        }
    }
    // Kong knows it also where the file does not.
    let home = Entry { four: Some(Ipv4Addr::LOCALHOST), six: Some(Ipv6Addr::LOCALHOST) };
    names.entry("localhost".to_owned()).or_insert(home);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: [RecordKind; 1] = [RecordKind::A];
    const SIX: [RecordKind; 2] = [RecordKind::Aaaa, RecordKind::A];

    fn found(hosts: &Hosts, name: &str, order: &[RecordKind]) -> Option<String> {
        hosts.find(name, order).map(|addresses| addresses[0].to_string())
    }

    #[test]
    fn the_first_address_of_a_kind_counts_and_the_order_chooses_the_kind() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text =
            "10.0.0.1 One.test one # two.test\n10.0.0.2 one.test\n::7 one.test\nx y\n::8 six";
        std::fs::write(file.path(), text).unwrap();
        let hosts = Hosts::new(file.path().into());
        assert_eq!(found(&hosts, "one.test", &FOUR).as_deref(), Some("10.0.0.1"));
        assert_eq!(found(&hosts, "one.test.", &SIX).as_deref(), Some("::7"));
        assert_eq!(found(&hosts, "one", &SIX).as_deref(), Some("10.0.0.1"));
        assert_eq!(found(&hosts, "six", &FOUR).as_deref(), Some("::8"));
        assert_eq!(found(&hosts, "two.test", &FOUR), None);
    }

    #[test]
    fn localhost_is_known_without_a_file_and_a_file_may_say_otherwise() {
        let hosts = Hosts::new("/no/such/file".into());
        assert_eq!(found(&hosts, "localhost", &FOUR).as_deref(), Some("127.0.0.1"));
        assert_eq!(found(&hosts, "localhost", &SIX).as_deref(), Some("::1"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "127.0.0.9 localhost\n").unwrap();
        let hosts = Hosts::new(file.path().into());
        assert_eq!(found(&hosts, "localhost", &SIX).as_deref(), Some("127.0.0.9"));
    }

    #[test]
    fn a_file_that_changes_is_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let hosts = Hosts::new(file.path().into());
        assert_eq!(found(&hosts, "new.test", &FOUR), None);
        std::fs::write(file.path(), "10.0.0.3 new.test\n").unwrap();
        assert_eq!(found(&hosts, "new.test", &FOUR).as_deref(), Some("10.0.0.3"));
    }
}
