//! Rules of the project itself, checked over its own sources: no server, no database, no network.

mod layering;
mod licences;
mod source;
