//! `silverback plugin new`: the files that a plugin begins with.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Outcome, PluginNewArgs, USAGE, complain, print};
use crate::{lua, plugins};

/// Each file, and where it goes; `@NAME@` stands for the name in both.
const FILES: [(&str, &str); 5] = [
    ("kong/plugins/@NAME@/handler.lua", include_str!("handler.lua")),
    ("kong/plugins/@NAME@/schema.lua", include_str!("schema.lua")),
    ("kong/plugins/@NAME@/example.yaml", include_str!("example.yaml")),
    ("kong/plugins/@NAME@/README.md", include_str!("README.md")),
    ("spec/@NAME@/01-access_spec.lua", include_str!("spec.lua")),
];

pub(super) fn new(args: &PluginNewArgs) -> Outcome {
    if let Err(error) = checked(&args.name) {
        complain(&error);
        return Ok(ExitCode::from(USAGE));
    }
    let files = FILES.map(|(path, text)| {
        let filled = |text: &str| text.replace("@NAME@", &args.name);
        (Path::new(&args.dir).join(filled(path)), filled(text))
    });
    let taken: Vec<_> = files.iter().filter(|(path, _)| path.exists()).collect();
    if !taken.is_empty() {
        let line = |(path, _): &&(PathBuf, String)| format!("{} is there already", path.display());
        return Err(taken.iter().map(line).collect());
    }
    for (path, text) in &files {
        let failed = |error: std::io::Error| vec![format!("{}: {error}", path.display())];
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        std::fs::write(path, text).map_err(failed)?;
        print(&format!("{}\n", path.display()));
    }
    let name = &args.name;
    print(&format!(
        "\nIn {}:\n  silverback spec spec/{name}\n  KONG_PLUGINS=bundled,{name} silverback run \
         kong/plugins/{name}/example.yaml\n",
        args.dir
    ));
    Ok(ExitCode::SUCCESS)
}

/// A name is a folder and part of a module's name, and nobody else's.
fn checked(name: &str) -> Result<(), String> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if name.is_empty() || !name.bytes().all(is_plain) || name.starts_with('-') {
        return Err(format!("'{name}' is no name for a plugin: letters, digits, '-' and '_'"));
    }
    let is_known = plugins::is_kongs(name) || lua::bundled_plugins().any(|known| known == name);
    if is_known || name == "bundled" || name == "off" {
        return Err(format!("'{name}' has a meaning in Kong already"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folders_and_nobody_elses() {
        assert_eq!(checked("my-plugin_2"), Ok(()));
        for name in ["", "a.b", "a/b", "../x", "a b", "-x", "bundled", "key-auth", "ai-proxy"] {
            assert!(checked(name).is_err(), "{name}");
        }
    }
}
