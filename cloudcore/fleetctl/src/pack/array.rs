//! Arrays on their way into a model: how they fit its inputs, and the files they travel in.

use std::collections::BTreeMap;
use std::path::Path;

use millwright_package::{Datatype, Dim, TensorSpec};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use super::PackError;

/// Name that NumPy gives an array that was saved without one.
const NAMELESS: &str = "arr_0";

/// A named array of numbers, row-major and little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Array {
    pub(super) name: String,
    pub(super) datatype: Datatype,
    pub(super) shape: Vec<usize>,
    pub(super) data: Vec<u8>,
}

/// What a file of arrays is to a model.
#[derive(Debug, Default)]
pub(super) struct Assigned {
    /// In the order of the model.
    pub(super) inputs: Vec<Array>,
    /// Values that outputs should have.
    pub(super) outputs: Vec<Array>,
}

/// What the first dimension of an array is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// That of one request.
    Request,
    /// Rows of many requests.
    Rows,
}

impl Array {
    /// Rows of the first dimension; a scalar belongs to every request.
    pub(super) fn part(&self, begin: usize, rows: usize) -> Self {
        let Some(&length) = self.shape.first() else {
            return self.clone();
        };
        let row_bytes = self.data.len() / length.max(1);
        let mut shape = self.shape.clone();
        shape[0] = rows;
        Self {
            name: self.name.clone(),
            datatype: self.datatype,
            shape,
            data: self.data[begin * row_bytes..(begin + rows) * row_bytes].to_vec(),
        }
    }

    fn check(&self, spec: &TensorSpec, first: First) -> Result<(), String> {
        if self.datatype != spec.datatype {
            return Err(format!(
                "`{}` is {} and the model takes {}: save it with .astype({})",
                self.name,
                numpy(self.datatype),
                numpy(spec.datatype),
                numpy(spec.datatype),
            ));
        }
        let fits = match (first, self.shape.as_slice(), spec.shape.as_slice()) {
            (First::Rows, [_, rest @ ..], [_, dims @ ..]) => admits(dims, rest),
            (_, shape, dims) => admits(dims, shape),
        };
        if fits {
            return Ok(());
        }
        let hint = match first {
            First::Rows if !self.shape.is_empty() => {
                " (of sample data the first length is how many there are)"
            }
            First::Rows | First::Request => "",
        };
        Err(format!(
            "`{}` has shape {:?} and the model takes {:?}, -1 is any length{hint}",
            self.name,
            self.shape,
            spec.dims()
        ))
    }
}

fn admits(dims: &[Dim], shape: &[usize]) -> bool {
    let fits = |(dim, length): (&Dim, &usize)| match dim {
        Dim::Fixed(fixed) => fixed.get() as usize == *length,
        Dim::Dynamic => true,
    };
    dims.len() == shape.len() && dims.iter().zip(shape).all(fits)
}

/// What an array's name says it is, as in a golden set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Input,
    Output,
}

/// Which array is which input, and which the expected value of an output.
pub(super) fn assign(
    arrays: Vec<Array>,
    inputs: &[TensorSpec],
    outputs: &[TensorSpec],
    first: First,
) -> Result<Assigned, String> {
    let mut given: BTreeMap<String, Array> = BTreeMap::new();
    let mut assigned = Assigned::default();
    let single = arrays.len() == 1;
    for mut array in arrays {
        if let ([only], NAMELESS, true) = (inputs, array.name.as_str(), single) {
            array.name.clone_from(&only.name);
        }
        let (side, name) = match array.name.split_once('/') {
            Some(("input", name)) => (Some(Side::Input), name.to_owned()),
            Some(("output", name)) => (Some(Side::Output), name.to_owned()),
            Some(_) | None => (None, array.name.clone()),
        };
        array.name.clone_from(&name);
        if side != Some(Side::Output) && inputs.iter().any(|spec| spec.name == name) {
            given.insert(name, array);
        } else if side != Some(Side::Input)
            && let Some(spec) = outputs.iter().find(|spec| spec.name == name)
        {
            array.check(spec, first)?;
            assigned.outputs.push(array);
        } else {
            return Err(format!(
                "the model has no input or output `{name}`; it takes {} and gives {}",
                names(inputs),
                names(outputs)
            ));
        }
    }
    for spec in inputs {
        let array = given.remove(&spec.name).ok_or_else(|| {
            format!(
                "input `{}` is missing: save an array of that name, as in numpy.savez(file, **{{{:?}: array}})",
                spec.name, spec.name
            )
        })?;
        array.check(spec, first)?;
        assigned.inputs.push(array);
    }
    Ok(assigned)
}

fn names(specs: &[TensorSpec]) -> String {
    let names: Vec<String> = specs
        .iter()
        .map(|spec| format!("`{}`", spec.name))
        .collect();
    names.join(", ")
}

/// What NumPy calls the type.
fn numpy(datatype: Datatype) -> String {
    match datatype {
        Datatype::Fp16 => "float16".to_owned(),
        Datatype::Fp32 => "float32".to_owned(),
        Datatype::Fp64 => "float64".to_owned(),
        Datatype::Bf16 => "bfloat16, which NumPy does not have".to_owned(),
        Datatype::Bytes => "a text, which a file of arrays for a model cannot hold".to_owned(),
        other => other.as_str().to_lowercase(),
    }
}

