//! Lengths of a tensor's dimensions, held in place: a request has no need of the heap for them.

use std::fmt;
use std::ops::Deref;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most dimensions, as in a manifest.
pub(crate) const RANK_MAX: usize = 32;

/// Up to [`RANK_MAX`] lengths, outermost first; derefs to a slice.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    rank: u8,
    dims: [usize; RANK_MAX],
}

impl Shape {
    /// A copy of `dims`; `None` when there are more than [`RANK_MAX`].
    pub(crate) fn new(dims: &[usize]) -> Option<Self> {
        let mut shape = Self::default();
        dims.iter().try_for_each(|&dim| shape.push(dim))?;
        Some(shape)
    }

    /// The lengths ONNX Runtime gave; `None` when one is negative or there are too many.
    pub(crate) fn of_i64(dims: &[i64]) -> Option<Self> {
        let mut shape = Self::default();
        dims.iter()
            .try_for_each(|&dim| shape.push(usize::try_from(dim).ok()?))?;
        Some(shape)
    }

    fn push(&mut self, dim: usize) -> Option<()> {
        *self.dims.get_mut(usize::from(self.rank))? = dim;
        self.rank += 1;
        Some(())
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            rank: 0,
            dims: [0; RANK_MAX],
        }
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.dims[..usize::from(self.rank)]
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Shape {}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dims;
        impl<'de> Visitor<'de> for Dims {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {RANK_MAX} lengths")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
                let mut shape = Shape::default();
                while let Some(dim) = list.next_element()? {
                    shape
                        .push(dim)
                        .ok_or_else(|| A::Error::invalid_length(RANK_MAX + 1, &self))?;
                }
                Ok(shape)
            }
        }
        deserializer.deserialize_seq(Dims)
    }
}
