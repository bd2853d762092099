//! Why a request failed, as far as a counter tells it.

use std::fmt;

/// Class of a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorClass {
    /// A tensor had another shape than the model takes.
    Shape,
    /// A tensor had another datatype than the model takes.
    Datatype,
    /// The request was too large, or its data did not fill the shape.
    Size,
    /// No ready worker held the model.
    Unavailable,
    /// The worker failed or ended while it worked on the request.
    Worker,
    /// The answer took too long.
    Timeout,
    /// A class of a newer agent that this program does not know; never counted by an agent itself.
    Unknown,
}

impl ErrorClass {
    /// Every class, in order.
    pub const ALL: [Self; 7] = [
        Self::Shape,
        Self::Datatype,
        Self::Size,
        Self::Unavailable,
        Self::Worker,
        Self::Timeout,
        Self::Unknown,
    ];

    /// Stable name for metrics and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shape => "shape",
            Self::Datatype => "datatype",
            Self::Size => "size",
            Self::Unavailable => "unavailable",
            Self::Worker => "worker",
            Self::Timeout => "timeout",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
