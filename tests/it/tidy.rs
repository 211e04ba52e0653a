//! The rules of the house, checked: who may import whom, how long things may be, what must be
//! where. ARCHITECTURE.md has the reasons.

mod configs;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use silverback::plugins;

/// Every module of the library and its floor: 0 nouns, 1 contract, 2 engines, 3 Lua and plugins,
/// 4 configuration and runloop, 5 the process. A file imports its own floor or lower ones.
const FLOORS: &[(&str, u8)] = &[
    ("catalog", 0),
    ("dicts", 0),
    ("distance", 0),
    ("entity", 0),
    ("settings", 0),
    ("snapshot", 0),
    ("systemd", 0),
    ("code", 1),
    ("guard", 1),
    ("metrics", 1),
    ("pdk", 1),
    ("plugin", 1),
    ("respond", 1),
    ("schema", 1),
    ("vms", 1),
    ("azure", 2),
    ("balancer", 2),
    ("cache", 2),
    ("chain", 2),
    ("deliveries", 2),
    ("dns", 2),
    ("http1", 2),
    ("line", 2),
    ("llm", 2),
    ("otlp", 2),
    ("postgres", 2),
    ("proxy", 2),
    ("quota", 2),
    ("redis", 2),
    ("router", 2),
    ("shared", 2),
    ("standings", 2),
    ("tls", 2),
    ("upstream", 2),
    ("vectors", 2),
    ("lua", 3),
    ("plugins", 3),
    ("config", 4),
    ("loader", 4),
    ("runloop", 4),
    ("cli", 5),
    ("gateway", 5),
    ("server", 5),
    ("sim", 5),
    ("telemetry", 5),
];

/// Plugins cannot tell Lua from Rust, and know neither files nor the process.
const PLUGINS_MAX: u8 = 2;
/// Lines of a file, without its tests.
const LINES_MAX: usize = 500;
/// Characters of a line.
const COLUMNS_MAX: usize = 100;

/// A source file.
struct Text {
    /// From the repository's root.
    path: String,
    text: String,
}

impl Text {
    /// The module of the library that the file belongs to; `None` for its root and the program's.
    fn module(&self) -> Option<&str> {
        if self.path.starts_with("plugins/") {
            return Some("plugins");
        }
        let name = self.path.strip_prefix("src/")?.split('/').next()?;
        let name = name.strip_suffix(".rs").unwrap_or(name);
        (!matches!(name, "lib" | "main")).then_some(name)
    }

    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    /// The lines in front of the tests, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.product().lines().enumerate();
        let lines = lines.map(|(number, line)| (number + 1, line));
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The text in front of the tests.
    fn product(&self) -> &str {
        let end = self.text.find("\n#[cfg(test)]\nmod tests {");
        if self.is_test() { "" } else { &self.text[..end.unwrap_or(self.text.len())] }
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust and Lua file below these folders.
fn texts(folders: &[&str]) -> Vec<Text> {
    let mut paths = Vec::new();
    folders.iter().for_each(|folder| collect(&root().join(folder), &mut paths));
    paths.sort();
    let text = |path: PathBuf| Text {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(),
    };
    paths.into_iter().map(text).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "lua")
        {
            paths.push(path);
        }
    }
}

fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn imports_go_down() {
    let floor = |module: &str| FLOORS.iter().find(|known| known.0 == module).map(|known| known.1);
    let mut faults = Vec::new();
    for text in texts(&["src", "plugins"]).iter().filter(|text| text.is_rust()) {
        let Some(module) = text.module() else { continue };
        let Some(own) = floor(module) else {
            faults.push(format!("{}: give '{module}' a floor", text.path));
            continue;
        };
        let highest = if module == "plugins" { PLUGINS_MAX } else { own };
        for (line, import) in imports(text).into_iter().filter(|(_, import)| import != module) {
            let Some(other) = floor(&import) else { continue };
            if other > highest {
                let what = format!("floor {own} imports '{import}' of floor {other}");
                faults.push(format!("{}:{line}: {what}", text.path));
            }
        }
    }
    assert_none(faults);
}

