//! Where a configuration is, and its bytes.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::config::{self, Source};

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
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|error| format!("standard input: {error}"))?;
    Ok(Input::Text(Source { name: "<stdin>".to_owned(), text }))
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
        let text = std::fs::read_to_string(file).map_err(|error| failed(file, error))?;
        Ok(Source { name: name(file), text })
    };
    files.iter().map(read).collect()
}
