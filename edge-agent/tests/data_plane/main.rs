//! The data plane with real worker processes, ONNX Runtime and the real sensor models.

mod onnx;
mod rest;
mod support;
mod swap;
mod worker;