/// The modules that `crate::` paths name, one by one or in braces.
fn imports(text: &Text) -> Vec<(usize, String)> {
    static IMPORT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\bcrate::(?:\{([^}]*)\}|(\w+))").unwrap());
    let mut found = Vec::new();
    for (number, line) in text.code() {
        for captures in IMPORT.captures_iter(line) {
            let names = captures.get(1).or(captures.get(2)).map_or("", |found| found.as_str());
            let first = |name: &str| name.trim().split("::").next().unwrap().to_owned();
            found.extend(names.split(',').map(|name| (number, first(name))));
        }
    }
    found
}

#[test]
fn only_lua_names_mlua_and_only_settings_read_the_environment() {
    let environment = Regex::new(r"\benv::(vars?(_os)?|set_var|remove_var|home_dir)\b").unwrap();
    let mut faults = Vec::new();
    for text in texts(&["src", "plugins"]).iter().filter(|text| text.is_rust()) {
        for (number, line) in text.code() {
            if line.contains("mlua") && text.module() != Some("lua") {
                faults.push(format!("{}:{number}: mlua is for src/lua", text.path));
            }
            if environment.is_match(line) && text.module() != Some("settings") {
                faults.push(format!("{}:{number}: settings reads the environment", text.path));
            }
        }
    }
    assert_none(faults);
}

#[test]
fn files_and_lines_are_short() {
    let mut faults = Vec::new();
    for text in texts(&["src", "plugins", "kong-compat", "tests", "spec"]) {
        let lines = text.product().lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{}: {lines} lines", text.path));
        }
        // Recorded with a Kong as they are.
        let lines = text.text.lines().filter(|_| !text.path.starts_with("spec/probes/"));
        for (number, line) in lines.enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                faults.push(format!("{}:{}: {columns} columns", text.path, number + 1));
            }
        }
    }
    assert_none(faults);
}

#[test]
fn files_say_what_they_are_for() {
    let silent = texts(&["src", "plugins", "tests"])
        .into_iter()
        .filter(|text| text.is_rust() && !text.is_test() && !text.text.starts_with("//! "));
    assert_none(silent.map(|text| format!("{}: no module note", text.path)).collect());
}

#[test]
fn nothing_is_left_for_later() {
    // In two parts, so that this file passes.
    let words =
        [["FIX", "ME"], ["TO", "DO"], ["XX", "X:"], ["db", "g!("]].map(|word| word.concat());
    let mut faults = Vec::new();
    for text in texts(&["src", "plugins", "kong-compat", "tests", "spec"]) {
        for (number, line) in text.text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                faults.push(format!("{}:{}: {word}", text.path, number + 1));
            }
        }
    }
    assert_none(faults);
}

#[test]
fn a_plugin_is_a_schema_and_one_handler() {
    let mut faults = Vec::new();
    let mut native = BTreeSet::new();
    for entry in fs::read_dir(root().join("plugins")).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let has = |file: &str| folder.join(file).is_file();
        if !has("schema.lua") {
            faults.push(format!("plugins/{name}: no schema.lua"));
        }
        match (has("handler.rs"), has("handler.lua")) {
            (true, false) => drop(native.insert(name)),
            (false, true) => {}
            (true, true) => faults.push(format!("plugins/{name}: two handlers")),
            (false, false) => faults.push(format!("plugins/{name}: no handler")),
        }
    }
    assert_none(faults);
    let table = plugins::NATIVE.iter().map(|native| native.name.to_owned());
    assert_eq!(table.collect::<BTreeSet<_>>(), native, "the table of plugins/mod.rs, the folders");
}

/// What Lua plugins may call is what docs/compatibility.md says they may.
#[test]
fn the_document_lists_the_functions_of_the_pdk() {
    let row = Regex::new(r#"(?:\bRow::\w+\(\s*|\bname: )"([a-z_.]+)""#).unwrap();
    let mut rows = BTreeSet::new();
    for text in texts(&["src/lua/kong"]) {
        rows.extend(row.captures_iter(text.product()).map(|found| found[1].to_owned()));
    }
    let document = fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let mut listed = BTreeSet::new();
    for line in document.lines().filter_map(|line| line.strip_prefix("| `kong.")) {
        let (namespace, functions) = line.split_once('`').unwrap();
        let functions = functions.split('`').skip(1).step_by(2);
        listed.extend(functions.map(|function| format!("{namespace}.{function}")));
    }
    assert_eq!(listed, rows, "docs/compatibility.md, src/lua/kong");
}
