//! Runs Lua specs: `describe`, `it` and `assert` from `kong-compat/busted.lua`.
//!
//! A case is a coroutine of the VM's driver, so it may wait as a plugin's access phase may.

mod host;
mod server;

use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::{FromLuaMulti as _, Function, IntoLuaMulti as _, Lua, MultiValue, Table};

use super::owner::Owner;
use super::{Error, Vm, bind};

pub use self::host::end_children;

/// A file of specs, and which of its cases run.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// Where it is, for messages.
    pub path: String,
    /// Its text.
    pub source: String,
    /// Lua patterns: a case runs if its name has one of them. Without any, all run.
    pub filter: Vec<String>,
    /// Lua patterns of names that do not run.
    pub filter_out: Vec<String>,
    /// Words that names have as `#word`: only these run.
    pub tags: Vec<String>,
    /// Words of those that do not run.
    pub exclude_tags: Vec<String>,
    /// How long a case, or what is around it, may take.
    pub timeout: Duration,
}

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Success,
    /// An assertion of the case does not hold.
    Failure,
    /// Its code fails, or what is around it, or it took too long.
    Error,
    /// It is not meant to run yet, or says that it cannot here.
    Pending,
    /// A setup before it failed, which was told of.
    Skipped,
}

/// One `it` of a spec, or a block whose setup failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The texts of its `describe`s and its own.
    pub name: String,
    /// File and line where it begins.
    pub place: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong, or why it is pending.
    pub message: String,
    /// Where, down to the case.
    pub trace: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// Who looks on while specs run.
pub trait Watch {
    /// A case begins.
    fn begin(&self, _name: &str, _place: &str) {}
    /// A step of it begins, or of what is around it: `it`, `before_each`, `describe`.
    fn step(&self, _what: &str) {}
    /// It has ended.
    fn end(&self, case: Case);
    /// Whether nothing more is to run.
    fn stops(&self) -> bool {
        false
    }
}

impl Vm {
    /// Runs the cases of a spec one after the other.
    ///
    /// # Errors
    /// The file does not compile. What fails outside a case is told of as an error of its block.
    pub async fn run_spec(&self, spec: &Spec, watch: Rc<dyn Watch>) -> Result<(), Error> {
        let lua = self.lua();
        host::install(self)?;
        let busted: Table = self.require("busted")?;
        let chunk = lua.load(&spec.source).set_name(format!("@{}", spec.path)).into_function()?;
        let options = lua.create_table()?;
        options.set("path", spec.path.as_str())?;
        options.set("filter", spec.filter.as_slice())?;
        options.set("filter_out", spec.filter_out.as_slice())?;
        options.set("tags", spec.tags.as_slice())?;
        options.set("exclude_tags", spec.exclude_tags.as_slice())?;
        options.set("timeout", spec.timeout.as_secs_f64())?;
        let host = host(lua, &watch)?;
        let run: Function = busted.get("run")?;
        match Owner::timer(run.call_async::<()>((chunk, options, host))).await {
            Some(ran) => Ok(ran?),
            None => Err(mlua::Error::runtime("the spec ended itself with ngx.exit").into()),
        }
    }
}

/// What `busted.lua` calls.
fn host(lua: &Lua, watch: &Rc<dyn Watch>) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    let looks = watch.clone();
    let limit = bind::waiting(lua, move |lua, args: MultiValue| {
        let what = args.get(2).and_then(mlua::Value::as_string).map(|what| what.to_string_lossy());
        looks.step(&what.unwrap_or_default());
        async move { Ok(limited(&lua, args).await?.into_lua_multi(&lua)?) }
    })?;
    host.set("limit", limit)?;
    let looks = watch.clone();
    let begin = move |_: &Lua, (name, place): (String, String)| {
        looks.begin(&name, &place);
        Ok(())
    };
    host.set("begin", lua.create_function(begin)?)?;
    let looks = watch.clone();
    let tell = move |_: &Lua, told: Table| {
        looks.end(case_of(&told)?);
        Ok(())
    };
    host.set("tell", lua.create_function(tell)?)?;
    let looks = watch.clone();
    host.set("stops", lua.create_function(move |_, ()| Ok(looks.stops()))?)?;
    let began = Instant::now();
    host.set("now", lua.create_function(move |_, ()| Ok(began.elapsed().as_secs_f64()))?)?;
    Ok(host)
}

