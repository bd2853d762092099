//! Elements of a tensor as numbers, whatever their datatype.

use half::{bf16, f16};
use millwright_package::Datatype;

/// The elements of `data`, little-endian, as 64-bit floats. Integers beyond 2^53 lose their last digits.
/// Byte strings have no numbers.
pub(crate) fn of(datatype: Datatype, data: &[u8]) -> Box<dyn Iterator<Item = f64> + '_> {
    match datatype {
        Datatype::Bool | Datatype::Uint8 => Box::new(data.iter().map(|&byte| f64::from(byte))),
        Datatype::Int8 => each(data, |bytes| f64::from(i8::from_le_bytes(bytes))),
        Datatype::Uint16 => each(data, |bytes| f64::from(u16::from_le_bytes(bytes))),
        Datatype::Int16 => each(data, |bytes| f64::from(i16::from_le_bytes(bytes))),
        Datatype::Uint32 => each(data, |bytes| f64::from(u32::from_le_bytes(bytes))),
        Datatype::Int32 => each(data, |bytes| f64::from(i32::from_le_bytes(bytes))),
        Datatype::Uint64 => each(data, |bytes| u64::from_le_bytes(bytes) as f64),
        Datatype::Int64 => each(data, |bytes| i64::from_le_bytes(bytes) as f64),
        Datatype::Fp16 => each(data, |bytes| f16::from_le_bytes(bytes).to_f64()),
        Datatype::Bf16 => each(data, |bytes| bf16::from_le_bytes(bytes).to_f64()),
        Datatype::Fp32 => each(data, |bytes| f64::from(f32::from_le_bytes(bytes))),
        Datatype::Fp64 => each(data, f64::from_le_bytes),
        Datatype::Bytes => Box::new(std::iter::empty()),
    }
}

fn each<'a, const N: usize>(
    data: &'a [u8],
    number: impl Fn([u8; N]) -> f64 + 'a,
) -> Box<dyn Iterator<Item = f64> + 'a> {
    Box::new(
        data.as_chunks::<N>()
            .0
            .iter()
            .map(move |&bytes| number(bytes)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_every_size_and_sign_become_numbers() {
        let numbers = |datatype, data: &[u8]| of(datatype, data).collect::<Vec<_>>();
        assert_eq!(numbers(Datatype::Int8, &[0xff, 2]), [-1.0, 2.0]);
        assert_eq!(numbers(Datatype::Uint16, &[1, 1]), [257.0]);
        assert_eq!(numbers(Datatype::Fp16, &[0x00, 0x3c]), [1.0]);
        assert_eq!(numbers(Datatype::Bf16, &[0x80, 0x3f]), [1.0]);
        assert_eq!(numbers(Datatype::Fp32, &1.5_f32.to_le_bytes()), [1.5]);
        assert_eq!(numbers(Datatype::Int64, &(-3_i64).to_le_bytes()), [-3.0]);
    }
}
