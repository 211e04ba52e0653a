//! `kong.db` and `kong.cache` of Lua plugins, over the configuration that was loaded.

use super::gateway::TestGateway;
use super::http::Upstream;
use super::lua::{install, with_plugins};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A plugin that runs the code of a request's body and answers with what it returns, one line for
/// each value.
pub const RUN: &str = "local P = { PRIORITY = 1000, VERSION = '1.0.0' }
function P:access()
  local function show(v)
    if type(v) == 'table' and getmetatable(v) and getmetatable(v).__tostring then
      return tostring(v)
    end
    return type(v) == 'table' and require('cjson').encode(v) or tostring(v)
  end
  local function all(ok, ...)
    local out = { tostring(ok) }
    for i = 1, select('#', ...) do out[i + 1] = show((select(i, ...))) end
    return table.concat(out, '\\n')
  end
  local code = assert(loadstring(kong.request.get_raw_body()))
  kong.response.exit(200, all(pcall(code)))
end
return P
";

const CONFIG: &str = r"
_format_version: '3.0'
services:
- name: s
  id: 11111111-1111-4111-8111-111111111111
  url: http://127.0.0.1:1
  tags: [blue]
  routes:
  - name: r
    paths: [/a]
    plugins:
    - name: run
consumers:
- username: ann
  id: 22222222-2222-4222-8222-222222222222
  custom_id: c1
  keyauth_credentials:
  - key: secret-1
    id: 33333333-3333-4333-8333-333333333333
  - key: secret-2
    id: 44444444-4444-4444-8444-444444444444
  acls:
  - group: gold
- username: bob
  keyauth_credentials:
  - key: over
    ttl: 1
";

/// What `code` returns in `access`, line by line; the first says whether it ran.
async fn run(gateway: &TestGateway, code: &str) -> Vec<String> {
    let answer = gateway.send("POST", "/a", &[], code.as_bytes()).await;
    answer.text().lines().map(str::to_owned).collect()
}

async fn start(folder: &std::path::Path) -> TestGateway {
    install(folder, "run", RUN);
    with_plugins(folder, "bundled,run").start(CONFIG)
}

#[tokio::test]
async fn entities_are_read_by_id_by_key_and_page_by_page() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path()).await;
    for (code, want) in [
        (
            "return kong.db.consumers:select({id = \
              '22222222-2222-4222-8222-222222222222'}).username",
            "ann",
        ),
        ("return kong.db.consumers:select_by_custom_id('c1').username", "ann"),
        ("return kong.db.consumers:select_by_username('nobody')", "nil"),
        (
            "return kong.db.services:select_by_name('s').port, \
              kong.db.services:select_by_name('s').ws_id",
            "1\nnil",
        ),
        (
            "return kong.db.keyauth_credentials:select_by_key('secret-1').consumer.id",
            "22222222-2222-4222-8222-222222222222",
        ),
        ("return kong.db.keyauth_credentials:select_by_key('over')", "nil"),
        (
            "local keys = {} for row, err in kong.db.keyauth_credentials:each_for_consumer(\
             {id = '22222222-2222-4222-8222-222222222222'}, 1) do keys[#keys + 1] = row.key end \
             return unpack(keys)",
            "secret-1\nsecret-2",
        ),
        (
            "local names = {} for row in kong.db.consumers:each(1) do names[#names + 1] = \
             row.username end table.sort(names) return unpack(names)",
            "ann\nbob",
        ),
        (
            "local dao = kong.db.consumers local one, _, _, offset = dao:page(1) \
             local two, _, _, last = dao:page(1, offset) return #one, #two, last, \
             one[1].id ~= two[1].id",
            "1\n1\nnil\ntrue",
        ),
        ("return (kong.db.services:page(10, nil, {tags = {'red'}}))", "[]"),
        (
            "return kong.db.workspaces:select_by_name('default').id == kong.default_workspace",
            "true",
        ),
        (
            "return kong.db.acls:select_by_cache_key({consumer = {id = \
              '22222222-2222-4222-8222-222222222222'}, group = 'gold'}).group",
            "gold",
        ),
        ("return kong.db.no_such_thing", "nil"),
        ("return kong.db.plugins:page()[1].name, kong.db.strategy", "run\noff"),
    ] {
        assert_eq!(run(&gateway, code).await.join("\n"), format!("true\n{want}"), "{code}");
    }
}

