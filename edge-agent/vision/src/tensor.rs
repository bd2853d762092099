//! A model's outputs as they are read here: a name, a shape, and numbers in whatever type the model has.

use std::borrow::Cow;

use half::{bf16, f16};
use thiserror::Error;

/// One output of a model.
#[derive(Clone, Copy, Debug)]
pub struct NamedTensor<'a> {
    /// Its name in the model.
    pub name: &'a str,
    /// Lengths, outermost dimension first.
    pub shape: &'a [usize],
    /// Elements in row-major order.
    pub data: Values<'a>,
}

/// Elements of one output.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// 64-bit integers.
    I64(&'a [i64]),
    /// Any type, little-endian, as they come out of a worker; no alignment is asked for.
    Le(Element, &'a [u8]),
}

/// Type of one element, with the name it has in the Open Inference Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned integers.
    Uint8,
    /// 16 bits.
    Uint16,
    /// 32 bits.
    Uint32,
    /// 64 bits.
    Uint64,
    /// Signed integers.
    Int8,
    /// 16 bits.
    Int16,
    /// 32 bits.
    Int32,
    /// 64 bits.
    Int64,
    /// IEEE half precision.
    Fp16,
    /// The upper half of a 32-bit float.
    Bf16,
    /// 32 bits.
    Fp32,
    /// 64 bits.
    Fp64,
    /// Text: per element its length as 32-bit integer, and its bytes.
    Bytes,
}

/// Bytes that are no elements of their type.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{bytes} bytes are no whole elements of {element:?}")]
pub struct ElementsError {
    element: Element,
    bytes: usize,
}

/// Elements as they are written into a result.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// Whole numbers.
    Integers(Vec<i64>),
    /// Numbers; what is not finite becomes `null` in JSON.
    Numbers(Vec<f64>),
    /// Text. What is not UTF-8 is replaced by U+FFFD.
    Texts(Vec<String>),
}

impl Element {
    /// The type called so in the Open Inference Protocol: `FP32`, `INT64`, `BYTES`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "BOOL" => Self::Bool,
            "UINT8" => Self::Uint8,
            "UINT16" => Self::Uint16,
            "UINT32" => Self::Uint32,
            "UINT64" => Self::Uint64,
            "INT8" => Self::Int8,
            "INT16" => Self::Int16,
            "INT32" => Self::Int32,
            "INT64" => Self::Int64,
            "FP16" => Self::Fp16,
            "BF16" => Self::Bf16,
            "FP32" => Self::Fp32,
            "FP64" => Self::Fp64,
            "BYTES" => Self::Bytes,
            _ => return None,
        })
    }

    /// Bytes of one element; `None` for text.
    #[must_use]
    pub fn size_bytes(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }
}

