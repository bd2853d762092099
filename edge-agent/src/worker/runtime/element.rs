//! Element types: their names on both sides, and copying elements between tensors and shared memory.

use bytemuck::Pod;
use edge_ipc::Slot;
use half::{bf16, f16};
use millwright_package::Datatype;
use ort::memory::Allocator;
use ort::value::{DynTensor, DynValue, PrimitiveTensorElementType, TensorElementType};

use super::run::RunFailure;
use crate::worker::protocol::{MESSAGE_AREA, Placed, Shape};
use crate::worker::tensor::{push_string, strings};

/// ONNX Runtime's name of a datatype; `None` for byte strings, which have no fixed size.
pub(super) const fn element_type_of(datatype: Datatype) -> Option<TensorElementType> {
    Some(match datatype {
        Datatype::Bool => TensorElementType::Bool,
        Datatype::Uint8 => TensorElementType::Uint8,
        Datatype::Uint16 => TensorElementType::Uint16,
        Datatype::Uint32 => TensorElementType::Uint32,
        Datatype::Uint64 => TensorElementType::Uint64,
        Datatype::Int8 => TensorElementType::Int8,
        Datatype::Int16 => TensorElementType::Int16,
        Datatype::Int32 => TensorElementType::Int32,
        Datatype::Int64 => TensorElementType::Int64,
        Datatype::Fp16 => TensorElementType::Float16,
        Datatype::Fp32 => TensorElementType::Float32,
        Datatype::Fp64 => TensorElementType::Float64,
        Datatype::Bf16 => TensorElementType::Bfloat16,
        Datatype::Bytes => return None,
    })
}

/// The datatype of ONNX Runtime's element type; `None` for the ones the protocol has no name for.
pub(super) fn datatype_of(element: TensorElementType) -> Option<Datatype> {
    if element == TensorElementType::String {
        return Some(Datatype::Bytes);
    }
    Datatype::ALL
        .iter()
        .copied()
        .find(|&datatype| element_type_of(datatype) == Some(element))
}

/// Calls a function generic over the element type.
macro_rules! for_element {
    ($datatype:expr, $call:ident($($argument:expr),*), bool: $bool:expr, bytes: $bytes:expr) => {
        match $datatype {
            Datatype::Bool => $bool,
            Datatype::Uint8 => $call::<u8>($($argument),*),
            Datatype::Uint16 => $call::<u16>($($argument),*),
            Datatype::Uint32 => $call::<u32>($($argument),*),
            Datatype::Uint64 => $call::<u64>($($argument),*),
            Datatype::Int8 => $call::<i8>($($argument),*),
            Datatype::Int16 => $call::<i16>($($argument),*),
            Datatype::Int32 => $call::<i32>($($argument),*),
            Datatype::Int64 => $call::<i64>($($argument),*),
            Datatype::Fp16 => $call::<f16>($($argument),*),
            Datatype::Fp32 => $call::<f32>($($argument),*),
            Datatype::Fp64 => $call::<f64>($($argument),*),
            Datatype::Bf16 => $call::<bf16>($($argument),*),
            Datatype::Bytes => $bytes,
        }
    };
}

/// Fills `tensor` from shared memory.
pub(super) fn copy_in(
    tensor: &mut DynTensor,
    placed: &Placed,
    slot: &Slot,
    scratch: &mut Vec<u8>,
) -> Result<(), RunFailure> {
    for_element!(
        placed.datatype,
        read_elements(tensor, placed, slot),
        bool: read_bools(tensor, placed, slot, scratch),
        bytes: Err(RunFailure::inputs("byte strings are not copied as they are"))
    )
}

/// Makes every element 0.
pub(super) fn fill_with_zeros(
    tensor: &mut DynTensor,
    datatype: Datatype,
) -> Result<(), ort::Error> {
    for_element!(
        datatype,
        zero_elements(tensor),
        bool: tensor.try_extract_tensor_mut::<bool>().map(|(_, elements)| elements.fill(false)),
        bytes: Err(ort::Error::new("byte strings have no zero"))
    )
}

