//! Pipeline documents: where inputs come from, what is done to them, which model gets them, where results go.
//!
//! ```text
//! source ─▶ preprocess ─▶ model ─▶ decode ─▶ sinks          back-pressure: what gives way when inputs come faster
//! ```
//!
//! Owns the types of kind `Pipeline`, their defaults, and what has to hold before one is run ([`Pipeline::parse`]
//! refuses the rest with the key, the reason and what to write instead), and the sentences that tell what a
//! pipeline will do ([`Pipeline::sentences`]). It deliberately runs nothing, reads no file that a document names,
//! and knows no model: whether tensors fit is found out beside the model. What is done to pictures and how outputs
//! are read are the types of `edge-vision`, word for word.
//!
//! Text in, [`Pipeline`] or [`PipelineError`] out. Invariant: whatever [`Pipeline::parse`] returns is bounded by the
//! constants of this crate and reads back from its own JSON; asserted in `tests.rs`.

mod check;
mod document;
mod error;
mod paths;
mod payload;
mod preprocess;
mod sentences;
mod sink;
mod source;

#[cfg(test)]
mod tests;

pub use document::{
    ApiVersion, BackPressure, Kind, Metadata, Pipeline, Policy, Selector, Shadow, Spec,
};
pub use edge_vision::{Decode, Region};
pub use error::PipelineError;
pub use paths::{NamedPath, Use};
pub use payload::{CsvRows, Field, Fields, JsonRow, Payload, RawBytes, TimeUnit};
pub use preprocess::{Order, Preprocess, Range, Scale, Sensors, Standard, Window};
pub use sink::{HardExamples, MqttSink, Sink, Webhook, When};
pub use source::{
    Broker, Camera, Directory, Done, Join, MqttSource, MqttTls, Push, Qos, Source, TimeOrder,
    Topic, Video,
};

/// Most inputs that may wait in a pipeline: with pictures of half a megabyte, 2 GiB; more is a mistake.
pub const QUEUE_MAX: u32 = 4096;

/// Most topics of one source, and most fields of one row: a controller with a thousand values is a large one.
pub const FIELDS_MAX: usize = 1024;

/// Most rows in one window: a minute at a thousand rows a second.
pub const WINDOW_ROWS_MAX: u32 = 65_536;

/// Most sinks of one pipeline.
pub const SINKS_MAX: usize = 8;

/// Most masked regions of one picture.
pub const REGIONS_MAX: usize = 64;
