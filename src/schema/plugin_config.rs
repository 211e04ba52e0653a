//! A plugin's entity and its `config`, checked as one, as Kong does.
//!
//! Rules of a plugin's schema may name `config.x` from outside, and it may narrow other fields: the
//! protocols, and whether a consumer may be named. Without an entity the config is put into an
//! empty one.

use serde_json::{Map, Value};

use super::record::Record;
use super::report::Report;
use super::{Check, Error, Kind, Step};

/// A plugin's entity, seen as a check of its `config`.
pub struct PluginConfig {
    entity: Record,
    referenceable: Vec<String>,
    secrets: Vec<String>,
}

/// An array of records whose only element may be written at the level of the array.
///
/// Ours, not Kong's: older documents write the one target of `ai-proxy-advanced` that way.
pub struct ImpliedElement {
    /// The array.
    pub array: String,
    /// The fields of an element that may stand beside it.
    pub fields: Vec<String>,
}

impl PluginConfig {
    /// From the plugin's entity: the fields of `plugins`, as the plugin's schema narrows them.
    pub fn new(entity: Record) -> Self {
        let in_config = |path: &String| path.strip_prefix("config.").map(str::to_owned);
        let referenceable = entity.referenceable.iter().filter_map(in_config).collect();
        let secrets = entity.secrets.iter().filter_map(in_config).collect();
        Self { entity, referenceable, secrets }
    }

    fn names(&self, path: &[Step]) -> Vec<&str> {
        let config = self.entity.field("config", None).map(|field| &field.kind);
        match config {
            Some(Kind::Record(config)) => config.names(path),
            _ => Vec::new(),
        }
    }

    fn implied(&self) -> Option<&ImpliedElement> {
        match &self.entity.field("config", None)?.kind {
            Kind::Record(config) => config.implied.as_ref(),
            _ => None,
        }
    }

    /// The entity with its defaults, and its errors. A config of null counts as none given.
    fn check(&self, mut entity: Map<String, Value>) -> (Map<String, Value>, Vec<Error>) {
        let config = entity.remove("config").unwrap_or_default();
        let mut config = match as_record(config) {
            Ok(config) => config,
            Err(refused) => {
                let (config, error) = *refused;
                entity.insert("config".to_owned(), config);
                return (entity, vec![error]);
            }
        };
        match self.implied().map(|implied| (implied, implied.unfold(&mut config))) {
            Some((_, Err(mut errors))) => {
                errors.iter_mut().for_each(|error| error.path.insert(0, config_step()));
                entity.insert("config".to_owned(), Value::Object(config));
                (entity, errors)
            }
            Some((implied, Ok(true))) => {
                let (entity, mut errors) = self.run(entity, config);
                errors.iter_mut().for_each(|error| implied.fold_path(&mut error.path));
                (entity, errors)
            }
            _ => self.run(entity, config),
        }
    }

    fn run(
        &self,
        mut entity: Map<String, Value>,
        config: Map<String, Value>,
    ) -> (Map<String, Value>, Vec<Error>) {
        let mut report = Report::default();
        entity.insert("config".to_owned(), Value::Object(config));
        let mut entity = self.entity.fill(entity, &mut report);
        if report.len() == 0 {
            self.entity.validate(&entity, &mut report);
        }
        let errors = report.into_errors();
        if errors.is_empty() {
            self.entity.unify_sets(&mut entity);
        }
        (entity, errors)
    }
}

/// The members of a config; an empty Lua table is an array and a map.
fn as_record(config: Value) -> Result<Map<String, Value>, Box<(Value, Error)>> {
    match config {
        Value::Object(config) => Ok(config),
        Value::Null => Ok(Map::new()),
        Value::Array(items) if items.is_empty() => Ok(Map::new()),
        other => {
            let message = "expected a record".to_owned();
            let error = Error { path: vec![config_step()], message, of_record: false };
            Err(Box::new((other, error)))
        }
    }
}

fn config_step() -> Step {
    Step::Field("config".to_owned())
}

impl Check for PluginConfig {
    /// The errors have paths relative to the config.
    fn process(&self, input: Value) -> (Value, Vec<Error>) {
        let entity = Map::from_iter([
            ("name".to_owned(), Value::from("plugin")),
            ("config".to_owned(), input),
        ]);
        let (mut entity, mut errors) = self.check(entity);
        for error in &mut errors {
            if error.path.first() == Some(&config_step()) {
                error.path.remove(0);
            }
        }
        (entity.remove("config").unwrap_or_default(), errors)
    }

    fn process_entity(&self, entity: &Map<String, Value>) -> Option<(Value, Vec<Error>)> {
        let (entity, errors) = self.check(entity.clone());
        Some((Value::Object(entity), errors))
    }

    fn partials(&self) -> &[(String, Vec<String>)] {
        &self.entity.partials
    }

    fn referenceable(&self) -> &[String] {
        &self.referenceable
    }

    fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// The fields of an implied element stand where they may be written.
    fn fields(&self, path: &[Step]) -> Vec<&str> {
        let mut names = self.names(path);
        let Some(implied) = self.implied() else { return names };
        match path.first() {
            None => names.extend(implied.fields.iter().map(String::as_str)),
            Some(Step::Field(name)) if implied.fields.contains(name) => {
                let element = [Step::Field(implied.array.clone()), Step::Index(0)];
                names.extend(self.names(&[&element, path].concat()));
            }
            Some(_) => {}
        }
        names
    }
}

impl ImpliedElement {
    /// Moves the fields of the element into the array. True if there were any.
    fn unfold(&self, data: &mut Map<String, Value>) -> Result<bool, Vec<Error>> {
        let given: Vec<&String> =
            self.fields.iter().filter(|name| data.contains_key(name.as_str())).collect();
        if given.is_empty() {
            return Ok(false);
        }
        if data.get(&self.array).is_some_and(|array| !array.is_null()) {
            let error = |name: &&String| Error {
                path: vec![Step::Field((*name).clone())],
                message: format!(
                    "cannot be set beside '{0}': move '{name}' into each element of '{0}', \
                     or leave '{0}' out",
                    self.array
                ),
                of_record: false,
            };
            return Err(given.iter().map(error).collect());
        }
        let take = |name: &String| Some((name.clone(), data.remove(name)?));
        let element: Map<_, _> = self.fields.iter().filter_map(take).collect();
        data.insert(self.array.clone(), Value::Array(vec![Value::Object(element)]));
        Ok(true)
    }

    /// Points an error at the place where the author wrote the field.
    fn fold_path(&self, path: &mut Vec<Step>) {
        if let [Step::Field(config), Step::Field(array), Step::Index(0), ..] = path.as_slice()
            && config == "config"
            && *array == self.array
        {
            path.drain(1..3);
        }
    }
}