/// Writes a file as the agent and a golden set take it.
pub(super) fn write(path: &Path, inputs: &[Array], outputs: &[Array]) -> Result<(), PackError> {
    let sides = [("input", inputs), ("output", outputs)];
    let mut views = Vec::new();
    for (side, arrays) in sides {
        for array in arrays {
            let problem = |what: String| PackError::data(path, what);
            let dtype = array
                .datatype
                .dtype()
                .ok_or_else(|| problem(format!("`{}` is text", array.name)))?;
            let view = TensorView::new(dtype, array.shape.clone(), &array.data)
                .map_err(|error| problem(format!("`{}`: {error}", array.name)))?;
            views.push((format!("{side}/{}", array.name), view));
        }
    }
    let file = safetensors::serialize(views, None)
        .map_err(|error| PackError::data(path, error.to_string()))?;
    std::fs::write(path, file).map_err(PackError::files("write", path))
}

/// The outputs in a file that the agent wrote.
pub(super) fn outputs(path: &Path) -> Result<Vec<Array>, PackError> {
    let content = std::fs::read(path).map_err(PackError::files("read", path))?;
    let file = SafeTensors::deserialize(&content)
        .map_err(|error| PackError::data(path, error.to_string()))?;
    let array = |(name, view): (&str, TensorView<'_>)| {
        Some(Array {
            name: name.strip_prefix("output/")?.to_owned(),
            datatype: Datatype::of_dtype(view.dtype())?,
            shape: view.shape().to_vec(),
            data: view.data().to_vec(),
        })
    };
    Ok(file.iter().filter_map(array).collect())
}

impl Array {
    /// The elements as numbers; integers beyond 2^53 lose their last digits.
    pub(super) fn numbers(&self) -> impl Iterator<Item = f64> + '_ {
        let number: fn(&[u8]) -> f64 = match self.datatype {
            Datatype::Bool | Datatype::Uint8 => |bytes| f64::from(bytes[0]),
            Datatype::Int8 => |bytes| f64::from(i8::from_le_bytes(fixed(bytes))),
            Datatype::Uint16 => |bytes| f64::from(u16::from_le_bytes(fixed(bytes))),
            Datatype::Int16 => |bytes| f64::from(i16::from_le_bytes(fixed(bytes))),
            Datatype::Uint32 => |bytes| f64::from(u32::from_le_bytes(fixed(bytes))),
            Datatype::Int32 => |bytes| f64::from(i32::from_le_bytes(fixed(bytes))),
            Datatype::Uint64 => |bytes| u64::from_le_bytes(fixed(bytes)) as f64,
            Datatype::Int64 => |bytes| i64::from_le_bytes(fixed(bytes)) as f64,
            Datatype::Fp16 => |bytes| half::f16::from_le_bytes(fixed(bytes)).to_f64(),
            Datatype::Bf16 => |bytes| half::bf16::from_le_bytes(fixed(bytes)).to_f64(),
            Datatype::Fp32 => |bytes| f64::from(f32::from_le_bytes(fixed(bytes))),
            Datatype::Fp64 => |bytes| f64::from_le_bytes(fixed(bytes)),
            Datatype::Bytes => |_| f64::NAN,
        };
        let size = self.datatype.size_bytes().unwrap_or(1);
        self.data.chunks_exact(size).map(number)
    }

    /// An array of `values` as `datatype`; `None` for types that numbers are not made into.
    pub(super) fn of_numbers(
        name: &str,
        datatype: Datatype,
        shape: Vec<usize>,
        values: &[f64],
    ) -> Option<Self> {
        fn all<const N: usize>(values: &[f64], element: impl Fn(f64) -> [u8; N]) -> Vec<u8> {
            values.iter().flat_map(|value| element(*value)).collect()
        }
        let data = match datatype {
            Datatype::Fp32 => all(values, |value| (value as f32).to_le_bytes()),
            Datatype::Fp64 => all(values, f64::to_le_bytes),
            Datatype::Fp16 => all(values, |value| half::f16::from_f64(value).to_le_bytes()),
            Datatype::Int64 => all(values, |value| (value.round() as i64).to_le_bytes()),
            Datatype::Int32 => all(values, |value| (value.round() as i32).to_le_bytes()),
            Datatype::Uint8 => all(values, |value| (value.round() as u8).to_le_bytes()),
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            datatype,
            shape,
            data,
        })
    }

    /// Arrays of the same inner shape, one after another.
    pub(super) fn joined(parts: &[Self]) -> Option<Self> {
        let mut joined = parts.first()?.clone();
        if joined.shape.is_empty() {
            return Some(joined);
        }
        for part in &parts[1..] {
            joined.shape[0] += part.shape[0];
            joined.data.extend_from_slice(&part.data);
        }
        Some(joined)
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes
        .try_into()
        .expect("each chunk has the size of the type")
}

#[cfg(test)]
mod tests;
