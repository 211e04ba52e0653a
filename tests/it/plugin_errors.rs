//! What the author of a plugin reads when something of it is wrong: file, line, field, remedy.

use std::path::Path;

use super::cli_process::{Ended, silverback};
use super::gateway::TestGateway;
use super::lua::{install, with_plugins};
use super::stream_ends::soon;

const HANDLER: &str = "local P = { PRIORITY = 1, VERSION = '1.0.0' }\n\
    function P:access() end\nreturn P\n";

const NOTHING: &str = "_format_version: '3.0'\n";

/// A folder with a plugin `mine`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "mine", HANDLER);
    folder
}

fn write(folder: &Path, file: &str, text: &str) {
    std::fs::write(folder.join("kong/plugins/mine").join(file), text).unwrap();
}

async fn check(folder: &Path, plugins: &str, config: &str) -> Ended {
    std::fs::write(folder.join("kong.yaml"), config).unwrap();
    let check = silverback(&["check", "kong.yaml"]).folder(folder);
    check.env("KONG_PLUGINS", plugins).ended().await
}

#[track_caller]
fn assert_told(ended: &Ended, told: &[&str]) {
    for told in told {
        assert!(ended.output.contains(told), "'{told}' is not in:\n{}", ended.output);
    }
}

#[tokio::test]
async fn a_schema_error_names_plugin_file_line_and_field() {
    let folder = folder();
    let schema = "return {\n  name = 'mine',\n  fields = {\n    { config = {\n      \
                  type = 'record',\n      fields = {\n        \
                  { one = { type = 'string', required = 'yes' } },\n        \
                  { two = { type = 'strng' } },\n      },\n    } },\n  },\n}\n";
    write(folder.path(), "schema.lua", schema);
    let ended = check(folder.path(), "mine", NOTHING).await;
    assert_eq!(ended.code, Some(1));
    assert_told(
        &ended,
        &[
            "error loading plugin schemas: on plugin 'mine': schema violation (fields.1",
            "./kong/plugins/mine/schema.lua:7: field 'config.one': required: expected a boolean",
            "./kong/plugins/mine/schema.lua:8: field 'config.two': type: expected one of: array",
        ],
    );
}

#[tokio::test]
async fn files_that_do_not_load_or_are_not_there_are_told_in_kongs_words() {
    const LOADING: &str = "error loading plugin schemas: on plugin 'mine': error loading module \
                           'kong.plugins.mine.";
    for (file, text, told) in [
        ("handler.lua", "local x = = 1", "handler':\n! error loading module"),
        ("schema.lua", "local t\nt.x = 1", "schema':\n! ./kong/plugins/mine/schema.lua:2: attempt"),
        ("daos.lua", "x", "daos':\n! error loading module 'kong.plugins.mine.daos' from file"),
    ] {
        let folder = folder();
        write(folder.path(), file, text);
        let ended = check(folder.path(), "mine", NOTHING).await;
        assert_eq!(ended.code, Some(1));
        assert_told(&ended, &[&format!("{LOADING}{told}")]);
    }
    let folder = folder();
    std::fs::remove_file(folder.path().join("kong/plugins/mine/schema.lua")).unwrap();
    let ended = check(folder.path(), "mine,mien", NOTHING).await;
    assert_told(&ended, &["mien plugin is enabled but not installed; did you mean 'mine'?"]);
    let ended = check(folder.path(), "mine", NOTHING).await;
    assert_told(
        &ended,
        &["no configuration schema found for plugin: mine; 'kong/plugins/mine/schema.lua' is \
           nowhere on lua_package_path (./?.lua;./?/init.lua;)"],
    );
}

#[tokio::test]
async fn wrong_entities_of_a_plugin_do_not_start() {
    const INVALID: &str = "schema of custom plugin entity 'mine.pets' is invalid: ";
    const ARRAY: &str = "custom plugin 'mine' returned non-array daos definition table \
                         (./kong/plugins/mine/daos.lua)";
    let field = "return {{ name = 'pets', primary_key = { 'id' }, fields = {";
    for (daos, told) in [
        ("return { pets = {} }".to_owned(), ARRAY.to_owned()),
        ("return 'pets'".to_owned(), ARRAY.to_owned()),
        ("local forgotten = {}".to_owned(), ARRAY.to_owned()),
        (
            "return { 5 }".to_owned(),
            "custom plugin entity 'mine.?' is invalid: schema violation (expected a table)"
                .to_owned(),
        ),
        (
            format!("{field} {{ f = {{ type = 'function' }} }} }} }}}}"),
            format!("{INVALID}f: Entities cannot have function types."),
        ),
        (
            format!(
                "{field} {{ f = {{ type = 'map', keys = {{ type = 'integer' }}, \
                 values = {{ type = 'string' }} }} }} }} }}}}"
            ),
            format!("{INVALID}f: Entities map keys must be strings."),
        ),
        (
            format!("{field} {{ f = {{ type = 'foreign', reference = 'nosuch' }} }} }} }}}}"),
            format!("{INVALID}schema refers to an invalid foreign entity: nosuch"),
        ),
        (
            format!("{field}\n{{ f = {{ type = 'strng' }} }} }} }}}}"),
            "./kong/plugins/mine/daos.lua:2: field 'f': type: expected one of: ".to_owned(),
        ),
    ] {
        let folder = folder();
        write(folder.path(), "daos.lua", &daos);
        let ended = check(folder.path(), "mine", NOTHING).await;
        assert_eq!(ended.code, Some(1), "{daos}: {}", ended.output);
        assert_told(&ended, &["error loading plugin schemas: on plugin 'mine': ", &told]);
    }
}

