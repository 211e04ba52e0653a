//! Any text as a configuration file: it is refused with errors that can be shown, or it loads,
//! and then what `config dump` prints of it loads again.

use silverback::config::{self, Source};
use silverback::router::Router;
use silverback::settings::{Env, RouterFlavor};

use super::with_schemas;

/// The first byte chooses between YAML and JSON.
pub fn run(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else { return };
    let name = if kind % 2 == 0 { "kong.yaml" } else { "kong.json" };
    let source = Source { name: name.into(), text: String::from_utf8_lossy(text).into_owned() };
    with_schemas(|schemas| {
        let env = Env::default();
        match config::load(std::slice::from_ref(&source), schemas, &env) {
            Err(errors) => assert!(!errors.problems().is_empty(), "refused without a word"),
            Ok(loaded) => {
                if let Ok(router) = Router::new(&loaded.snapshot, RouterFlavor::default()) {
                    let _ = router.check();
                }
                let dump = config::dump(&[source], schemas, &env, true);
                let text = dump.expect("what loads can be dumped").yaml();
                let again = Source { name: "dump.yaml".into(), text };
                assert!(config::load(&[again], schemas, &env).is_ok(), "a dump loads");
            }
        }
    });
}