impl<'a> Values<'a> {
    /// The elements as 32-bit floats; borrowed where they are some already.
    ///
    /// # Errors
    /// When they are text, or the bytes are not whole elements.
    pub fn floats(self) -> Result<Cow<'a, [f32]>, ElementsError> {
        if let Self::F32(floats) = self {
            return Ok(Cow::Borrowed(floats));
        }
        if let Self::Le(Element::Fp32, bytes) = self
            && cfg!(target_endian = "little")
            && let Ok(floats) = bytemuck::try_cast_slice(bytes)
        {
            return Ok(Cow::Borrowed(floats));
        }
        let mut floats = Vec::new();
        self.each(|number| floats.push(number as f32))?;
        Ok(Cow::Owned(floats))
    }

    /// The elements as 64-bit floats.
    ///
    /// # Errors
    /// When they are text, or the bytes are not whole elements.
    pub fn doubles(self) -> Result<Vec<f64>, ElementsError> {
        let mut doubles = Vec::new();
        self.each(|number| doubles.push(number))?;
        Ok(doubles)
    }

    /// The first elements, at most `most`, in the form that loses nothing of them (64-bit unsigned numbers over the
    /// largest signed one become floats).
    ///
    /// # Errors
    /// When the bytes are not whole elements.
    pub fn first(self, most: usize) -> Result<Elements, ElementsError> {
        match self {
            Self::F32(floats) => Self::F32(&floats[..most.min(floats.len())])
                .doubles()
                .map(Elements::Numbers),
            Self::I64(integers) => Ok(Elements::Integers(
                integers[..most.min(integers.len())].to_vec(),
            )),
            Self::Le(Element::Bytes, bytes) => texts(bytes, most).map(Elements::Texts),
            Self::Le(Element::Int64, bytes) => {
                let integers = whole::<8>(Element::Int64, bytes)?;
                Ok(Elements::Integers(
                    integers.take(most).map(i64::from_le_bytes).collect(),
                ))
            }
            Self::Le(element, bytes) => {
                let size = element.size_bytes().unwrap_or(1);
                let part = &bytes[..most.saturating_mul(size).min(bytes.len())];
                let numbers = Self::Le(element, part).doubles()?;
                Ok(match element {
                    Element::Fp16 | Element::Bf16 | Element::Fp32 | Element::Fp64 => {
                        Elements::Numbers(numbers)
                    }
                    Element::Uint64 if numbers.iter().any(|&number| number > i64::MAX as f64) => {
                        Elements::Numbers(numbers)
                    }
                    _ => Elements::Integers(numbers.iter().map(|&number| number as i64).collect()),
                })
            }
        }
    }

    /// How many elements there are; `None` for text, whose elements have to be counted.
    pub(crate) fn count(self) -> Option<usize> {
        match self {
            Self::F32(floats) => Some(floats.len()),
            Self::I64(integers) => Some(integers.len()),
            Self::Le(element, bytes) => element.size_bytes().map(|size| bytes.len() / size),
        }
    }

    pub(crate) fn is_float(self) -> bool {
        match self {
            Self::F32(_) => true,
            Self::I64(_) => false,
            Self::Le(element, _) => matches!(
                element,
                Element::Fp16 | Element::Bf16 | Element::Fp32 | Element::Fp64
            ),
        }
    }

    fn each(self, mut take: impl FnMut(f64)) -> Result<(), ElementsError> {
        macro_rules! numbers {
            ($element:expr, $bytes:expr, $type:ty) => {
                whole::<{ size_of::<$type>() }>($element, $bytes)?
                    .for_each(|bytes| take(<$type>::from_le_bytes(bytes) as f64))
            };
        }
        match self {
            Self::F32(floats) => floats.iter().for_each(|&number| take(number.into())),
            Self::I64(integers) => integers.iter().for_each(|&number| take(number as f64)),
            Self::Le(element, bytes) => match element {
                Element::Bool | Element::Uint8 => numbers!(element, bytes, u8),
                Element::Uint16 => numbers!(element, bytes, u16),
                Element::Uint32 => numbers!(element, bytes, u32),
                Element::Uint64 => numbers!(element, bytes, u64),
                Element::Int8 => numbers!(element, bytes, i8),
                Element::Int16 => numbers!(element, bytes, i16),
                Element::Int32 => numbers!(element, bytes, i32),
                Element::Int64 => numbers!(element, bytes, i64),
                Element::Fp16 => whole::<2>(element, bytes)?
                    .for_each(|bytes| take(f16::from_le_bytes(bytes).to_f64())),
                Element::Bf16 => whole::<2>(element, bytes)?
                    .for_each(|bytes| take(bf16::from_le_bytes(bytes).to_f64())),
                Element::Fp32 => numbers!(element, bytes, f32),
                Element::Fp64 => numbers!(element, bytes, f64),
                Element::Bytes => {
                    return Err(ElementsError {
                        element,
                        bytes: bytes.len(),
                    });
                }
            },
        }
        Ok(())
    }
}

/// The bytes in pieces of one element.
fn whole<const N: usize>(
    element: Element,
    bytes: &[u8],
) -> Result<impl Iterator<Item = [u8; N]> + '_, ElementsError> {
    if !bytes.len().is_multiple_of(N) {
        let bytes = bytes.len();
        return Err(ElementsError { element, bytes });
    }
    Ok(bytes
        .chunks_exact(N)
        .map(|chunk| chunk.try_into().expect("chunks have this length")))
}

fn texts(mut bytes: &[u8], most: usize) -> Result<Vec<String>, ElementsError> {
    let failed = ElementsError {
        element: Element::Bytes,
        bytes: bytes.len(),
    };
    let mut texts = Vec::new();
    while !bytes.is_empty() && texts.len() < most {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(failed)?;
        let length = u32::from_le_bytes(*length) as usize;
        let text = rest.get(..length).ok_or(failed)?;
        texts.push(String::from_utf8_lossy(text).into_owned());
        bytes = &rest[length..];
    }
    Ok(texts)
}

#[cfg(test)]
mod tests;
