//! Arrays of NumPy: `.npz` and `.npy` files.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use millwright_package::Datatype;
use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};
use zip::ZipArchive;

use super::PackError;
use super::array::Array;

/// Most bytes of all arrays of a file: they are held in memory.
const BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Most arrays of a file: an input each of the largest model, with as many outputs.
const ARRAYS_MAX: usize = 128;

/// Longest header of an array. A shape of 32 lengths and the type take some hundred bytes.
const HEADER_BYTES_MAX: u64 = 4096;

/// What an `.npy` file begins with.
const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads all arrays of `path`.
pub(super) fn read(path: &Path) -> Result<Vec<Array>, PackError> {
    let file = File::open(path).map_err(PackError::files("read", path))?;
    let single = path.extension().is_some_and(|extension| extension == "npy");
    let arrays = if single {
        let mut left = BYTES_MAX;
        array("arr_0", BufReader::new(file), &mut left).map(|array| vec![array])
    } else {
        archive(BufReader::new(file))
    };
    arrays.map_err(|problem| PackError::data(path, problem))
}

fn archive(file: impl Read + Seek) -> Result<Vec<Array>, String> {
    let mut archive = ZipArchive::new(file).map_err(|error| {
        format!("is not an .npz file ({error}): write it with numpy.savez(file, input=array)")
    })?;
    if archive.is_empty() || archive.len() > ARRAYS_MAX {
        return Err(format!(
            "holds {} files; expected 1 to {ARRAYS_MAX} arrays",
            archive.len()
        ));
    }
    let mut arrays: Vec<Array> = Vec::new();
    let mut left = BYTES_MAX;
    for index in 0..archive.len() {
        let entry = archive
            .by_index(index)
            .map_err(|error| format!("cannot be unpacked: {error}"))?;
        let name = entry
            .name()
            .map_err(|error| format!("cannot be unpacked: {error}"))?
            .into_owned();
        let name = name
            .strip_suffix(".npy")
            .ok_or_else(|| format!("holds `{name}`, which is no array of NumPy"))?;
        if arrays.iter().any(|array| array.name == name) {
            return Err(format!("holds `{name}` twice"));
        }
        arrays.push(array(name, entry, &mut left)?);
    }
    Ok(arrays)
}

/// Reads one array; takes its bytes off `left`.
fn array(name: &str, mut file: impl Read, left: &mut u64) -> Result<Array, String> {
    let header = header(name, &mut file)?;
    let datatype = datatype(name, &header.dtype())?;
    if header.order() == Order::Fortran && header.shape().len() > 1 {
        return Err(format!(
            "`{name}` is stored column by column: save numpy.ascontiguousarray(array)"
        ));
    }
    let size = datatype.size_bytes().unwrap_or(1) as u64;
    let bytes = header
        .shape()
        .iter()
        .try_fold(size, |bytes, length| bytes.checked_mul(*length))
        .filter(|bytes| bytes <= left)
        .ok_or_else(|| format!("`{name}` with shape {:?} makes the file's arrays larger than the {BYTES_MAX} bytes that are taken: use less data", header.shape()))?;
    *left -= bytes;
    let mut data = Vec::new();
    // One byte more tells an array that goes on.
    file.take(bytes + 1)
        .read_to_end(&mut data)
        .map_err(|error| format!("`{name}` cannot be unpacked: {error}"))?;
    if data.len() as u64 != bytes {
        return Err(format!(
            "`{name}` is damaged: its shape {:?} needs {bytes} bytes, and it has {}",
            header.shape(),
            if (data.len() as u64) < bytes {
                format!("only {}", data.len())
            } else {
                "more".to_owned()
            }
        ));
    }
    let shape = header.shape().iter().map(|&length| usize::try_from(length));
    Ok(Array {
        name: name.to_owned(),
        datatype,
        shape: shape
            .collect::<Result<_, _>>()
            .map_err(|_| format!("`{name}` is too large"))?,
        data,
    })
}

/// The header, looked at before a parser of Python literals sees it.
fn header(name: &str, file: &mut impl Read) -> Result<NpyHeader, String> {
    let damaged = |what: &str| format!("`{name}` is no array of NumPy: {what}");
    let mut head = [0; 8];
    file.read_exact(&mut head)
        .map_err(|_| damaged("it is cut off"))?;
    if !head.starts_with(MAGIC) {
        return Err(damaged("it begins with something else"));
    }
    let length_bytes = if head[6] == 1 { 2 } else { 4 };
    let mut length = [0; 4];
    file.read_exact(&mut length[..length_bytes])
        .map_err(|_| damaged("it is cut off"))?;
    let text_bytes = u64::from(u32::from_le_bytes(length));
    if text_bytes > HEADER_BYTES_MAX {
        return Err(damaged("its header is too long"));
    }
    let mut whole = [&head[..], &length[..length_bytes]].concat();
    file.take(text_bytes)
        .read_to_end(&mut whole)
        .map_err(|error| damaged(&error.to_string()))?;
    NpyHeader::from_reader(whole.as_slice()).map_err(|error| damaged(&error.to_string()))
}

fn datatype(name: &str, dtype: &DType) -> Result<Datatype, String> {
    let DType::Plain(plain) = dtype else {
        return Err(format!("`{name}` has records: save an array of each field"));
    };
    if plain.endianness() == Endianness::Big {
        return Err(format!(
            "`{name}` is big-endian ({plain}): save it with .astype(array.dtype.newbyteorder(\"<\"))"
        ));
    }
    Ok(match (plain.type_char(), plain.size_field()) {
        (TypeChar::Bool, 1) => Datatype::Bool,
        (TypeChar::Uint, 1) => Datatype::Uint8,
        (TypeChar::Uint, 2) => Datatype::Uint16,
        (TypeChar::Uint, 4) => Datatype::Uint32,
        (TypeChar::Uint, 8) => Datatype::Uint64,
        (TypeChar::Int, 1) => Datatype::Int8,
        (TypeChar::Int, 2) => Datatype::Int16,
        (TypeChar::Int, 4) => Datatype::Int32,
        (TypeChar::Int, 8) => Datatype::Int64,
        (TypeChar::Float, 2) => Datatype::Fp16,
        (TypeChar::Float, 4) => Datatype::Fp32,
        (TypeChar::Float, 8) => Datatype::Fp64,
        (TypeChar::ByteStr | TypeChar::UnicodeStr | TypeChar::Object, _) => {
            return Err(format!(
                "`{name}` holds text or Python objects ({plain}), which a golden set or a profile cannot"
            ));
        }
        _ => {
            return Err(format!(
                "`{name}` has the type {plain}, which no model takes"
            ));
        }
    })
}

#[cfg(test)]
mod tests;
