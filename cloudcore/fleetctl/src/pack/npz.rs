//! Arrays of NumPy: `.npz` and `.npy` files.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use millwright_package::Datatype;
use zip::ZipArchive;

use super::PackError;
use super::array::Array;

/// Most bytes of all arrays of a file: they are held in memory.
const BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Most arrays of a file: an input each of the largest model, with as many outputs.
const ARRAYS_MAX: usize = 128;

/// Longest header of an array. A shape of 32 lengths and the type take some hundred bytes.
const HEADER_BYTES_MAX: u64 = 4096;

/// Most lengths of a shape, as in a manifest.
const RANK_MAX: usize = 32;

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

/// What stands before the elements.
struct Header {
    datatype: Datatype,
    columns_first: bool,
    shape: Vec<u64>,
}

/// Reads one array; takes its bytes off `left`.
fn array(name: &str, mut file: impl Read, left: &mut u64) -> Result<Array, String> {
    let header = Header::read(name, &mut file)?;
    let shape = &header.shape;
    if header.columns_first && shape.len() > 1 {
        return Err(format!(
            "`{name}` is stored column by column: save numpy.ascontiguousarray(array)"
        ));
    }
    let size = header.datatype.size_bytes().unwrap_or(1) as u64;
    let bytes = shape
        .iter()
        .try_fold(size, |bytes, length| bytes.checked_mul(*length))
        .filter(|bytes| bytes <= left)
        .ok_or_else(|| {
            format!(
                "`{name}` with shape {shape:?} makes the file's arrays larger than the {BYTES_MAX} bytes that are taken: use less data"
            )
        })?;
    *left -= bytes;
    let mut data = Vec::new();
    // One byte more tells an array that goes on.
    file.take(bytes + 1)
        .read_to_end(&mut data)
        .map_err(|error| format!("`{name}` cannot be unpacked: {error}"))?;
    if data.len() as u64 != bytes {
        let found = match data.len() as u64 {
            found if found < bytes => format!("only {found}"),
            _ => "more".to_owned(),
        };
        return Err(format!(
            "`{name}` is damaged: its shape {shape:?} needs {bytes} bytes, and it has {found}"
        ));
    }
    // None is longer than the data, but for those of an array without elements.
    let shape = shape.iter().map(|&length| usize::try_from(length));
    Ok(Array {
        name: name.to_owned(),
        datatype: header.datatype,
        shape: shape
            .collect::<Result<_, _>>()
            .map_err(|_| format!("`{name}` is too large"))?,
        data,
    })
}

impl Header {
    /// NumPy writes `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`: a literal of Python, of which nothing
    /// but these three values is understood.
    fn read(name: &str, file: &mut impl Read) -> Result<Self, String> {
        let damaged = |what: &str| format!("`{name}` is no array of NumPy: {what}");
        let cut_off = |_| damaged("it is cut off");
        let mut head = [0; 8];
        file.read_exact(&mut head).map_err(cut_off)?;
        if !head.starts_with(MAGIC) {
            return Err(damaged("it begins with something else"));
        }
        let mut length = [0; 4];
        let length_bytes = if head[6] == 1 { 2 } else { 4 };
        file.read_exact(&mut length[..length_bytes])
            .map_err(cut_off)?;
        let length = u64::from(u32::from_le_bytes(length));
        if length > HEADER_BYTES_MAX {
            return Err(damaged("its header is too long"));
        }
        let mut text = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact(&mut text).map_err(cut_off)?;
        let text = String::from_utf8_lossy(&text);
        let value = |key: &str| {
            let (_, after) = text.split_once(&format!("'{key}':"))?;
            Some(after.trim_start())
        };
        let descr = value("descr").ok_or_else(|| damaged("its header names no type"))?;
        let descr = descr
            .strip_prefix('\'')
            .and_then(|rest| rest.split_once('\''))
            .ok_or_else(|| format!("`{name}` has records: save an array of each field"))?;
        let columns_first = match value("fortran_order") {
            Some(order) if order.starts_with("True") => true,
            Some(order) if order.starts_with("False") => false,
            Some(_) | None => return Err(damaged("its header names no order")),
        };
        let shape = value("shape").and_then(lengths);
        Ok(Self {
            datatype: datatype(name, descr.0)?,
            columns_first,
            shape: shape.ok_or_else(|| damaged("its header names no shape"))?,
        })
    }
}

/// The lengths in `(3, 4)`, `(3,)` or `()`.
fn lengths(text: &str) -> Option<Vec<u64>> {
    let (inner, _) = text.strip_prefix('(')?.split_once(')')?;
    let inner = inner.trim().trim_end_matches(',');
    if inner.is_empty() {
        return Some(Vec::new());
    }
    let lengths: Option<Vec<u64>> = inner
        .split(',')
        .map(|length| length.trim().parse().ok())
        .collect();
    lengths.filter(|lengths| lengths.len() <= RANK_MAX)
}

/// The type that NumPy writes as byte order, kind and size: `<f4`.
fn datatype(name: &str, descr: &str) -> Result<Datatype, String> {
    let kind = descr.trim_start_matches(['<', '>', '|', '=']);
    let big_endian = descr.starts_with('>') && kind != "b1" && !kind.ends_with('1');
    if big_endian {
        return Err(format!(
            "`{name}` is big-endian ({descr}): save it with .astype(array.dtype.newbyteorder(\"<\"))"
        ));
    }
    Ok(match kind {
        "b1" => Datatype::Bool,
        "u1" => Datatype::Uint8,
        "u2" => Datatype::Uint16,
        "u4" => Datatype::Uint32,
        "u8" => Datatype::Uint64,
        "i1" => Datatype::Int8,
        "i2" => Datatype::Int16,
        "i4" => Datatype::Int32,
        "i8" => Datatype::Int64,
        "f2" => Datatype::Fp16,
        "f4" => Datatype::Fp32,
        "f8" => Datatype::Fp64,
        _ if kind.starts_with(['S', 'U', 'O', 'a']) => {
            return Err(format!(
                "`{name}` holds text or Python objects ({descr}), which a golden set or a profile cannot"
            ));
        }
        _ => {
            return Err(format!(
                "`{name}` has the type {descr}, which no model takes"
            ));
        }
    })
}

#[cfg(test)]
mod tests;
