//! Millwright's central service: `cloudcore serve`, `backup` and `restore`.

mod config;
mod pki;
mod registry;
mod signals;
mod store;

fn main() {}
