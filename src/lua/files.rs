//! Files for `kong-compat/lfs.lua` and the system's log for `kong-compat/lsyslog.lua`: the part of
//! module `silverback.host` that asks the operating system.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, UNIX_EPOCH};

use mlua::{Lua, LuaString, Table, Value};

/// True, or nil, what went wrong and its number.
type Done = (Option<bool>, Option<String>, Option<i32>);

/// Adds the functions to the module's table.
pub(super) fn install(lua: &Lua, host: &Table) -> mlua::Result<()> {
    host.set("file_attributes", lua.create_function(attributes)?)?;
    host.set("folder_names", lua.create_function(names)?)?;
    let target = |_: &Lua, path: String| {
        Ok(fs::read_link(path).ok().map(|target| target.display().to_string()))
    };
    host.set("link_target", lua.create_function(target)?)?;
    let make = |_: &Lua, path: String| Ok(done(fs::create_dir(path)));
    host.set("make_folder", lua.create_function(make)?)?;
    let remove = |_: &Lua, path: String| Ok(done(fs::remove_dir(path)));
    host.set("remove_folder", lua.create_function(remove)?)?;
    host.set("touch_file", lua.create_function(touch)?)?;
    host.set("link_file", lua.create_function(link)?)?;
    let send = |_: &Lua, (path, text): (String, LuaString)| Ok(done(send(&path, &text.as_bytes())));
    host.set("send_datagram", lua.create_function(send)?)
}

fn done(result: io::Result<()>) -> Done {
    match result {
        Ok(()) => (Some(true), None, None),
        Err(error) => (None, Some(words(&error)), error.raw_os_error()),
    }
}

/// The system's words, without the number that Rust adds.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn attributes(
    lua: &Lua,
    (path, follow): (String, bool),
) -> mlua::Result<(Option<Table>, Option<String>, Option<i32>)> {
    let found = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let found = match found {
        Ok(found) => found,
        Err(error) => return Ok((None, Some(words(&error)), error.raw_os_error())),
    };
    let table = lua.create_table()?;
    table.set("mode", kind(&found))?;
    table.set("permissions", permissions(found.permissions().mode()))?;
    for (name, number) in [
        ("dev", found.dev()),
        ("ino", found.ino()),
        ("nlink", found.nlink()),
        ("uid", u64::from(found.uid())),
        ("gid", u64::from(found.gid())),
        ("rdev", found.rdev()),
        ("size", found.size()),
        ("blocks", found.blocks()),
        ("blksize", found.blksize()),
    ] {
        table.set(name, number)?;
    }
    table.set("access", found.atime())?;
    table.set("modification", found.mtime())?;
    table.set("change", found.ctime())?;
    Ok((Some(table), None, None))
}

fn kind(file: &Metadata) -> &'static str {
    let kind = file.file_type();
    [
        (kind.is_file(), "file"),
        (kind.is_dir(), "directory"),
        (kind.is_symlink(), "link"),
        (kind.is_socket(), "socket"),
        (kind.is_fifo(), "named pipe"),
        (kind.is_char_device(), "char device"),
        (kind.is_block_device(), "block device"),
    ]
    .into_iter()
    .find_map(|(is, name)| is.then_some(name))
    .unwrap_or("other")
}

/// `rw-r--r--`.
fn permissions(mode: u32) -> String {
    let letter = |(at, letter): (usize, char)| if mode & (0o400 >> at) == 0 { '-' } else { letter };
    "rwxrwxrwx".chars().enumerate().map(letter).collect()
}

/// Names in a folder, with the two that every folder has.
fn names(_: &Lua, path: String) -> mlua::Result<(Option<Vec<String>>, Option<String>)> {
    let folder = match fs::read_dir(path) {
        Ok(folder) => folder,
        Err(error) => return Ok((None, Some(words(&error)))),
    };
    let names = folder.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let every = [".", ".."].map(str::to_owned);
    Ok((Some(every.into_iter().chain(names).collect()), None))
}

/// Sets when a file was used and changed; now, if nothing is said.
fn touch(_: &Lua, (path, used, changed): (String, Value, Value)) -> mlua::Result<Done> {
    let time = |value: &Value| {
        let seconds = value.as_f64().and_then(|number| Duration::try_from_secs_f64(number).ok());
        let time = seconds.and_then(|since| UNIX_EPOCH.checked_add(since));
        time.unwrap_or_else(std::time::SystemTime::now)
    };
    let changed = if changed.is_nil() { &used } else { &changed };
    let times = fs::FileTimes::new().set_accessed(time(&used)).set_modified(time(changed));
    Ok(done(fs::File::open(path).and_then(|file| file.set_times(times))))
}

fn link(_: &Lua, (old, new, symbolic): (String, String, bool)) -> mlua::Result<Done> {
    let made =
        if symbolic { std::os::unix::fs::symlink(old, new) } else { fs::hard_link(old, new) };
    Ok(done(made))
}

/// Sends at once or not at all: a log that is slow holds nobody up.
fn send(path: &str, text: &[u8]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to(text, path).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_shown_as_by_ls() {
        assert_eq!(permissions(0o100_644), "rw-r--r--");
        assert_eq!(permissions(0o755), "rwxr-xr-x");
    }

    #[test]
    fn a_message_arrives_at_the_socket_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        send(&path.display().to_string(), b"<14>x").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(log.recv(&mut buffer).unwrap(), 5);
        assert!(send("/no/such/log", b"x").is_err());
    }
}
