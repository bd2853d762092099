//! The data plane with real worker processes, ONNX Runtime and the real sensor models.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with the place"
)]

mod batching;
mod drift;
mod hostile;
mod matrix;
mod onnx;
mod rest;
mod sandbox;
mod support;
mod swap;
mod worker;
mod zoo;
