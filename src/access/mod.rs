//! Keys: who may do what, where and for how long.
//!
//! - `key`: what is known of one key, and what it allows.
//! - `pattern`: names that a key is limited to.
//! - `key_file`: the file that holds them, as it is read and changed.
//! - `key_ring`: the keys in force.

mod key;
mod key_file;
mod key_ring;
mod pattern;

pub use self::{
    key::{Key, NewKey, Scope, WrongKey},
    key_file::{KeyFile, KeyFileError},
    key_ring::{Denied, KeyRing},
    pattern::Pattern,
};
