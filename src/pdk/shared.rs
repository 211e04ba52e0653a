//! What plugins tell each other about an exchange (`kong.ctx.shared`).
//!
//! The tables belong to the Lua VM, which makes them when a Lua plugin first asks. Native plugins
//! read and write single values of them; what they write before the tables are there waits here.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use serde_json::Value;

/// The tables of another language.
pub trait Spaces: Any {
    /// A value of `kong.ctx.shared`, or of `ngx.ctx`, where older plugins put it.
    fn value(&self, name: &str) -> Option<Value>;

    /// Sets a value of `kong.ctx.shared`.
    fn set(&self, name: &str, value: &Value);
}

/// The values of one exchange.
#[derive(Default)]
pub struct Shared {
    waiting: RefCell<Vec<(&'static str, Value)>>,
    spaces: RefCell<Option<Rc<dyn Spaces>>>,
}

impl Shared {
    /// What some plugin has put under this name.
    pub fn value(&self, name: &str) -> Option<Value> {
        let spaces = self.spaces();
        if let Some(spaces) = spaces {
            return spaces.value(name);
        }
        let waiting = self.waiting.borrow();
        waiting.iter().rfind(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    /// Puts a value under a name that Kong's plugins use.
    pub fn set(&self, name: &'static str, value: Value) {
        match self.spaces() {
            Some(spaces) => spaces.set(name, &value),
            None => self.waiting.borrow_mut().push((name, value)),
        }
    }

    /// The tables, if they are made already: whoever made them knows their type.
    pub fn spaces(&self) -> Option<Rc<dyn Spaces>> {
        self.spaces.borrow().clone()
    }

    /// Keeps the tables, and moves there what was waiting.
    pub fn keep(&self, spaces: Rc<dyn Spaces>) {
        for (name, value) in self.waiting.take() {
            spaces.set(name, &value);
        }
        *self.spaces.borrow_mut() = Some(spaces);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Default)]
    struct Table(RefCell<Vec<(String, Value)>>);

    impl Spaces for Table {
        fn value(&self, name: &str) -> Option<Value> {
            let values = self.0.borrow();
            values.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.clone())
        }

        fn set(&self, name: &str, value: &Value) {
            self.0.borrow_mut().push((name.to_owned(), value.clone()));
        }
    }

    #[test]
    fn what_was_said_before_the_tables_were_there_is_not_lost() {
        let shared = Shared::default();
        assert_eq!(shared.value("a"), None);
        shared.set("a", json!(1));
        assert_eq!(shared.value("a"), Some(json!(1)));
        let table = Rc::new(Table::default());
        shared.keep(table.clone());
        shared.set("b", json!(2));
        assert_eq!((table.value("a"), table.value("b")), (Some(json!(1)), Some(json!(2))));
        table.set("a", &json!(3));
        assert_eq!(shared.value("a"), Some(json!(3)));
    }
}
