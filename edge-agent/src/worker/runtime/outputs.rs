//! Outputs of the session: what clients see of them, and copying them into shared memory.
//!
//! Clients see tensors only. What else a model may give becomes tensors here:
//!
//! | output of the model | what a manifest lists |
//! |---|---|
//! | tensor | the same |
//! | sequence of maps (scikit-learn's ZipMap) | `name`: the values, one row for each map; `name.keys`: the keys, in the order of the columns |
//! | map | the same without rows |
//! | sequence of tensors of one shape | `name`: one tensor with one more dimension in front |
//!
//! The keys of a map are in ascending order, and every map of a sequence must have the same.

use edge_ipc::Slot;
use millwright_package::Datatype;
use ort::session::{Session, SessionOutputs};
use ort::value::{DynValue, DynValueTypeMarker, TensorElementType, ValueType};

use super::element::{copy_out, datatype_of, strings_out};
use super::run::RunFailure;
use crate::worker::protocol::{
    MESSAGE_AREA, Placed, Port, PortKind, Run, Shape, aligned, shortened,
};
use crate::worker::tensor::push_string;

/// What the name of a map's keys ends with.
const KEYS: &str = ".keys";

/// What clients can ask for.
pub(super) struct Outputs {
    list: Vec<Output>,
    /// Of the session.
    names: Vec<String>,
}

struct Output {
    port: Port,
    /// Which output of the session.
    index: usize,
    part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Tensor,
    Stacked,
    MapValues,
    MapKeys,
}

/// Where outputs are put, one after another.
struct Target<'a> {
    slot: &'a mut Slot,
    placed: &'a mut Vec<Placed>,
    end: u64,
    scratch: &'a mut Vec<u8>,
}

impl Outputs {
    pub(super) fn of(session: &Session) -> Self {
        let outlets = session.outputs().iter();
        let names = outlets.clone().map(|outlet| outlet.name().to_owned());
        Self {
            list: outlets
                .enumerate()
                .flat_map(|(index, outlet)| parts(index, outlet.name(), outlet.dtype()))
                .collect(),
            names: names.collect(),
        }
    }

    pub(super) fn ports(&self) -> Vec<Port> {
        self.list.iter().map(|output| output.port.clone()).collect()
    }

    /// The session's names.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether all of them are tensors of numbers.
    pub(super) fn are_plain(&self) -> bool {
        self.list.iter().all(|output| {
            let PortKind::Tensor { datatype, .. } = &output.port.kind else {
                return false;
            };
            output.part == Part::Tensor && *datatype != Datatype::Bytes
        })
    }

    /// Copies the outputs that `run` asks for into the slot.
    pub(super) fn store(
        &self,
        run: &Run,
        found: &SessionOutputs<'_>,
        slot: &mut Slot,
        placed: &mut Vec<Placed>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), RunFailure> {
        let mut target = Target {
            slot,
            placed,
            end: 0,
            scratch,
        };
        for &number in &run.outputs {
            let output = usize::try_from(number)
                .ok()
                .and_then(|number| self.list.get(number))
                .ok_or_else(|| RunFailure::model(format!("no output {number}")))?;
            let value = &found[output.index];
            match output.part {
                Part::Tensor => target.tensor(value)?,
                Part::Stacked => target.stacked(value)?,
                Part::MapValues | Part::MapKeys => target.maps(value, output.part)?,
            }
        }
        Ok(())
    }
}

/// What a port that is a tensor carries.
pub(super) fn tensor_kind(dtype: &ValueType) -> Option<PortKind> {
    match dtype {
        ValueType::Tensor { ty, shape, .. } => Some(PortKind::Tensor {
            datatype: datatype_of(*ty)?,
            shape: shape.to_vec(),
        }),
        ValueType::Sequence(_) | ValueType::Map { .. } | ValueType::Optional(_) => None,
    }
}

