//! Elements of a tensor as JSON numbers or strings, in both directions.

use std::fmt;

use half::{bf16, f16};
use millwright_package::Datatype;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::worker::numbers;
use crate::worker::tensor::{push_string, strings};

/// Reads a list of numbers, booleans or strings, flat or nested, as little-endian elements in row-major order. The
/// error is for people.
pub(crate) fn elements_from_json(json: &RawValue, datatype: Datatype) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let elements = Elements {
        datatype,
        bytes: &mut bytes,
    };
    let mut deserializer = serde_json::Deserializer::from_str(json.get());
    elements
        .deserialize(&mut deserializer)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Writes elements as a flat JSON list. What JSON has no number for (NaN, infinity) becomes null, what is not
/// UTF-8 the replacement character.
pub(crate) fn elements_to_json(datatype: Datatype, data: &[u8], json: &mut Vec<u8>) {
    json.push(b'[');
    match datatype {
        Datatype::Bool => {
            write_each(
                data,
                json,
                |[byte]: [u8; 1]| if byte == 0 { "false" } else { "true" },
            );
        }
        Datatype::Uint64 => write_each(data, json, u64::from_le_bytes),
        Datatype::Int64 => write_each(data, json, i64::from_le_bytes),
        Datatype::Fp32 => {
            write_each(data, json, |bytes| Finite(f32::from_le_bytes(bytes)));
        }
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp64 => {
            write_list(numbers::of(datatype, data).map(Finite), json);
        }
        Datatype::Uint8
        | Datatype::Uint16
        | Datatype::Uint32
        | Datatype::Int8
        | Datatype::Int16
        | Datatype::Int32 => write_list(
            numbers::of(datatype, data).map(|number| number as i64),
            json,
        ),
        Datatype::Bytes => {
            let quoted = |string: &[u8]| serde_json::Value::from(String::from_utf8_lossy(string));
            write_list(
                strings(data).iter().flatten().map(|string| quoted(string)),
                json,
            );
        }
    }
    json.push(b']');
}

fn write_each<const N: usize, T: fmt::Display>(
    data: &[u8],
    json: &mut Vec<u8>,
    element: impl Fn([u8; N]) -> T,
) {
    write_list(
        data.as_chunks::<N>().0.iter().map(|&bytes| element(bytes)),
        json,
    );
}

fn write_list(elements: impl Iterator<Item = impl fmt::Display>, json: &mut Vec<u8>) {
    use std::io::Write;
    for (index, element) in elements.enumerate() {
        let separator = if index == 0 { "" } else { "," };
        // Writing to a vector cannot fail.
        let _ = write!(json, "{separator}{element}");
    }
}

/// A float as JSON has it.
struct Finite<T>(T);

impl fmt::Display for Finite<f32> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() {
            write!(f, "{:?}", self.0)
        } else {
            f.write_str("null")
        }
    }
}

impl fmt::Display for Finite<f64> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() {
            write!(f, "{:?}", self.0)
        } else {
            f.write_str("null")
        }
    }
}

/// Appends what it finds to `bytes`.
struct Elements<'b> {
    datatype: Datatype,
    bytes: &'b mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} elements or lists of them", self.datatype)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        loop {
            let element = Elements {
                datatype: self.datatype,
                bytes: &mut *self.bytes,
            };
            if list.next_element_seed(element)?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.datatype {
            Datatype::Bool => {
                self.bytes.push(u8::from(value));
                Ok(())
            }
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        match self.datatype {
            Datatype::Bytes => {
                push_string(value.as_bytes(), self.bytes);
                Ok(())
            }
            _ => Err(E::invalid_type(serde::de::Unexpected::Str(value), &self)),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.datatype {
            Datatype::Fp16 => self.bytes.extend(f16::from_f64(value).to_le_bytes()),
            Datatype::Bf16 => self.bytes.extend(bf16::from_f64(value).to_le_bytes()),
            Datatype::Fp32 => self.bytes.extend((value as f32).to_le_bytes()),
            Datatype::Fp64 => self.bytes.extend(value.to_le_bytes()),
            _ => return Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
        }
        Ok(())
    }
}

impl Elements<'_> {
    fn integer<E: Error>(self, value: i128) -> Result<(), E> {
        /// Appends `$value` as a `$type`, or says that it does not fit.
        macro_rules! append {
            ($type:ty) => {
                match <$type>::try_from(value) {
                    Ok(value) => self.bytes.extend(value.to_le_bytes()),
                    Err(_) => {
                        return Err(E::custom(format_args!(
                            "{value} does not fit {}",
                            self.datatype
                        )));
                    }
                }
            };
        }
        match self.datatype {
            Datatype::Uint8 => append!(u8),
            Datatype::Uint16 => append!(u16),
            Datatype::Uint32 => append!(u32),
            Datatype::Uint64 => append!(u64),
            Datatype::Int8 => append!(i8),
            Datatype::Int16 => append!(i16),
            Datatype::Int32 => append!(i32),
            Datatype::Int64 => append!(i64),
            Datatype::Bool if value == 0 || value == 1 => self.bytes.push(u8::from(value == 1)),
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => {
                return self.visit_f64(value as f64);
            }
            Datatype::Bool | Datatype::Bytes => {
                return Err(E::custom(format_args!("{value} is no {}", self.datatype)));
            }
        }
        Ok(())
    }
}
