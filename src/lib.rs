pub mod actors;
pub mod event;
pub mod store;