#[tokio::test]
async fn cache_keys_and_refusals_are_kongs() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path()).await;
    let workspace = "0dc6f45b-8f8d-40d2-a504-473544ee190b";
    for (code, want) in [
        (
            "return kong.db.keyauth_credentials:cache_key('secret-1')",
            format!("keyauth_credentials:secret-1:::::{workspace}"),
        ),
        (
            "return kong.db.consumers:cache_key({id = 'x', username = 'u'})",
            format!("consumers:x:::::{workspace}"),
        ),
        (
            "return select(2, kong.db.consumers:insert({username = 'x'}))",
            "[off] cannot create 'consumers' entities when not using a database".to_owned()
                + "\n[off] cannot create 'consumers' entities when not using a database",
        ),
        (
            "local ok, err, t = kong.db.consumers:delete_by_username('ann') return t.code, \
              t.name, t.message",
            "12\noperation unsupported\ncannot remove 'consumers' entities by 'username' when \
              not using a database"
                .to_owned(),
        ),
        ("return kong.db.consumers:delete_by_username('nobody')", "true".to_owned()),
        (
            "return select(2, kong.db.consumers:select({id = 'x'}))",
            "[off] invalid primary key: '{id=\"expected a valid UUID\"}'".to_owned()
                + "\n[off] invalid primary key: '{id=\"expected a valid UUID\"}'",
        ),
        (
            "return select(2, kong.db.consumers:page(0))",
            "[off] size must be an integer between 1 and 50000".to_owned()
                + "\n[off] size must be an integer between 1 and 50000",
        ),
    ] {
        assert_eq!(run(&gateway, code).await.join("\n"), format!("true\n{want}"), "{code}");
    }
    let raised = run(&gateway, "return kong.db.consumers:select('x')").await;
    assert_eq!(raised[0], "false");
    assert!(raised[1].ends_with("primary_key must be a table"), "{raised:?}");
}

#[tokio::test]
async fn a_write_is_refused_for_what_is_wrong_with_it_before_the_database_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    install_with_daos(folder.path());
    let gateway = with_plugins(folder.path(), "bundled,run").start(CONFIG);
    let ann = "{id = '22222222-2222-4222-8222-222222222222'}";
    for (code, want) in [
        (
            "return (select(2, kong.db.consumers:insert({})))".to_owned(),
            "[off] schema violation (at least one of these fields must be non-empty: 'custom_id', \
             'username')",
        ),
        (
            "return (select(2, kong.db.greetings:insert({ weight = 12 })))".to_owned(),
            "[off] 2 schema violations (title: required field missing; weight: value should be \
             between 1 and 9)",
        ),
        (
            format!("return (select(2, kong.db.consumers:upsert({ann}, {{ colour = 'red' }})))"),
            "[off] 2 schema violations (at least one of these fields must be non-empty: \
             'custom_id', 'username'; colour: unknown field)",
        ),
        (
            format!("return (select(2, kong.db.consumers:update({ann}, {{ colour = 'red' }})))"),
            "[off] schema violation (colour: unknown field)",
        ),
        (
            format!("return (select(2, kong.db.consumers:update({ann}, {{ username = 'eve' }})))"),
            "[off] cannot update 'consumers' entities when not using a database",
        ),
        (
            "return (select(2, kong.db.consumers:update_by_username('nobody', { tags = {} })))"
                .to_owned(),
            "[off] could not find the entity with '{username=\"nobody\"}'",
        ),
    ] {
        assert_eq!(run(&gateway, &code).await.join("\n"), format!("true\n{want}"), "{code}");
    }
}

