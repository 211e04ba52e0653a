//! `silverback spec`: what a plugin author sees.

use super::cli_process::silverback;
use super::stream_ends::soon;

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

const LOOPS: &str = "it('passes', function() end)
before_each(function() end)
it('loops', function() while true do end end)";

#[tokio::test]
async fn a_case_that_loops_for_ever_is_an_error_of_a_run_whose_results_are_told() {
    let folder = folder(LOOPS);
    let run = |output| {
        let arguments = ["spec", "spec", "--timeout", "1", "-o", output];
        silverback(&arguments).folder(folder.path()).ended()
    };
    let (plain, json, tap) = tokio::join!(run("plain"), run("json"), run("tap"));
    for ended in [&plain, &json, &tap] {
        assert_eq!(ended.code, Some(1), "{}", ended.output);
        let told = "01-a_spec.lua:3 loops: stuck for more than 1 seconds";
        assert!(ended.errors().iter().any(|line| line.contains(told)), "{}", ended.output);
    }
    let sums = "1 success / 0 failures / 1 error / 0 pending";
    assert!(plain.output.contains(sums), "{}", plain.output);
    let is_printed = |line: &&str| !line.starts_with("! ");
    let report: String = json.output.lines().filter(is_printed).collect();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["errors"][0]["name"], "loops");
    assert_eq!(report["successes"][0]["name"], "passes");
    for line in ["ok 1 - passes", "not ok 2 - loops", "1..2"] {
        assert!(tap.output.contains(line), "{}", tap.output);
    }
}

#[tokio::test]
async fn a_loop_outside_a_case_is_told_with_its_file_and_step() {
    let folder = folder("describe('d', function() while true do end end)");
    let arguments = ["spec", "spec", "--timeout", "1"];
    let ended = silverback(&arguments).folder(folder.path()).ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    let told = "spec/deep/01-a_spec.lua : stuck in describe for more than 1 seconds";
    assert!(ended.output.contains(told), "{}", ended.output);
}

/// Waits for the end of a process that somebody else has started.
async fn is_gone(pid: &str) {
    soon("the gateway is gone", async {
        let proc = std::path::Path::new("/proc").join(pid).join("stat");
        // One that has ended and that nobody has asked for its status is a zombie.
        while std::fs::read_to_string(&proc).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_gateway_of_helpers_does_not_outlive_a_run_that_gets_a_signal() {
    let spec = "local helpers = require 'spec.helpers'
it('waits', function()
  assert(helpers.start_kong({}))
  print('gateway ' .. io.open('servroot/pids/nginx.pid'):read('*a') .. ' runs')
  ngx.sleep(600)
end)";
    for (signal, status) in [("TERM", 143), ("INT", 130)] {
        let folder = folder(spec);
        let mut process = silverback(&["spec", "spec"])
            .folder(folder.path())
            .env("PATH", "/usr/bin:/bin")
            .spawn();
        let line = process.line_with(" runs").await;
        let pid = line.split(' ').nth(1).unwrap().trim().to_owned();
        assert!(std::path::Path::new("/proc").join(&pid).exists(), "{line}");
        process.signal(signal);
        let ended = process.ended().await;
        assert_eq!(ended.code, Some(status), "{}", ended.output);
        let told = format!("waits: ended by {signal}");
        assert!(ended.output.contains(&told), "{}", ended.output);
        assert!(ended.output.contains("0 failures / 1 error"), "{}", ended.output);
        is_gone(&pid).await;
    }
}

#[tokio::test]
async fn a_filter_that_chooses_nothing_is_wrong_usage_and_says_so() {
    let folder = folder(MIXED);
    for (arguments, told) in [
        (&["--filter", "nope"][..], "no case in spec fits --filter 'nope': nothing has run"),
        (&["--filter", "my-plugin"], "a hyphen is '%-': --filter 'my%-plugin'"),
        (&["--tags", "#off"], "a tag is given without its '#': --tags off"),
    ] {
        let arguments = [&["spec", "spec"], arguments].concat();
        let ended = silverback(&arguments).folder(folder.path()).ended().await;
        assert_eq!(ended.code, Some(2), "{}", ended.output);
        assert!(ended.errors().iter().any(|line| line.contains(told)), "{}", ended.output);
    }
}

#[tokio::test]
async fn malformed_patterns_and_levels_that_do_not_exist_are_wrong_usage() {
    let folder = folder(MIXED);
    for (arguments, told) in [
        (["--filter", "a("], "--filter 'a(' is no Lua pattern: a '(' without ')'"),
        (["--filter-out", "[a"], "--filter-out '[a' is no Lua pattern: a '[' without ']'"),
        (["--log-level", "loud"], "invalid value 'loud' for '--log-level <LEVEL>'"),
    ] {
        let arguments = [&["spec", "spec"][..], &arguments].concat();
        let ended = silverback(&arguments).folder(folder.path()).ended().await;
        assert_eq!(ended.code, Some(2), "{}", ended.output);
        assert!(ended.errors().iter().any(|line| line.contains(told)), "{}", ended.output);
    }
}

#[tokio::test]
async fn an_error_is_no_failure_and_a_table_is_shown_with_what_is_in_it() {
    let folder = folder(
        "it('asserts', function() assert.equal(1, 2) end)
it('raises', function() error('boom') end)
it('raises a table', function() error({ code = 5, names = { 'x' } }) end)
it('rethrows', function() local _, err = pcall(assert.equal, 1, 2) error(err, 0) end)
it('finally', function() finally(function() assert.is_true(false) end) end)",
    );
    let ended = silverback(&["spec", "spec"]).folder(folder.path()).ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    for told in [
        "0 successes / 2 failures / 3 errors / 0 pending",
        "Error → spec/deep/01-a_spec.lua:2\nraises\nspec/deep/01-a_spec.lua:2: boom",
        "spec/deep/01-a_spec.lua:3: {\n  code = 5,\n  names = {\n    \"x\"\n  }\n}",
    ] {
        assert!(ended.output.contains(told), "{}", ended.output);
    }
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
    let sums = "11 successes / 0 failures / 0 errors / 1 pending";
    assert!(ended.output.contains(sums), "{}", ended.output);
    assert_eq!(ended.code, Some(0));
}
