//! Runs Lua specs: `describe`, `it` and `assert` from `kong-compat/busted.lua`.
//!
//! A case is a coroutine of the VM's driver, so it may wait as a plugin's access phase may.

use mlua::{Function, Table};

use super::owner::Owner;
use super::{Error, Vm};

/// One `it` of a spec, and what it failed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The texts of its `describe`s and its own.
    pub name: String,
    /// The failed assertion or the error, with its traceback.
    pub failure: Option<String>,
}

impl Vm {
    /// Runs the cases of a spec one after the other.
    ///
    /// An error is about the file itself: it does not compile, or fails outside a case.
    pub async fn run_spec(&self, path: &str, source: &str) -> Result<Vec<Case>, Error> {
        let busted: Table = self.require("busted")?;
        let chunk = self.lua().load(source).set_name(format!("@{path}")).into_function()?;
        let cases: Vec<Table> = busted.get::<Function>("collect")?.call(chunk)?;
        let mut done = Vec::with_capacity(cases.len());
        for case in cases {
            let run = case.get::<Function>("run")?;
            let outcome = Owner::timer(run.call_async::<()>(())).await;
            let failure = outcome.err().map(|error| error.to_string());
            done.push(Case { name: case.get("name")?, failure });
        }
        Ok(done)
    }
}

#[cfg(test)]
mod peers;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use super::*;
    use crate::dns::Dns;
    use crate::guard::Guard;
    use crate::lua::{Network, Options};
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

    fn run(source: &str) -> Result<Vec<Case>, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let vm = |network| {
            let options = Options { worker: Some(0), network, ..Options::default() };
            Vm::new(&options).unwrap()
        };
        let vm = if source.contains("peers.") {
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
        local.block_on(&runtime, vm.run_spec("a_spec.lua", source))
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
        let failed: Vec<_> = cases.iter().map(|case| case.failure.is_some()).collect();
        assert_eq!(failed, [false, true, false], "{cases:?}");
        let text = cases[1].failure.as_deref().unwrap();
        assert!(text.contains("a_spec.lua:6") && text.contains("a = { 1 }"), "{text}");
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
            let failed: Vec<_> = cases.iter().filter(|case| case.failure.is_some()).collect();
            assert!(failed.is_empty(), "{}: {failed:#?}", path.display());
            assert!(!cases.is_empty(), "{}", path.display());
            count += 1;
        }
        assert!(count >= 6, "{count} specs");
    }
}