#[tokio::test]
async fn schemas_of_collections_judge_and_tags_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path()).await;
    for (code, want) in [
        (
            "local schema = kong.db.services.schema \
             return schema:validate(schema:process_auto_fields({ host = 'a.test' }, 'insert'))",
            "true",
        ),
        (
            "return select(2, kong.db.services.schema:validate({ host = '' })).host",
            "length must be at least 1",
        ),
        ("return kong.db.plugins.schema.subschemas['key-auth'].fields.config.type", "record"),
        (
            "return select(2, kong.db.plugins.schema:validate({ name = 'nosuch' })).name",
            "plugin 'nosuch' not enabled; add it to the 'plugins' configuration property",
        ),
        ("return kong.db.tags:page_by_tag('blue')[1].entity_name", "services"),
        ("return #kong.db.tags:page_by_tag('nobody has it')", "0"),
        ("return kong.db.services.strategy:select_by_name('s').port", "1"),
        (
            "local heard kong.worker_events.register(function(data) heard = data.operation end, \
             'dao:crud', 'create') kong.db.consumers:post_crud_event('create', {}) return heard",
            "create",
        ),
    ] {
        assert_eq!(run(&gateway, code).await.join("\n"), format!("true\n{want}"), "{code}");
    }
}

#[tokio::test]
async fn a_reload_empties_the_caches_and_shows_new_entities() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "run", RUN);
    let file = folder.path().join("kong.yaml");
    std::fs::write(&file, CONFIG).unwrap();
    let gateway = with_plugins(folder.path(), "bundled,run").start_with_file(&file);
    let code = "return kong.cache:get('n', nil, function() \
                local n = 0 for _ in kong.db.consumers:each() do n = n + 1 end return n end)";
    assert_eq!(run(&gateway, code).await, ["true", "2", "nil", "3"]);
    assert_eq!(run(&gateway, code).await, ["true", "2", "nil", "1"]);
    std::fs::write(&file, CONFIG.replace("- username: bob", "- username: eve\n- username: bob"))
        .unwrap();
    gateway.reload().await.unwrap();
    assert_eq!(run(&gateway, code).await, ["true", "3", "nil", "3"]);
}

