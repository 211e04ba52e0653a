//! The errors found so far, and where the check is at the moment.

use serde_json::{Map, Value};

use super::{Error, Step};

/// Collects errors while a check walks through a value.
#[derive(Default)]
pub(super) struct Report {
    at: Vec<Step>,
    errors: Vec<Error>,
}

impl Report {
    /// Everything found.
    pub(super) fn into_errors(self) -> Vec<Error> {
        self.errors
    }

    /// How many errors there are by now; a later call tells whether any came.
    pub(super) fn len(&self) -> usize {
        self.errors.len()
    }

    /// An error about the value the check is at.
    pub(super) fn error(&mut self, message: impl Into<String>) {
        let (path, message) = (self.at.clone(), message.into());
        self.errors.push(Error { path, message, of_record: false });
    }

    /// An error about fields of the record that the check is at.
    pub(super) fn record_error(&mut self, message: impl Into<String>) {
        let (path, message) = (self.at.clone(), message.into());
        self.errors.push(Error { path, message, of_record: true });
    }

    /// An error that was found with paths relative to where the check is.
    pub(super) fn nested(&mut self, error: Error) {
        let path = self.at.iter().chain(&error.path).cloned().collect();
        self.errors.push(Error { path, ..error });
    }

    /// Runs a check one step further down.
    pub(super) fn within<T>(&mut self, step: Step, check: impl FnOnce(&mut Self) -> T) -> T {
        self.at.push(step);
        let result = check(self);
        self.at.pop();
        result
    }

    /// An error at a dotted field; it takes the place of what was said there before, as in Kong.
    pub(super) fn set(&mut self, field: &str, message: &str) {
        let mut path = self.at.clone();
        path.extend(field.split('.').map(|name| Step::Field(name.to_owned())));
        self.errors.retain(|error| error.path != path);
        self.errors.push(Error { path, message: message.to_owned(), of_record: false });
    }

    /// Whether a field, or anything in it, has an error.
    pub(super) fn has_error_in(&self, field: &str) -> bool {
        self.errors.iter().any(|error| {
            matches!(error.path.strip_prefix(self.at.as_slice()),
                Some([Step::Field(name), ..]) if name == field)
        })
    }
}

/// The value at a dotted path. `None`: a field on the way is missing or null.
pub(super) fn lookup<'a>(data: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = data.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

/// Puts a value at a dotted path, making the records on the way.
pub(super) fn place(data: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            data.insert(path.to_owned(), value);
        }
        Some((head, rest)) => {
            let inner = data.entry(head).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                place(inner, rest, value);
            }
        }
    }
}
