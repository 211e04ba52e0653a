//! What a native plugin keeps of an exchange from one phase to the next (`kong.ctx.plugin`).

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use smallvec::SmallVec;

/// Values by their type: a plugin has a type of its own, and runs once in an exchange.
#[derive(Default)]
pub struct Own(RefCell<SmallVec<[Rc<dyn Any>; 2]>>);

impl Own {
    /// Keeps a value.
    pub fn keep<T: Any>(&self, value: Rc<T>) {
        self.0.borrow_mut().push(value);
    }

    /// The value of this type that was kept last.
    pub fn find<T: Any>(&self) -> Option<Rc<T>> {
        self.0.borrow().iter().rev().find_map(|value| value.clone().downcast().ok())
    }

    /// All values of this type, in the order in which they were kept.
    pub fn all<T: Any>(&self) -> SmallVec<[Rc<T>; 2]> {
        self.0.borrow().iter().filter_map(|value| value.clone().downcast().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_type_is_found() {
        let own = Own::default();
        own.keep(Rc::new(1_u8));
        own.keep(Rc::new("a"));
        own.keep(Rc::new(2_u8));
        assert_eq!(own.find::<u8>().as_deref(), Some(&2));
        assert_eq!(own.all::<u8>().iter().map(|one| **one).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(own.find::<u16>(), None);
    }
}
