//! Where a configuration is, and its bytes.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::{self, Source};

/// Largest file, in bytes. No gateway has a configuration of that size; a device has no end.
const MAX_BYTES: u64 = 256 << 20;

/// Where a configuration is.
#[derive(Debug, Clone)]
pub enum Input {
    /// A file, or a folder of files.
    Path(PathBuf),
    /// Text that is already here: standard input, the quickstart, tests.
    Text(Source),
}

/// The inputs that arguments name; `-` is standard input, read here and once.
///
/// # Errors
/// Standard input cannot be read.
pub fn inputs(arguments: &[String]) -> Result<Vec<Input>, Vec<String>> {
    arguments.iter().map(|argument| input(argument).map_err(|error| vec![error])).collect()
}

fn input(argument: &str) -> Result<Input, String> {
    if argument != "-" {
        return Ok(Input::Path(PathBuf::from(argument)));
    }
    let text = text_of(std::io::stdin(), "<stdin>")?;
    Ok(Input::Text(Source { name: "<stdin>".to_owned(), text }))
}

/// The text of a file or pipe.
///
/// # Errors
/// One line: it cannot be read, has no end in sight, or is not UTF-8 (in libyaml's words, as Kong).
fn text_of(from: impl Read, name: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    let length = read.map_err(|error| format!("{name}: {error}"))?;
    if length as u64 > MAX_BYTES {
        return Err(format!("{name}: larger than {} MiB", MAX_BYTES >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        let fault = error.utf8_error();
        let bytes = error.as_bytes();
        let before = &bytes[..fault.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let leads = bytes.get(fault.valid_up_to()).is_some_and(|b| matches!(b, 0xc2..=0xf4));
        let what = match fault.error_len() {
            None => "incomplete UTF-8 octet sequence",
            Some(_) if leads => "invalid trailing UTF-8 octet",
            Some(_) => "invalid leading UTF-8 octet",
        };
        format!("{name}:{line}: failed parsing declarative configuration: 0:0: {what}")
    })
}

/// The files that inputs stand for.
///
/// # Errors
/// One line for each file or folder that is not there or holds nothing.
pub(super) fn read(inputs: &[Input]) -> Result<Vec<Source>, Vec<String>> {
    let mut sources = Vec::new();
    let mut errors = Vec::new();
    for input in inputs {
        match input {
            Input::Text(source) => sources.push(source.clone()),
            Input::Path(path) => match read_path(path) {
                Ok(found) => sources.extend(found),
                Err(error) => errors.push(error),
            },
        }
    }
    if errors.is_empty() { Ok(sources) } else { Err(errors) }
}

fn read_path(path: &Path) -> Result<Vec<Source>, String> {
    let name = |path: &Path| path.display().to_string();
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", name(path));
    let files = match path.is_dir() {
        true => config::files_in(path).map_err(|error| failed(path, error))?,
        false => vec![path.to_owned()],
    };
    if files.is_empty() {
        return Err(format!("{}: the folder holds no .yaml, .yml or .json file", name(path)));
    }
    let read = |file: &PathBuf| {
        let opened = std::fs::File::open(file).map_err(|error| failed(file, error))?;
        let text = text_of(opened, &name(file))?;
        Ok(Source { name: name(file), text })
    };
    files.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_not_read_for_ever() {
        let error = text_of(std::io::repeat(b' '), "/dev/zero").unwrap_err();
        assert_eq!(error, "/dev/zero: larger than 256 MiB");
    }

    #[test]
    fn what_is_not_utf_8_is_told_with_its_line() {
        let told = |bytes: &[u8]| text_of(bytes, "k.yaml").unwrap_err();
        let failed = "failed parsing declarative configuration: 0:0:";
        let leading = format!("k.yaml:2: {failed} invalid leading UTF-8 octet");
        assert_eq!(told(b"a: 1\nb: \xff\n"), leading);
        let trailing = format!("k.yaml:1: {failed} invalid trailing UTF-8 octet");
        assert_eq!(told(b"a: \xe9b\n"), trailing);
        let incomplete = format!("k.yaml:1: {failed} incomplete UTF-8 octet sequence");
        assert_eq!(told(b"a: \xe2\x82"), incomplete);
    }
}
