//! The cases: real processes doing the product's job, and the rules a script can check.

mod autonomy;
mod certificates;
mod clients;
mod crash;
mod identity;
mod insight;
mod lifecycle;
mod neighbours;
mod operations;
mod pack;
mod pipelines;
mod refusals;
mod storm;
mod swap;
mod tidy;
mod transport;
mod workers;
