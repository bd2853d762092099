//! Enums and their numbers in the stored form; a number of a newer program reads as the vaguest one.

use crate::window::{ClockQuality, ErrorClass};
use crate::wire;

impl From<ClockQuality> for wire::ClockQuality {
    fn from(clock: ClockQuality) -> Self {
        match clock {
            ClockQuality::Synchronized => Self::Synchronized,
            ClockQuality::Unsynchronized => Self::Unsynchronized,
            ClockQuality::Floor => Self::Floor,
        }
    }
}

impl From<wire::ClockQuality> for ClockQuality {
    fn from(wire: wire::ClockQuality) -> Self {
        match wire {
            wire::ClockQuality::Synchronized => Self::Synchronized,
            wire::ClockQuality::Unsynchronized | wire::ClockQuality::Unspecified => {
                Self::Unsynchronized
            }
            wire::ClockQuality::Floor => Self::Floor,
        }
    }
}

impl From<ErrorClass> for wire::ErrorClass {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Shape => Self::Shape,
            ErrorClass::Datatype => Self::Datatype,
            ErrorClass::Size => Self::Size,
            ErrorClass::Unavailable => Self::Unavailable,
            ErrorClass::Worker => Self::Worker,
            ErrorClass::Timeout => Self::Timeout,
            ErrorClass::Unknown => Self::Unspecified,
        }
    }
}

impl From<wire::ErrorClass> for ErrorClass {
    fn from(wire: wire::ErrorClass) -> Self {
        match wire {
            wire::ErrorClass::Shape => Self::Shape,
            wire::ErrorClass::Datatype => Self::Datatype,
            wire::ErrorClass::Size => Self::Size,
            wire::ErrorClass::Unavailable => Self::Unavailable,
            wire::ErrorClass::Worker => Self::Worker,
            wire::ErrorClass::Timeout => Self::Timeout,
            wire::ErrorClass::Unspecified => Self::Unknown,
        }
    }
}
