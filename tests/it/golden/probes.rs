//! Recordings of a real Kong that runs small Lua plugins: a plugin that does odd things must meet
//! the same answers here.
//!
//! `spec/probes/recorded` has the cases, in the format of the other recordings, and
//! `spec/probes/plugins` the plugins. `deviations.txt` beside them lists what differs on purpose.
//! `GOLDEN=shm-` replays only the cases that begin so.

use std::path::Path;

use super::case::{Case, root};
use super::lists::{Deviation, show};
use super::places::Places;
use super::replay_all;

#[test]
fn lua_plugins_meet_what_kong_answers() {
    let start = std::env::var("GOLDEN").unwrap_or_default();
    let cases = Case::below("spec/probes/recorded");
    let is_wanted = |case: &Case| case.name.starts_with(&start);
    let cases: Vec<_> = cases.into_iter().filter(is_wanted).collect();
    let deviations = Deviation::of("spec/probes");
    let mut faults = Vec::new();
    for (case, differences) in cases.iter().zip(replay_all(&cases, None)) {
        let complaints = match deviations.iter().find(|one| one.case == case.name) {
            Some(deviation) => deviation.verdict(&differences),
            None => differences.iter().map(show).collect(),
        };
        if !complaints.is_empty() {
            faults.push(format!("{}\n    {}", case.name, complaints.join("\n    ")));
        }
    }
    println!("probes: {} of {} passed", cases.len() - faults.len(), cases.len());
    assert!(faults.is_empty(), "{} cases:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_list_of_deviations_names_probes_that_exist() {
    let cases = Case::below("spec/probes/recorded");
    for deviation in Deviation::of("spec/probes") {
        assert!(cases.iter().any(|case| case.name == deviation.case), "{}", deviation.case);
    }
}

/// Puts plugins where a gateway finds them, with today's ports in their code.
pub fn install(names: &[String], places: &Places, folder: &Path) {
    let plugins = root().join("spec/probes/plugins");
    let mut files: Vec<_> =
        ["kit", "ctx", "order"].map(|name| format!("probe/{name}.lua")).to_vec();
    for name in names {
        files.extend(["handler", "schema"].map(|part| format!("kong/plugins/{name}/{part}.lua")));
    }
    for file in files {
        let code = std::fs::read_to_string(plugins.join(&file)).unwrap();
        let to = folder.join(&file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, places.enter_code(&code)).unwrap();
    }
}
