//! Values that are computed when they are first needed.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::heap::lasting;
use crate::text::Keep;

/// A value that is computed at first use and lives as long as the process.
/// It is smaller than the standard library's, which can wait for another thread. Here two threads may both compute
/// the value, and one result remains.
pub struct Once<T>(AtomicPtr<T>);

impl<T: Sync> Once<T> {
    /// A cell without a value.
    #[must_use]
    pub const fn empty() -> Once<T> {
        Once(AtomicPtr::new(null_mut()))
    }

    /// The value, if it was computed.
    pub fn known(&self) -> Option<&'static T> {
        // SAFETY: null, or from the `keep` in `set`, whose writes precede the store that was read.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }

    /// Stores the value.
    pub fn set(&self, value: T) -> &'static T {
        let value = lasting(|| Box::new(value).keep());
        self.0.store(std::ptr::from_ref(value).cast_mut(), Ordering::Release);
        value
    }

    /// The value, which is computed now if necessary.
    pub fn get(&self, make: impl FnOnce() -> T) -> &'static T {
        self.known().unwrap_or_else(|| self.set(lasting(make)))
    }
}
