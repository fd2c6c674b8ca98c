//! Reads JSON documents into [`Slot`](slot::Slot)s, and writes JSON.
//!
//! It is below every module that reads or writes documents, and knows nothing of containers.

pub mod document;
pub mod pairs;
pub mod read;
pub mod slot;
pub mod value;
