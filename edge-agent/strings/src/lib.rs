//! Byte strings in and out of tensors of ONNX Runtime.
//!
//! A BYTES tensor may hold any bytes: pictures, frames of a fieldbus, text of any encoding. The safe interface of `ort` takes
//! strings that end at the first zero, and gives back only those that are UTF-8. ONNX Runtime itself asks for neither; these
//! two functions pass on what it has.
//!
//! Beside `edge-ipc` this is the only crate with `unsafe`: four calls into the library and one copy into its memory, each
//! with its reason. It knows nothing of requests or shared memory.

use std::ptr;

use ort::AsPointer;
use ort::value::{DynTensor, DynValue, TensorElementType, ValueType};

/// Makes `strings` the elements of `tensor`.
///
/// # Errors
/// When it is no tensor of strings, has another number of elements, or memory runs out.
pub fn fill(tensor: &mut DynTensor, strings: &[&[u8]]) -> Result<(), ort::Error> {
    let count = count(tensor.dtype())?;
    if count != strings.len() {
        let given = strings.len();
        return Err(ort::Error::new(format!(
            "{given} strings for a tensor of {count}"
        )));
    }
    for (index, string) in strings.iter().enumerate() {
        let mut buffer = ptr::null_mut();
        // SAFETY: the tensor is alive and borrowed mutably, so nobody else reads or writes it; it holds strings and has an
        // element `index`, see above; `buffer` is written before the call returns.
        let status = unsafe {
            (ort::api().GetResizedStringTensorElementBuffer)(
                tensor.ptr_mut(),
                index,
                string.len(),
                &raw mut buffer,
            )
        };
        check(status)?;
        if buffer.is_null() {
            return Err(ort::Error::new("no memory for a string"));
        }
        // SAFETY: `buffer` is the memory of the tensor's own string, resized to just this length a moment ago, and nobody
        // else has a pointer to it; `string` is another allocation, since the tensor is borrowed mutably.
        unsafe { ptr::copy_nonoverlapping(string.as_ptr(), buffer.cast::<u8>(), string.len()) };
    }
    Ok(())
}

/// Gives `each` the elements of `value`, in row-major order.
///
/// # Errors
/// When it is no tensor of strings, or lies where the processor cannot read it.
pub fn read(value: &DynValue, mut each: impl FnMut(&[u8])) -> Result<(), ort::Error> {
    let count = count(value.dtype())?;
    let mut length = 0;
    // SAFETY: the value is alive and a tensor of strings; `length` is written before the call returns.
    let status = unsafe { (ort::api().GetStringTensorDataLength)(value.ptr(), &raw mut length) };
    check(status)?;
    let mut bytes = vec![0_u8; length];
    let mut begins = vec![0_usize; count];
    // SAFETY: the value is alive and a tensor of `count` strings; the library writes at most `length` bytes and `count`
    // numbers, which both buffers have, and keeps neither pointer.
    let status = unsafe {
        (ort::api().GetStringTensorContent)(
            value.ptr(),
            bytes.as_mut_ptr().cast(),
            length,
            begins.as_mut_ptr(),
            count,
        )
    };
    check(status)?;
    let ends = begins.iter().skip(1).copied().chain([length]);
    for (&begin, end) in begins.iter().zip(ends) {
        let string = bytes.get(begin..end);
        each(string.ok_or_else(|| ort::Error::new("strings that overlap"))?);
    }
    Ok(())
}

/// How many strings a tensor of strings has.
fn count(dtype: &ValueType) -> Result<usize, ort::Error> {
    match dtype {
        ValueType::Tensor {
            ty: TensorElementType::String,
            shape,
            ..
        } => Ok(shape.num_elements()),
        other => Err(ort::Error::new(format!("{other} is no tensor of strings"))),
    }
}

fn check(status: ort::sys::OrtStatusPtr) -> Result<(), ort::Error> {
    // SAFETY: the status comes from a call that has just returned, and nobody else looks at it or releases it.
    unsafe { ort::Error::result_from_status(status) }
}
