//! Embeds the Lua files in the binary, keyed by Lua module name, and lays out its functions.
//!
//! `kong-compat/kong/constants.lua` becomes `kong.constants`, and `plugins/key-auth/schema.lua`
//! becomes `kong.plugins.key-auth.schema`: the path is the name, so there is no list to maintain.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// Folder in the repository, and the module name that stands for it.
const ROOTS: [(&str, &str); 2] = [("kong-compat", ""), ("plugins", "kong.plugins.")];

#[allow(clippy::print_stdout)] // how a build script talks to cargo
fn main() -> io::Result<()> {
    let repository = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let mut modules = Vec::new();
    for (folder, prefix) in ROOTS {
        let root = repository.join(folder);
        println!("cargo:rerun-if-changed={}", root.display());
        collect(&repository, &root, &root, prefix, &mut modules)?;
    }
    modules.sort();
    embed(&modules, &out)?;
    lay_out(&repository, &out)
}

/// Writes all files one behind the other, and what is where. Names between them would lie all over
/// their texts, and whoever looks for a name would have all of it in memory.
fn embed(modules: &[(String, String, String)], out: &Path) -> io::Result<()> {
    let (mut all, mut entries) = (String::new(), String::new());
    for (name, path, file) in modules {
        let start = all.len();
        all.push_str(&fs::read_to_string(file)?);
        let end = all.len();
        writeln!(entries, "    ({name:?}, {path:?}, part({start}, {end})),")
            .map_err(io::Error::other)?;
    }
    fs::write(out.join("modules.lua"), all)?;
    let text = format!("{PARTS}    &[\n{entries}    ]\n}}\n");
    fs::write(out.join("modules.rs"), text)
}

/// How `modules.rs` begins.
const PARTS: &str = r#"{
    static ALL: &str = include_str!(concat!(env!("OUT_DIR"), "/modules.lua"));
    const fn part(start: usize, end: usize) -> &'static str {
        ALL.split_at(end).0.split_at(start).1
    }
"#;

/// Tells the linker how a release lies in memory: the functions that are run together, since what
/// lies beside one of them is in memory with it, and its relocations packed. `bench/layout.py` has
/// found the functions; `SILVERBACK_LAYOUT` names another list.
///
/// GNU's linker and LLVM's take the script; a name that is nowhere does no harm.
#[allow(clippy::print_stdout)] // how a build script talks to cargo
fn lay_out(repository: &Path, out: &Path) -> io::Result<()> {
    println!("cargo:rerun-if-env-changed=SILVERBACK_LAYOUT");
    let own = repository.join("packaging/layout.txt");
    let list = env::var_os("SILVERBACK_LAYOUT").map_or(own, PathBuf::from);
    println!("cargo:rerun-if-changed={}", list.display());
    let [flags, linker] = ["CARGO_ENCODED_RUSTFLAGS", "RUSTC_LINKER"].map(set);
    let linker = format!("{} {}", flags.display(), linker.display());
    let knows_scripts = !["mold", "wild", "gold"].iter().any(|other| linker.contains(other));
    if set("PROFILE") != "release" || set("CARGO_CFG_TARGET_OS") != "linux" || !knows_scripts {
        return Ok(());
    }
    let path = out.join("layout.ld");
    fs::write(&path, script(&fs::read_to_string(list)?))?;
    println!("cargo:rustc-link-arg-bin=silverback=-Wl,-T,{}", path.display());
    println!("cargo:rerun-if-env-changed=SILVERBACK_PACKED");
    let is_for_elsewhere = ["sysroot", "zig"].iter().any(|sign| linker.contains(sign));
    if set("SILVERBACK_PACKED") != "0" && !is_for_elsewhere && runs_packed() {
        println!("cargo:rustc-link-arg-bin=silverback=-Wl,-z,pack-relative-relocs");
    }
    Ok(())
}

/// What Cargo or the user says in a variable; nothing if they say nothing.
fn set(variable: &str) -> OsString {
    env::var_os(variable).unwrap_or_default()
}

/// The script for a list, a line of which is a name and the hashes that tell its functions apart.
/// Others of the name come behind all of these: another compiler makes other hashes.
fn script(list: &str) -> String {
    let lay = |name: &str| format!("    *(.text.{name}* .text.unlikely.{name}*)\n");
    let (mut exact, mut others) = (String::new(), String::new());
    // A line without a name would be all of them.
    for line in list.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        if line == name { &mut exact } else { &mut others }.push_str(&lay(name));
        exact.extend(words.map(|hash| lay(&format!("{name}{hash}"))));
    }
    // Behind them LuaJIT and assembly, and then what is seldom run.
    format!(
        "SECTIONS {{\n  .text : {{\n    *(.text.hot .text.hot.*)\n{exact}{others}    \
         *(.text)\n    *(.text.*)\n  }}\n}}\nINSERT AFTER .init;\n"
    )
}

/// Whether the C library here, and so any on which a program runs that is built here, knows packed
/// relocations: glibc does since 2.36. They are a megabyte less to be read at each start.
fn runs_packed() -> bool {
    if set("CARGO_CFG_TARGET_ENV") != "gnu" || set("HOST") != set("TARGET") {
        return false;
    }
    let asked = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let version = asked.map(|answer| answer.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&version);
    let numbers = version.trim().strip_prefix("glibc ").and_then(|numbers| numbers.split_once('.'));
    let number = |text: &str| text.parse::<u32>().ok();
    let numbers = numbers.and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    numbers.is_some_and(|numbers| numbers >= (2, 36))
}

/// Adds every `.lua` file below `dir` as (module name, path in the repository, path on disk).
fn collect(
    repository: &Path,
    root: &Path,
    dir: &Path,
    prefix: &str,
    modules: &mut Vec<(String, String, String)>,
) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(repository, root, &path, prefix, modules)?;
        } else if path.extension().is_some_and(|e| e == "lua") {
            let name = slashed(path.strip_prefix(root).unwrap_or(&path).with_extension(""));
            let name = name.strip_suffix("/init").unwrap_or(&name).replace('/', ".");
            let shown = slashed(path.strip_prefix(repository).unwrap_or(&path).to_path_buf());
            modules.push((format!("{prefix}{name}"), shown, path.display().to_string()));
        }
    }
    Ok(())
}

fn slashed(path: PathBuf) -> String {
    path.display().to_string().replace('\\', "/")
}