/// Calls a function for at most so many seconds: true, or false and what it died of.
async fn limited(lua: &Lua, args: MultiValue) -> mlua::Result<(bool, Option<String>)> {
    let (seconds, step, what) = <(f64, Function, String)>::from_lua_multi(args, lua)?;
    let limit = Duration::try_from_secs_f64(seconds).map_err(mlua::Error::external)?;
    Ok(match tokio::time::timeout(limit, step.call_async::<()>(())).await {
        Ok(Ok(())) => (true, None),
        Ok(Err(error)) => (false, Some(error.to_string())),
        Err(_) => (false, Some(format!("timed out: {what} took longer than {seconds} seconds"))),
    })
}

fn case_of(told: &Table) -> mlua::Result<Case> {
    let outcome = match told.get::<String>("outcome")?.as_str() {
        "success" => Outcome::Success,
        "failure" => Outcome::Failure,
        "pending" => Outcome::Pending,
        "skipped" => Outcome::Skipped,
        _ => Outcome::Error,
    };
    let seconds = told.get::<Option<f64>>("seconds")?.unwrap_or_default();
    // What a case has compared may be any bytes.
    let text = |name: &str| {
        let text = told.get::<Option<mlua::LuaString>>(name)?;
        Ok::<_, mlua::Error>(text.map(|text| text.to_string_lossy()))
    };
    Ok(Case {
        name: text("name")?.unwrap_or_default(),
        place: text("place")?.unwrap_or_default(),
        outcome,
        message: text("message")?.unwrap_or_default(),
        trace: text("trace")?,
        took: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
    })
}

