//! Any JSON as the `config` of any plugin, or as any entity: checked, never a panic, and what is
//! accepted is accepted again once its defaults are filled in.

use serde_json::Value;
use silverback::schema::Schemas;

use super::with_schemas;

/// Collections whose schemas are tried beside those of plugins.
const ENTITIES: &[&str] = &["services", "routes", "upstreams", "targets", "consumers", "vaults"];

/// The first byte chooses the schema, the rest is JSON.
pub fn run(data: &[u8]) {
    let Some((choice, json)) = data.split_first() else { return };
    let Ok(value) = serde_json::from_slice::<Value>(json) else { return };
    with_schemas(|schemas| {
        let plugins = schemas.plugin_names();
        let choice = usize::from(*choice) % (plugins.len() + ENTITIES.len());
        let check = match plugins.get(choice) {
            Some(name) => schemas.plugin(name).ok(),
            None => schemas.entity(ENTITIES[choice - plugins.len()]),
        };
        // A plugin of Kong's that is not built has none.
        let Some(check) = check else { return };
        let (filled, errors) = check.process(value);
        if errors.is_empty() {
            let (again, errors) = check.process(filled.clone());
            assert!(errors.is_empty(), "accepted, then refused: {errors:?}");
            assert_eq!(filled, again, "filled in twice differs");
        }
    });
}
