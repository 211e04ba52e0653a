//! What a native plugin keeps of an exchange from one phase to the next: its `kong.ctx.plugin`.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

/// Values by plugin instance.
#[derive(Default)]
pub struct Kept(RefCell<Vec<(usize, Rc<dyn Any>)>>);

impl Kept {
    /// Keeps a value for this instance, in place of what it kept before.
    pub fn put<P, T: 'static>(&self, plugin: &P, value: T) {
        let (id, value) = (id(plugin), Rc::new(value));
        let mut kept = self.0.borrow_mut();
        match kept.iter_mut().find(|(owner, _)| *owner == id) {
            Some((_, old)) => *old = value,
            None => kept.push((id, value)),
        }
    }

    /// What this instance has kept.
    pub fn get<P, T: 'static>(&self, plugin: &P) -> Option<Rc<T>> {
        let id = id(plugin);
        let kept = self.0.borrow();
        let (_, value) = kept.iter().find(|(owner, _)| *owner == id)?;
        value.clone().downcast().ok()
    }
}

/// An instance stays where it is as long as an exchange uses its configuration.
fn id<P>(plugin: &P) -> usize {
    std::ptr::from_ref(plugin) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_instance_keeps_its_own() {
        let kept = Kept::default();
        let (one, other) = (String::from("1"), String::from("2"));
        kept.put(&one, 1_u8);
        kept.put(&one, 2_u8);
        assert_eq!(kept.get(&one), Some(Rc::new(2_u8)));
        assert_eq!(kept.get::<_, u16>(&one), None);
        assert_eq!(kept.get::<_, u8>(&other), None);
    }
}
