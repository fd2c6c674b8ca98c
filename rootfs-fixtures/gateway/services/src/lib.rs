//! The five services of the example gateway.
//!
//! A program of `bin` is a loop over its inputs. Its decisions and its storage are here, where they can be tested without a broker.

pub mod bus;
pub mod command;
pub mod config;
pub mod firmware;
pub mod forbidden;
pub mod health;
pub mod life;
pub mod link;
pub mod message;
pub mod queue;
pub mod record;
pub mod sensor;
pub mod sign;
pub mod slots;
pub mod tls;
pub mod volume;
pub mod window;
