//! Elements of a tensor as numbers, whatever their datatype.

use half::{bf16, f16};
use millwright_package::Datatype;

/// The elements of `data`, little-endian, as 64-bit floats. Integers beyond 2^53 lose their last digits.
/// Byte strings have no numbers.
pub(crate) fn of(datatype: Datatype, data: &[u8]) -> impl Iterator<Item = f64> + '_ {
    let number: fn(&[u8]) -> f64 = match datatype {
        Datatype::Bool | Datatype::Uint8 => |bytes| f64::from(bytes[0]),
        Datatype::Int8 => |bytes| f64::from(i8::from_le_bytes(array(bytes))),
        Datatype::Uint16 => |bytes| f64::from(u16::from_le_bytes(array(bytes))),
        Datatype::Int16 => |bytes| f64::from(i16::from_le_bytes(array(bytes))),
        Datatype::Uint32 => |bytes| f64::from(u32::from_le_bytes(array(bytes))),
        Datatype::Int32 => |bytes| f64::from(i32::from_le_bytes(array(bytes))),
        Datatype::Uint64 => |bytes| u64::from_le_bytes(array(bytes)) as f64,
        Datatype::Int64 => |bytes| i64::from_le_bytes(array(bytes)) as f64,
        Datatype::Fp16 => |bytes| f16::from_le_bytes(array(bytes)).to_f64(),
        Datatype::Bf16 => |bytes| bf16::from_le_bytes(array(bytes)).to_f64(),
        Datatype::Fp32 => |bytes| f64::from(f32::from_le_bytes(array(bytes))),
        Datatype::Fp64 => |bytes| f64::from_le_bytes(array(bytes)),
        Datatype::Bytes => |_| f64::NAN,
    };
    // Byte strings have no size: one longer than the data gives no element.
    let size = datatype.size_bytes().unwrap_or(data.len() + 1);
    data.chunks_exact(size).map(number)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes
        .try_into()
        .expect("each chunk has the size of the datatype")
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
        assert_eq!(numbers(Datatype::Bytes, &[1, 0, 0, 0, 65]).len(), 0);
        assert_eq!(numbers(Datatype::Int64, &(-3_i64).to_le_bytes()), [-3.0]);
    }
}
