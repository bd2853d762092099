//! Millwright's central service: `cloudcore serve`, `backup` and `restore`.

mod api;
mod app;
mod auth;
mod config;
mod enroll;
mod health;
mod pki;
mod registry;
mod signals;
mod store;

fn main() {}