/// What clients see of one output of the session.
fn parts(index: usize, name: &str, dtype: &ValueType) -> Vec<Output> {
    let output = |suffix: &str, kind, part| Output {
        port: Port {
            name: format!("{name}{suffix}"),
            kind,
            optional: false,
        },
        index,
        part,
    };
    let maps = |key: TensorElementType, value, rows: &[i64]| {
        let datatype = datatype_of(key).filter(|_| value == TensorElementType::Float32)?;
        let tensor = |datatype, shape| PortKind::Tensor { datatype, shape };
        let values = tensor(Datatype::Fp32, [rows, &[-1]].concat());
        Some(vec![
            output("", values, Part::MapValues),
            output(KEYS, tensor(datatype, vec![-1]), Part::MapKeys),
        ])
    };
    let known = match dtype {
        ValueType::Tensor { .. } => {
            tensor_kind(dtype).map(|kind| vec![output("", kind, Part::Tensor)])
        }
        ValueType::Map { key, value } => maps(*key, *value, &[]),
        ValueType::Sequence(element) => match &**element {
            ValueType::Map { key, value } => maps(*key, *value, &[-1]),
            ValueType::Tensor { ty, shape, .. } => datatype_of(*ty).map(|datatype| {
                // No dimensions: the model does not say.
                let shape = match shape.len() {
                    0 => Vec::new(),
                    _ => [&[-1], &**shape].concat(),
                };
                vec![output(
                    "",
                    PortKind::Tensor { datatype, shape },
                    Part::Stacked,
                )]
            }),
            ValueType::Sequence(_) | ValueType::Optional(_) => None,
        },
        ValueType::Optional(_) => None,
    };
    known.unwrap_or_else(|| {
        let kind = PortKind::Unsupported(shortened(dtype.to_string()));
        vec![output("", kind, Part::Tensor)]
    })
}

impl Target<'_> {
    fn tensor(&mut self, value: &DynValue) -> Result<(), RunFailure> {
        let (datatype, shape) = form(value)?;
        if datatype == Datatype::Bytes {
            self.scratch.clear();
            strings_out(value, self.scratch)?;
            return self.scratch_as(datatype, shape);
        }
        let length = copy_out(value, datatype, self.at(), self.slot, self.scratch)?;
        self.push(datatype, shape, length);
        Ok(())
    }

    fn stacked(&mut self, value: &DynValue) -> Result<(), RunFailure> {
        let elements = value.try_extract_sequence::<DynValueTypeMarker>()?;
        let begin = self.end;
        let first = self.placed.len();
        let mut common: Option<(Datatype, Shape)> = None;
        let mut length = 0;
        for element in &elements {
            let form = form(element)?;
            if *common.get_or_insert(form) != form {
                let message = "a sequence of tensors of several shapes cannot be one tensor";
                return Err(RunFailure::model(message));
            }
            self.end = begin + length;
            self.tensor(element)?;
            length += self.placed.pop().map_or(0, |placed| placed.length);
        }
        debug_assert_eq!(self.placed.len(), first);
        self.end = begin;
        let (datatype, shape) = common.unwrap_or((element_of(value), Shape::default()));
        let dims = [&[elements.len()], &*shape].concat();
        let shape = Shape::new(&dims).ok_or_else(|| RunFailure::model("too many dimensions"))?;
        self.push(datatype, shape, length);
        Ok(())
    }

    fn maps(&mut self, value: &DynValue, part: Part) -> Result<(), RunFailure> {
        let (maps, alone) = match value.dtype() {
            ValueType::Sequence(_) => (value.try_extract_sequence::<DynValueTypeMarker>()?, None),
            ValueType::Map { .. } | ValueType::Tensor { .. } | ValueType::Optional(_) => {
                (Vec::new(), Some(value))
            }
        };
        let maps: Vec<&DynValue> = alone.into_iter().chain(&maps).collect();
        let text = match value.dtype() {
            ValueType::Sequence(element) => is_text_map(element),
            own => is_text_map(own),
        };
        self.scratch.clear();
        let (rows, columns) = if text {
            let push = |key: &String, into: &mut Vec<u8>| push_string(key.as_bytes(), into);
            table::<String>(&maps, part, self.scratch, push)?
        } else {
            let push = |key: &i64, into: &mut Vec<u8>| into.extend(key.to_le_bytes());
            table::<i64>(&maps, part, self.scratch, push)?
        };
        let (datatype, dims): (_, &[usize]) = match (part, alone) {
            (Part::MapKeys, _) if text => (Datatype::Bytes, &[columns]),
            (Part::MapKeys, _) => (Datatype::Int64, &[columns]),
            (_, Some(_)) => (Datatype::Fp32, &[columns]),
            (_, None) => (Datatype::Fp32, &[rows, columns]),
        };
        let shape = Shape::new(dims).expect("two dimensions at most");
        self.scratch_as(datatype, shape)
    }

    /// Copies `scratch` as one tensor.
    fn scratch_as(&mut self, datatype: Datatype, shape: Shape) -> Result<(), RunFailure> {
        self.slot
            .write(self.at(), self.scratch)
            .map_err(|error| RunFailure::model(format!("the outputs do not fit: {error}")))?;
        self.push(datatype, shape, self.scratch.len() as u64);
        Ok(())
    }

    fn push(&mut self, datatype: Datatype, shape: Shape, length: u64) {
        self.placed.push(Placed {
            datatype,
            shape,
            offset: self.end,
            length,
        });
        self.end = aligned(self.end + length);
    }

    /// Where the next tensor goes, from the beginning of the slot.
    const fn at(&self) -> u64 {
        MESSAGE_AREA as u64 + self.end
    }
}

