//! JSON: a document to a checked [`Json`](value::Json), its fields read strictly, and the writer.
//!
//! Below every room that reads or writes documents. It knows nothing of containers.

pub mod document;
pub mod pairs;
pub mod read;
pub mod slot;
pub mod value;