#[tokio::test]
async fn workers_find_what_one_of_them_has_found() {
    let folder = tempfile::tempdir().unwrap();
    install(folder.path(), "run", RUN);
    let upstream = Upstream::replying(OK).await;
    let config = CONFIG.replace("127.0.0.1:1", &upstream.address.to_string());
    let gateway = with_plugins(folder.path(), "bundled,run")
        .set("nginx_worker_processes", "2")
        .start(&config);
    let code = "return kong.cache:get('once', nil, function() ngx.sleep(0.02) \
                return ngx.shared.kong:incr('calls', 1, 0) end)";
    let address = gateway.address;
    let calls = (0..16).map(|_| {
        tokio::spawn(async move {
            super::http::send(address, "POST", "/a", &[], code.as_bytes()).await.text()
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let answer = call.await.unwrap();
        assert!(answer.starts_with("true\n1\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_worker_hears_of_what_another_has_set_or_invalidated() {
    for (change, want) in [
        ("kong.cache.mlcache:set('k', nil, 'new')", "new"),
        ("kong.cache:invalidate('k')", "found anew"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        install(folder.path(), "run", RUN);
        let gateway = with_plugins(folder.path(), "bundled,run")
            .set("nginx_worker_processes", "2")
            .start(CONFIG);
        // One worker has its copy, and serves nobody until it is told to go on.
        let is_held = folder.path().join("held");
        let held = format!(
            "local found = kong.cache:get('k', nil, function() return 'old' end)
             io.open('{}', 'w'):close()
             local stop = os.time() + 60
             while not ngx.shared.kong:get('go') and os.time() < stop do end
             return found, (kong.cache:get('k', nil, function() return 'found anew' end))",
            is_held.display()
        );
        let address = gateway.address;
        let held = tokio::spawn(async move {
            super::http::send(address, "POST", "/a", &[], held.as_bytes()).await.text()
        });
        while !is_held.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let code = format!("{change} return ngx.shared.kong:set('go', 1)");
        assert_eq!(run(&gateway, &code).await[0], "true", "{change}");
        let answer = held.await.unwrap();
        assert_eq!(answer, format!("true\nold\n{want}"), "{change}");
    }
}

/// A plugin with entities of its own.
const DAOS: &str = "local typedefs = require 'kong.db.schema.typedefs'
return {
  {
    name = 'greetings',
    primary_key = { 'id' },
    endpoint_key = 'title',
    cache_key = { 'title' },
    workspaceable = true,
    generate_admin_api = true,
    admin_api_name = 'greetings',
    fields = {
      { id = typedefs.uuid },
      { created_at = typedefs.auto_timestamp_s },
      { consumer = { type = 'foreign', reference = 'consumers', on_delete = 'cascade' } },
      { title = { type = 'string', required = true, unique = true } },
      { text = { type = 'string', default = 'hello' } },
      { weight = { type = 'integer', between = { 1, 9 } } },
      { tags = typedefs.tags },
    },
  },
}
";

fn install_with_daos(folder: &std::path::Path) {
    install(folder, "run", RUN);
    std::fs::write(folder.join("kong/plugins/run/daos.lua"), DAOS).unwrap();
}

#[tokio::test]
async fn entities_of_a_plugin_stand_in_the_file_and_in_kong_db() {
    let folder = tempfile::tempdir().unwrap();
    install_with_daos(folder.path());
    let config = CONFIG.replace("  acls:", "  greetings:\n  - title: nested\n  acls:")
        + "greetings:\n- title: top\n  text: good day\n  weight: 3\n";
    let gateway = with_plugins(folder.path(), "bundled,run").start(&config);
    for (code, want) in [
        ("return kong.db.greetings:select_by_title('top').text", "good day"),
        ("return kong.db.greetings:select_by_title('nested').text", "hello"),
        (
            "local all = {} for row in kong.db.greetings:each_for_consumer(\
             {id = '22222222-2222-4222-8222-222222222222'}) do all[#all + 1] = row.title end \
             return unpack(all)",
            "nested",
        ),
        (
            "return kong.db.greetings:cache_key('top')",
            "greetings:top:::::0dc6f45b-8f8d-40d2-a504-473544ee190b",
        ),
        ("return kong.db.greetings:select_by_cache_key('top').weight", "3"),
        ("return kong.db.greetings.schema.fields.text.default", "hello"),
        (
            "return (select(2, kong.db.greetings:insert({ title = 'x' })))",
            "[off] cannot create 'greetings' entities when not using a database",
        ),
    ] {
        assert_eq!(run(&gateway, code).await.join("\n"), format!("true\n{want}"), "{code}");
    }
}

#[test]
fn wrong_entities_of_a_plugin_are_told_of_as_kong_does() {
    let folder = tempfile::tempdir().unwrap();
    install_with_daos(folder.path());
    let refused = |entities: &str| {
        let config = format!("{CONFIG}greetings:\n{entities}");
        let started = with_plugins(folder.path(), "bundled,run").try_start(&config);
        started.err().expect("it starts").join("\n")
    };
    assert!(refused("- text: x\n").contains("greetings[0].title: required field missing"));
    let weight = refused("- title: a\n  weight: 12\n");
    assert!(weight.contains("weight: value should be between 1 and 9"), "{weight}");
    let twice = refused("- title: a\n- title: a\n");
    assert!(twice.contains("'greetings' entity with title set to 'a' already declared"), "{twice}");
    assert!(refused("- title: a\n  consumer: nobody\n").contains("consumer"));
    let unknown = refused("- title: a\n  colour: red\n");
    assert!(unknown.contains("colour: unknown field"), "{unknown}");
}
