//! Values that are worked out when they are first needed.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::heap::lasting;

/// A value for as long as the process lives, made by who asks first. Smaller than the standard library's, which can wait for
/// another thread: two that ask at once make it twice here, and one of the two stays.
pub struct Once<T>(AtomicPtr<T>);

impl<T: Sync> Once<T> {
    /// Nothing yet.
    #[must_use]
    pub const fn empty() -> Once<T> {
        Once(AtomicPtr::new(null_mut()))
    }

    /// The value, if there is one.
    pub fn known(&self) -> Option<&'static T> {
        // SAFETY: either null or from the `leak` in `set`, whose writes are before the store that was read.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Takes this as the value.
    pub fn set(&self, value: T) -> &'static T {
        let value = lasting(|| Box::leak(Box::new(value)));
        self.0.store(value, Ordering::Release);
        value
    }

    /// The value, made now if there is none.
    pub fn get(&self, make: impl FnOnce() -> T) -> &'static T {
        self.known().unwrap_or_else(|| self.set(lasting(make)))
    }
}
