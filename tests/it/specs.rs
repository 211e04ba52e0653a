//! `silverback spec`: what a plugin author sees.

use super::cli_process::silverback;

const MIXED: &str = r#"
local mine = require "my.module"
describe("mine", function()
  it("passes", function() assert.equal(1, mine.one) end)
  it("fails", function() assert.equal(2, mine.one) end)
  pending("later")
end)
"#;

fn folder(spec: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("my")).unwrap();
    std::fs::create_dir_all(folder.path().join("spec/deep")).unwrap();
    std::fs::write(folder.path().join("my/module.lua"), "return { one = 1 }").unwrap();
    std::fs::write(folder.path().join("spec/deep/01-a_spec.lua"), spec).unwrap();
    std::fs::write(folder.path().join("spec/deep/helper.lua"), "error('no spec')").unwrap();
    folder
}

#[tokio::test]
async fn a_failure_is_shown_with_its_line_and_the_sums_and_status_1() {
    let folder = folder(MIXED);
    let ended = silverback(&["spec", "spec"]).folder(folder.path()).ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    for shown in [
        "1 success / 1 failure / 0 errors / 1 pending",
        "Failure → spec/deep/01-a_spec.lua:5",
        "spec/deep/01-a_spec.lua:5: Expected objects to be equal.",
    ] {
        assert!(ended.output.contains(shown), "{}", ended.output);
    }
}

#[tokio::test]
async fn a_filter_leaves_what_passes_and_status_0() {
    let folder = folder(MIXED);
    let arguments = ["spec", "spec", "--filter", "passes", "-o", "tap"];
    let ended = silverback(&arguments).folder(folder.path()).ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(ended.output.contains("ok 1 - mine passes @ spec/deep/01-a_spec.lua:4\n1..1"));
}

#[tokio::test]
async fn json_names_each_case() {
    let folder = folder(MIXED);
    let ended = silverback(&["spec", "spec", "-o", "json"]).folder(folder.path()).ended().await;
    let report: serde_json::Value = serde_json::from_str(&ended.output).unwrap();
    assert_eq!(report["failures"][0]["name"], "mine fails");
    assert_eq!(report["pendings"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_case_that_loops_ends_the_run_with_its_name() {
    let folder = folder("it('loops', function() while true do end end)");
    let arguments = ["spec", "spec", "--timeout", "1"];
    let ended = silverback(&arguments).folder(folder.path()).ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(ended.output.contains("01-a_spec.lua:1 loops: stuck"), "{}", ended.output);
}

#[tokio::test]
async fn a_path_that_holds_no_specs_is_wrong_usage() {
    let folder = folder(MIXED);
    for path in ["nowhere", "my"] {
        let ended = silverback(&["spec", path]).folder(folder.path()).ended().await;
        assert_eq!(ended.code, Some(2), "{}", ended.output);
        assert!(ended.errors().iter().any(|line| line.contains(path)), "{}", ended.output);
    }
}

#[tokio::test]
async fn a_spec_with_a_syntax_error_is_an_error_and_the_next_file_runs() {
    let folder = folder("it(");
    std::fs::write(folder.path().join("spec/z_spec.lua"), "it('z', function() end)").unwrap();
    let ended = silverback(&["spec", "spec"]).folder(folder.path()).ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(ended.output.contains("1 success / 0 failures / 1 error"), "{}", ended.output);
    assert!(ended.output.contains("01-a_spec.lua:1"), "{}", ended.output);
}

#[tokio::test]
async fn helpers_start_gateways_with_what_a_spec_inserts() {
    let folder = folder(include_str!("specs/gateway_spec.lua"));
    let ended = silverback(&["spec", "spec"]).folder(folder.path()).ended().await;
    let sums = "9 successes / 0 failures / 0 errors / 1 pending";
    assert!(ended.output.contains(sums), "{}", ended.output);
    assert_eq!(ended.code, Some(0));
}
