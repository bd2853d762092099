//! What ONNX Runtime can compute a model with.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An execution provider of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The processor. Every build of ONNX Runtime has it, and it is what is left when no other works.
    Cpu,
    /// NVIDIA, through cuDNN.
    Cuda,
    /// NVIDIA, compiled for the device when the model is opened.
    Tensorrt,
    /// Intel processors, graphics and NPUs.
    Openvino,
    /// Arm Compute Library.
    Acl,
    /// XNNPACK, for small Arm and x86 processors.
    Xnnpack,
}

impl Provider {
    /// Every provider.
    pub const ALL: &'static [Self] = &[
        Self::Cpu,
        Self::Cuda,
        Self::Tensorrt,
        Self::Openvino,
        Self::Acl,
        Self::Xnnpack,
    ];

    /// As in a manifest.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Tensorrt => "tensorrt",
            Self::Openvino => "openvino",
            Self::Acl => "acl",
            Self::Xnnpack => "xnnpack",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