#[tokio::test]
async fn a_plugin_that_is_there_but_not_enabled_comes_with_the_line_that_enables_it() {
    let folder = folder();
    let config = "_format_version: '3.0'\nplugins:\n- name: mine\n- name: statsd\n";
    let ended = check(folder.path(), "bundled", config).await;
    assert_eq!(ended.code, Some(1));
    assert_told(
        &ended,
        &[
            "plugin 'mine' not enabled; add it to the 'plugins' configuration property \
             (./kong/plugins/mine/handler.lua is there; to enable it: KONG_PLUGINS=bundled,mine)",
            "plugin 'statsd' not enabled; add it to the 'plugins' configuration property \
             (silverback runs it from Kong's own Lua files: a folder with kong/plugins/statsd",
        ],
    );
    let ended = check(folder.path(), "bundled,statsd,mine", config).await;
    assert_told(
        &ended,
        &["no configuration schema found for plugin: statsd (silverback runs it from Kong's own"],
    );
}

#[tokio::test]
async fn a_misspelt_phase_is_a_warning_of_check() {
    let folder = folder();
    let handler = HANDLER.replace("function P:access", "function P:acess");
    write(folder.path(), "handler.lua", &handler);
    let ended = check(folder.path(), "mine", NOTHING).await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert_told(
        &ended,
        &[
            "warning: plugin 'mine': 'acess' is no phase (did you mean 'access'?)",
            "warning: plugin 'mine' has no phase that runs here",
        ],
    );
}

#[tokio::test]
async fn a_package_path_that_is_a_folder_is_told_at_start() {
    let folder = folder();
    std::fs::write(folder.path().join("kong.yaml"), NOTHING).unwrap();
    let run = |path: &str| {
        let check = silverback(&["check", "kong.yaml"]).folder(folder.path());
        check.env("KONG_LUA_PACKAGE_PATH", path).ended()
    };
    let ended = run(&folder.path().display().to_string()).await;
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert_told(&ended, &["has no '?', so it would be every module; for a folder write"]);
    let ended = run("/no/such;./?.lua").await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert_told(&ended, &["warning: KONG_LUA_PACKAGE_PATH: lua_package_path: '/no/such' has no"]);
}

#[tokio::test]
async fn a_loop_at_the_top_of_a_file_is_told_while_the_configuration_waits() {
    let folder = folder();
    write(folder.path(), "schema.lua", "while true do end");
    std::fs::write(folder.path().join("kong.yaml"), NOTHING).unwrap();
    let check = silverback(&["check", "kong.yaml"]).folder(folder.path());
    let mut process = check.env("KONG_PLUGINS", "mine").spawn();
    process.line_with("plugin 'mine': its files have been loading for more than 3 seconds").await;
}

#[tokio::test]
async fn a_gateway_whose_workers_all_loop_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let handler = format!(
        "local P = {{ PRIORITY = 1, VERSION = '1.0.0' }}\n\
         function P:access() while not io.open('{}') do end kong.response.exit(200) end\nreturn P",
        go.display()
    );
    install(folder.path(), "mine", &handler);
    let config = "_format_version: '3.0'\nroutes:\n- name: r\n  paths: [/a]\n  \
                  plugins: [{name: mine}]\n";
    let gateway: TestGateway =
        with_plugins(folder.path(), "mine").set("nginx_worker_processes", "1").start(config);
    assert_eq!(gateway.status("/status/ready").await.status(), 200);
    let looks = soon("it is not ready", async {
        loop {
            let ready = gateway.status("/status/ready").await;
            if ready.status() == 503 {
                return ready;
            }
        }
    });
    let goes_on = async {
        let told = looks.await;
        let words = "every worker is held up by Lua code: plugin 'mine'";
        assert_eq!(told.json()["message"], words);
        std::fs::write(&go, "").unwrap();
    };
    let (answer, ()) = tokio::join!(gateway.get("/a"), goes_on);
    assert_eq!(answer.status(), 200);
    soon("it is ready again", async {
        while gateway.status("/status/ready").await.status() != 200 {}
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_takes_all_memory_is_not_said_to_be_missing() {
    let folder = folder();
    let code = "local t = {} for i = 1, 1e9 do t[i] = { i } end return t";
    write(folder.path(), "handler.lua", code);
    std::fs::write(folder.path().join("kong.yaml"), NOTHING).unwrap();
    let check = silverback(&["check", "kong.yaml"]).folder(folder.path());
    let check = check.env("KONG_PLUGINS", "mine").env("SILVERBACK_LUA_VM_MEMORY", "64m");
    let ended = check.ended().await;
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    let what = "error loading module 'kong.plugins.mine.handler':";
    let why = "memory error: not enough memory (silverback_lua_vm_memory is the limit)";
    assert_told(&ended, &[what, why]);
    assert!(!ended.output.contains("not installed"), "{}", ended.output);
}
