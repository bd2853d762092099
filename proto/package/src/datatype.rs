//! Element types of tensors, named as in the Open Inference Protocol.

use std::fmt;
use std::str::FromStr;

use safetensors::Dtype;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A name that is no datatype.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("datatype `{0}` is unknown: use one of {names}", names = Datatype::names())]
pub struct UnknownDatatype(String);

macro_rules! datatypes {
    ($($(#[$doc:meta])* $variant:ident $text:literal $size:expr,)*) => {
        /// The type of one element of a tensor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Datatype {
            $($(#[$doc])* $variant,)*
        }

        impl Datatype {
            /// Every datatype.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The protocol's name, for example `FP32`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Bytes of one element in the binary encoding; `None` for [`Datatype::Bytes`], whose
            /// elements carry their own length.
            #[must_use]
            pub const fn size_bytes(self) -> Option<usize> {
                match self { $(Self::$variant => $size,)* }
            }
        }
    };
}

datatypes! {
    /// One byte, 0 or 1.
    Bool "BOOL" Some(1),
    /// Unsigned, 8 bits.
    Uint8 "UINT8" Some(1),
    /// Unsigned, 16 bits.
    Uint16 "UINT16" Some(2),
    /// Unsigned, 32 bits.
    Uint32 "UINT32" Some(4),
    /// Unsigned, 64 bits.
    Uint64 "UINT64" Some(8),
    /// Signed, 8 bits.
    Int8 "INT8" Some(1),
    /// Signed, 16 bits.
    Int16 "INT16" Some(2),
    /// Signed, 32 bits.
    Int32 "INT32" Some(4),
    /// Signed, 64 bits.
    Int64 "INT64" Some(8),
    /// IEEE 754 half.
    Fp16 "FP16" Some(2),
    /// IEEE 754 single.
    Fp32 "FP32" Some(4),
    /// IEEE 754 double.
    Fp64 "FP64" Some(8),
    /// The upper half of a single.
    Bf16 "BF16" Some(2),
    /// Byte strings, each with a length before it.
    Bytes "BYTES" None,
}

impl Datatype {
    /// What a safetensors file, which golden sets are, calls it; `None` for [`Datatype::Bytes`].
    #[must_use]
    pub const fn dtype(self) -> Option<Dtype> {
        Some(match self {
            Self::Bool => Dtype::BOOL,
            Self::Uint8 => Dtype::U8,
            Self::Uint16 => Dtype::U16,
            Self::Uint32 => Dtype::U32,
            Self::Uint64 => Dtype::U64,
            Self::Int8 => Dtype::I8,
            Self::Int16 => Dtype::I16,
            Self::Int32 => Dtype::I32,
            Self::Int64 => Dtype::I64,
            Self::Fp16 => Dtype::F16,
            Self::Fp32 => Dtype::F32,
            Self::Fp64 => Dtype::F64,
            Self::Bf16 => Dtype::BF16,
            Self::Bytes => return None,
        })
    }

    /// The datatype that a safetensors file calls `dtype`; `None` for eight-bit and smaller floats and whatever comes,
    /// which the protocol has no name for.
    #[must_use]
    pub fn of_dtype(dtype: Dtype) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|datatype| datatype.dtype() == Some(dtype))
    }

    fn names() -> String {
        let names: Vec<&str> = Self::ALL.iter().map(|datatype| datatype.as_str()).collect();
        names.join(", ")
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Datatype {
    type Err = UnknownDatatype;

    fn from_str(text: &str) -> Result<Self, UnknownDatatype> {
        let shortened = || text.chars().take(32).filter(|c| !c.is_control()).collect();
        Self::ALL
            .iter()
            .copied()
            .find(|datatype| datatype.as_str() == text)
            .ok_or_else(|| UnknownDatatype(shortened()))
    }
}

impl Serialize for Datatype {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Datatype {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_of_files_round_trip_and_only_byte_strings_have_no_size() {
        for &datatype in Datatype::ALL {
            assert_eq!(datatype.as_str().parse(), Ok(datatype));
            assert_eq!(datatype.size_bytes().is_none(), datatype == Datatype::Bytes);
            let dtype = datatype.dtype();
            assert_eq!(
                dtype.map(|dtype| dtype.bitsize() / 8),
                datatype.size_bytes()
            );
            assert_eq!(dtype.and_then(Datatype::of_dtype), dtype.map(|_| datatype));
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_known_ones() {
        let error = "float32".parse::<Datatype>().unwrap_err().to_string();
        assert!(
            error.contains("`float32`") && error.contains("FP32"),
            "{error}"
        );
    }
}
