//! Pictures around a model: from a camera's bytes to its input tensor, from its outputs to boxes on the picture.
//!
//! ```text
//! JPEG, PNG ─▶ Frame ─▶ Preprocess::apply ─▶ tensor bytes ──▶ (model) ──▶ NamedTensor ─▶ Decode::apply ─▶ Decoded
//!                │               └───────────────── Placement ───────────────────────────────▲    │
//!                └─▶ mask, quality                                          annotate ◀────────────┘
//! ```
//!
//! Pure: no files, sockets, clocks or threads; the same bytes give the same result. Everything that comes from
//! outside is bounded before memory is taken for it ([`frame::PIXELS_MAX`], [`decode::DETECTIONS_MAX`]), and no
//! number a model can put out, NaN and infinity included, makes anything here panic.
//!
//! Coordinates are continuous: a frame of width `w` spans `0.0..w`, the middle of its first pixel is at 0.5.

mod agreement;
pub mod annotate;
pub mod decode;
pub mod decoded;
pub mod frame;
pub mod preprocess;
pub mod tensor;

pub use annotate::annotate;
pub use decode::{Decode, DecodeError};
pub use decoded::{Class, Decoded, Detection};
pub use frame::mask::{Covering, Region};
pub use frame::quality::Quality;
pub use frame::{Frame, FrameError};
pub use preprocess::placement::Placement;
pub use preprocess::{Preprocess, PreprocessError};
pub use tensor::{Element, NamedTensor, Values};
