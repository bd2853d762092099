//! Whether a file can be an ONNX model: walks the top level of the protobuf without reading the
//! graph, which finds other formats and truncated copies at the cost of a few seeks.

use std::fs::File;
use std::io::{self, BufReader, Read as _};

use thiserror::Error;

/// Most top-level fields to look at: a model has about ten, plus one per metadata property and
/// function.
const FIELDS_MAX: usize = 100_000;

/// Highest field number of `ModelProto` (onnx.proto: `functions` is 25); leaves room to grow.
const FIELD_NUMBER_MAX: u64 = 100;

const IR_VERSION: u64 = 1;
const GRAPH: u64 = 7;

/// Why a file is not an ONNX model.
#[derive(Debug, Error)]
pub(crate) enum OnnxError {
    /// It cannot be read.
    #[error("cannot be read")]
    Read(#[from] io::Error),
    /// Something else.
    #[error("is not an ONNX model: {0}; export it as ONNX")]
    NotOnnx(&'static str),
    /// A part of one.
    #[error("is cut off: byte {needed} is announced, the file ends at {length}; copy it again")]
    Truncated { needed: u64, length: u64 },
}

/// Checks the top level of `file`.
pub(crate) fn check(file: File) -> Result<(), OnnxError> {
    let length = file.metadata()?.len();
    let mut walk = Walk {
        file: BufReader::new(file),
        at: 0,
        length,
    };
    let (mut has_version, mut has_graph) = (false, false);
    for _ in 0..FIELDS_MAX {
        if walk.at == length {
            return match (has_version, has_graph) {
                (true, true) => Ok(()),
                (false, _) => Err(OnnxError::NotOnnx("it has no IR version")),
                (true, false) => Err(OnnxError::NotOnnx("it has no graph")),
            };
        }
        match walk.field()? {
            (IR_VERSION, WireType::Varint) => has_version = true,
            (GRAPH, WireType::Length) => has_graph = true,
            (IR_VERSION | GRAPH, _) => {
                return Err(OnnxError::NotOnnx("its fields have other types"));
            }
            _ => {}
        }
    }
    Err(OnnxError::NotOnnx("it has too many top-level fields"))
}

#[derive(Clone, Copy)]
enum WireType {
    Varint,
    Length,
    Fixed,
}

struct Walk {
    file: BufReader<File>,
    at: u64,
    length: u64,
}

impl Walk {
    /// Passes one field; returns its number and wire type.
    fn field(&mut self) -> Result<(u64, WireType), OnnxError> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if !(1..=FIELD_NUMBER_MAX).contains(&number) {
            return Err(OnnxError::NotOnnx(
                "its first bytes are no fields of a model",
            ));
        }
        let kind = match tag & 7 {
            0 => {
                self.varint()?;
                return Ok((number, WireType::Varint));
            }
            1 => (8, WireType::Fixed),
            2 => (self.varint()?, WireType::Length),
            5 => (4, WireType::Fixed),
            _ => return Err(OnnxError::NotOnnx("it is no protobuf")),
        };
        let (skip, wire_type) = kind;
        self.skip(skip)?;
        Ok((number, wire_type))
    }

    fn skip(&mut self, bytes: u64) -> Result<(), OnnxError> {
        let needed = self.at.saturating_add(bytes);
        if needed > self.length {
            return Err(OnnxError::Truncated {
                needed,
                length: self.length,
            });
        }
        let step = i64::try_from(bytes).map_err(|_| OnnxError::NotOnnx("a field is too long"))?;
        self.file.seek_relative(step)?;
        self.at = needed;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, OnnxError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            if self.at == self.length {
                return Err(OnnxError::Truncated {
                    needed: self.at + 1,
                    length: self.length,
                });
            }
            let mut byte = [0];
            self.file.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(OnnxError::NotOnnx("it is no protobuf"))
    }
}