#[cfg(test)]
mod peers;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Write as _;
    use std::sync::Arc;

    use super::*;
    use crate::dns::Dns;
    use crate::guard::Guard;
    use crate::lua::{Network, Options, configuration};
    use crate::settings::Settings;
    use crate::tls::UpstreamTls;

    /// Servers for specs, in the global `peers`; the name `a.test` stands for this machine.
    fn network(vm: impl FnOnce(Network) -> Vm, control: &tokio::runtime::Handle) -> Vm {
        let named = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (trusted, other) = (named("a.test"), named("other.test"));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(trusted.cert.pem().as_bytes()).unwrap();
        let mut settings = Settings::defaults();
        settings.trusted_certificates = vec![file.path().to_owned()];
        let ports = [
            ("scripted", peers::scripted()),
            ("http", peers::http()),
            ("tls", peers::tls(&trusted.cert, &trusted.signing_key)),
            ("own", peers::tls(&other.cert, &other.signing_key)),
            ("echo", peers::echo()),
            ("proxy", peers::proxy()),
            ("dns", peers::dns()),
        ];
        let names = ports.iter().map(|(_, port)| {
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], *port));
            (format!("a.test:{port}"), address)
        });
        let dns = Dns::table(&settings.dns, control.clone(), names.collect());
        let tls = UpstreamTls::new(&settings).unwrap();
        let vm = vm(Network { dns: Arc::new(dns), tls, pool_size: 256 });
        vm.guard(&Guard::default());
        let table = vm.lua().create_table().unwrap();
        ports.iter().for_each(|(name, port)| table.set(*name, *port).unwrap());
        let clients = [&trusted, &other].map(|client| {
            let pair = vm.lua().create_table().unwrap();
            pair.set("cert", client.cert.pem()).unwrap();
            pair.set("key", client.signing_key.serialize_pem()).unwrap();
            pair
        });
        table.set("clients", clients.to_vec()).unwrap();
        vm.lua().globals().set("peers", table).unwrap();
        vm
    }

    /// Collects the cases.
    #[derive(Default)]
    struct Cases(RefCell<Vec<Case>>);

    impl Watch for Cases {
        fn end(&self, case: Case) {
            self.0.borrow_mut().push(case);
        }
    }

    fn run(source: &str) -> Result<Vec<Case>, Error> {
        run_with(Spec { source: source.to_owned(), ..Spec::default() })
    }

    fn run_with(spec: Spec) -> Result<Vec<Case>, Error> {
        let source = spec.source.as_str();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let vm = |network| {
            let configuration = configuration::of(&Settings::defaults());
            let options = Options { worker: Some(0), network, configuration, ..Options::default() };
            Vm::new(&options).unwrap()
        };
        let vm = if source.contains("peers.") || source.contains("ngx.socket.tcp") {
            network(|network| vm(Some(network)), runtime.handle())
        } else {
            vm(None)
        };
        let redis = source.contains("peers.redis").then(peers::Redis::start);
        if let Some(redis) = &redis {
            let table: Table = vm.lua().globals().get("peers").unwrap();
            table.set("redis", redis.path()).unwrap();
        }
        let local = tokio::task::LocalSet::new();
        let cases = Rc::new(Cases::default());
        let timeout = if spec.timeout.is_zero() { Duration::from_secs(60) } else { spec.timeout };
        let spec = Spec { path: "a_spec.lua".to_owned(), timeout, ..spec.clone() };
        local.block_on(&runtime, vm.run_spec(&spec, cases.clone()))?;
        Ok(cases.0.take())
    }

    #[test]
    fn cases_are_named_by_their_surroundings_and_fail_alone() {
        let source = r#"
            describe("a", function()
              local n = 0
              before_each(function() n = n + 1 end)
              it("passes", function() assert.equal(1, n) end)
              it("fails", function() assert.same({ a = { 1 } }, { a = { 2 } }) end)
              it("waits", function() ngx.sleep(0) assert.equal(3, n) end)
            end)"#;
        let cases = run(source).unwrap();
        let names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["a passes", "a fails", "a waits"]);
        let outcomes: Vec<_> = cases.iter().map(|case| case.outcome).collect();
        use Outcome::{Failure, Success};
        assert_eq!(outcomes, [Success, Failure, Success], "{cases:?}");
        let text = &cases[1].message;
        assert!(text.contains("a_spec.lua:6") && text.contains("*[a] = {"), "{text}");
    }

    #[test]
    fn setups_run_in_the_order_that_busted_has() {
        let source = r#"
            local order = {}
            local function add(what) return function() order[#order + 1] = what end end
            describe("outer", function()
              lazy_setup(add "lazy") strict_setup(add "strict")
              before_each(add "before") after_each(add "after")
              describe("inner", function()
                before_each(add "inner before") after_each(add "inner after")
                it("one", function() add "one" () finally(add "finally") end)
              end)
              lazy_teardown(add "lazy end") strict_teardown(add "strict end")
            end)
            it("is so", function()
              assert.same({ "strict", "lazy", "before", "inner before", "one", "finally",
                "inner after", "after", "lazy end", "strict end" }, order)
            end)"#;
        let cases = run(source).unwrap();
        assert!(cases.iter().all(|case| case.outcome == Outcome::Success), "{cases:?}");
        assert_eq!(cases.len(), 2);
    }

    #[test]
    fn what_hangs_or_cannot_be_prepared_is_an_error_and_the_rest_runs() {
        let source = r#"
            it("hangs", function() ngx.semaphore = require "ngx.semaphore"
              ngx.semaphore.new():wait(60) end)
            describe("unprepared", function()
              lazy_setup(function() error("no setup") end)
              it("is not run", function() end)
            end)
            it("cannot", function() pending("not here") end)
            pending("later")
            it("runs", function() end)"#;
        let timeout = Duration::from_millis(20);
        let spec = Spec { source: source.to_owned(), timeout, ..Spec::default() };
        let cases = run_with(spec).unwrap();
        let outcomes: Vec<_> = cases.iter().map(|case| case.outcome).collect();
        use Outcome::{Error, Pending, Skipped, Success};
        assert_eq!(outcomes, [Error, Error, Skipped, Pending, Pending, Success], "{cases:?}");
        let told: Vec<_> = cases.iter().map(|case| case.message.as_str()).collect();
        assert!(told[0].contains("timed out") && told[1].contains("no setup"), "{told:?}");
        assert_eq!(told[3], "not here");
        assert_eq!(cases[0].place, "a_spec.lua:2");
    }

    #[test]
    fn a_filter_chooses_cases_by_name() {
        let source = "describe('a', function() it('x', function() end) it('y', function() end) \
                      end)";
        let spec = |filter: &[&str], out: &[&str]| Spec {
            source: source.to_owned(),
            filter: filter.iter().map(|&pattern| pattern.to_owned()).collect(),
            filter_out: out.iter().map(|&pattern| pattern.to_owned()).collect(),
            ..Spec::default()
        };
        let names = |spec| -> Vec<String> {
            run_with(spec).unwrap().into_iter().map(|case| case.name).collect()
        };
        assert_eq!(names(spec(&["^a x$"], &[])), ["a x"]);
        assert_eq!(names(spec(&[], &["x"])), ["a y"]);
    }

    #[test]
    fn a_spec_that_does_not_compile_is_an_error() {
        assert!(run("it(").unwrap_err().to_string().contains("a_spec.lua:1"));
    }

    /// Every spec of the folder; one that holds no case proves nothing.
    #[test]
    fn specs_pass() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/spec");
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let specs = paths.filter(|path| path.to_string_lossy().ends_with("_spec.lua"));
        let mut count = 0;
        for path in specs {
            let cases = run(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let failed: Vec<_> =
                cases.iter().filter(|case| case.outcome != Outcome::Success).collect();
            assert!(failed.is_empty(), "{}: {failed:#?}", path.display());
            assert!(!cases.is_empty(), "{}", path.display());
            count += 1;
        }
        assert!(count >= 6, "{count} specs");
    }
}