fn zero_elements<T: PrimitiveTensorElementType + Pod>(
    tensor: &mut DynTensor,
) -> Result<(), ort::Error> {
    let (_, elements) = tensor.try_extract_tensor_mut::<T>()?;
    elements.fill(T::zeroed());
    Ok(())
}

/// A tensor of the strings in `data`, each after its length.
pub(super) fn strings_in(
    data: &[u8],
    shape: &Shape,
    allocator: &Allocator,
) -> Result<DynTensor, RunFailure> {
    let strings = strings(data).ok_or_else(|| RunFailure::inputs("strings that do not fit"))?;
    let dims: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
    let mut tensor = DynTensor::new(allocator, TensorElementType::String, dims)?;
    edge_strings::fill(&mut tensor, &strings).map_err(RunFailure::inputs)?;
    Ok(tensor)
}

/// Appends the strings of `value` to `data`, each after its length.
pub(super) fn strings_out(value: &DynValue, data: &mut Vec<u8>) -> Result<(), RunFailure> {
    edge_strings::read(value, |string| push_string(string, data)).map_err(RunFailure::model)
}

/// Copies the elements of `value` to `offset` of the slot; returns their length in bytes.
pub(super) fn copy_out(
    value: &DynValue,
    datatype: Datatype,
    offset: u64,
    slot: &mut Slot,
    scratch: &mut Vec<u8>,
) -> Result<u64, RunFailure> {
    for_element!(
        datatype,
        write_elements(value, offset, slot),
        bool: write_bools(value, offset, slot, scratch),
        bytes: Err(RunFailure::model("byte strings are not copied as they are"))
    )
}

fn check_length(expected: usize, placed: &Placed) -> Result<(), RunFailure> {
    if expected as u64 == placed.length {
        Ok(())
    } else {
        Err(RunFailure::inputs(format!(
            "{} bytes for a tensor of {expected}",
            placed.length
        )))
    }
}

fn read_elements<T: PrimitiveTensorElementType + Pod>(
    tensor: &mut DynTensor,
    placed: &Placed,
    slot: &Slot,
) -> Result<(), RunFailure> {
    let (_, elements) = tensor.try_extract_tensor_mut::<T>()?;
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(elements);
    check_length(bytes.len(), placed)?;
    slot.read(MESSAGE_AREA as u64 + placed.offset, bytes)
        .map_err(RunFailure::inputs)
}

/// Any byte but 0 is true: a `bool` may not hold the others.
fn read_bools(
    tensor: &mut DynTensor,
    placed: &Placed,
    slot: &Slot,
    scratch: &mut Vec<u8>,
) -> Result<(), RunFailure> {
    let (_, elements) = tensor.try_extract_tensor_mut::<bool>()?;
    check_length(elements.len(), placed)?;
    scratch.clear();
    slot.append_to(MESSAGE_AREA as u64 + placed.offset, placed.length, scratch)
        .map_err(RunFailure::inputs)?;
    for (element, byte) in elements.iter_mut().zip(scratch) {
        *element = *byte != 0;
    }
    Ok(())
}

fn write_elements<T: PrimitiveTensorElementType + Pod>(
    value: &DynValue,
    offset: u64,
    slot: &mut Slot,
) -> Result<u64, RunFailure> {
    let (_, elements) = value.try_extract_tensor::<T>()?;
    write_bytes(bytemuck::cast_slice(elements), offset, slot)
}

fn write_bools(
    value: &DynValue,
    offset: u64,
    slot: &mut Slot,
    scratch: &mut Vec<u8>,
) -> Result<u64, RunFailure> {
    let (_, elements) = value.try_extract_tensor::<bool>()?;
    scratch.clear();
    scratch.extend(elements.iter().map(|&element| u8::from(element)));
    write_bytes(scratch, offset, slot)
}

fn write_bytes(bytes: &[u8], offset: u64, slot: &mut Slot) -> Result<u64, RunFailure> {
    slot.write(offset, bytes)
        .map_err(|error| RunFailure::model(format!("the outputs do not fit: {error}")))?;
    Ok(bytes.len() as u64)
}