/// Appends the keys or the values of maps to `into`; returns how many maps and how many keys there are.
fn table<K>(
    maps: &[&DynValue],
    part: Part,
    into: &mut Vec<u8>,
    push: impl Fn(&K, &mut Vec<u8>),
) -> Result<(usize, usize), RunFailure>
where
    K: ort::value::IntoTensorElementType + Clone + std::hash::Hash + Ord,
{
    let mut keys: Option<Vec<K>> = None;
    for map in maps {
        let mut entries = map.try_extract_key_values::<K, f32>()?;
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        let keys = keys.get_or_insert_with(|| entries.iter().map(|(key, _)| key.clone()).collect());
        if !keys.iter().eq(entries.iter().map(|(key, _)| key)) {
            return Err(RunFailure::model(
                "maps with different keys cannot be one table",
            ));
        }
        if part == Part::MapValues {
            into.extend(entries.iter().flat_map(|(_, value)| value.to_le_bytes()));
        }
    }
    let keys = keys.unwrap_or_default();
    if part == Part::MapKeys {
        keys.iter().for_each(|key| push(key, into));
    }
    Ok((maps.len(), keys.len()))
}

fn is_text_map(dtype: &ValueType) -> bool {
    matches!(dtype, ValueType::Map { key, .. } if *key == TensorElementType::String)
}

/// The datatype of the elements of a sequence that has none.
fn element_of(value: &DynValue) -> Datatype {
    let ValueType::Sequence(element) = value.dtype() else {
        return Datatype::Fp32;
    };
    match &**element {
        ValueType::Tensor { ty, .. } => datatype_of(*ty).unwrap_or(Datatype::Fp32),
        ValueType::Sequence(_) | ValueType::Map { .. } | ValueType::Optional(_) => Datatype::Fp32,
    }
}

fn form(value: &DynValue) -> Result<(Datatype, Shape), RunFailure> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(RunFailure::model(format!("output is {}", value.dtype())));
    };
    let datatype = datatype_of(*ty)
        .ok_or_else(|| RunFailure::model(format!("output of type {ty} is not supported")))?;
    let shape = Shape::of_i64(shape)
        .ok_or_else(|| RunFailure::model(format!("output of shape {shape:?} is not supported")))?;
    Ok((datatype, shape))
}
