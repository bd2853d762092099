//! Tiny models for the cases, written as ONNX on the spot: one node, one input, one output.

use std::path::Path;

use millwright_package::Datatype;
use prost::Message;

/// `onnx.ModelProto`, as far as it is needed; the numbers are those of onnx.proto.
#[derive(Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset: Vec<Opset>,
}

#[derive(Message)]
struct Opset {
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "11")]
    input: Vec<Value>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<Value>,
}

#[derive(Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
}

#[derive(Message)]
struct Value {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Kind>,
}

#[derive(Message)]
struct Kind {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorKind>,
}

#[derive(Message)]
struct TensorKind {
    #[prost(int32, tag = "1")]
    element: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dims: Vec<Dim>,
}

/// Without a value, each request decides.
#[derive(Message)]
struct Dim {
    #[prost(string, tag = "2")]
    symbol: String,
}

/// Writes a package whose model applies `operator` to each element of `x`, a list of any length, into `y`.
pub(crate) fn write_package(directory: &Path, version: &str, operator: &str, datatype: Datatype) {
    let value = |name: &str| Value {
        name: name.to_owned(),
        kind: Some(Kind {
            tensor: Some(TensorKind {
                element: element(datatype),
                shape: Some(Shape {
                    dims: vec![Dim {
                        symbol: "length".to_owned(),
                    }],
                }),
            }),
        }),
    };
    let model = Model {
        ir_version: 8,
        graph: Some(Graph {
            node: vec![Node {
                input: vec!["x".to_owned()],
                output: vec!["y".to_owned()],
                op_type: operator.to_owned(),
            }],
            name: "tiny".to_owned(),
            input: vec![value("x")],
            output: vec![value("y")],
        }),
        opset: vec![Opset { version: 14 }],
    };
    let manifest = format!(
        "apiVersion: millwright/v1
kind: ModelPackage
metadata: {{name: tiny, version: {version}}}
spec:
  file: model.onnx
  inputs: [{{name: x, datatype: {datatype}, shape: [-1]}}]
  outputs: [{{name: y, datatype: {datatype}, shape: [-1]}}]
"
    );
    std::fs::write(directory.join("model.onnx"), model.encode_to_vec()).unwrap();
    std::fs::write(directory.join("model.yaml"), manifest).unwrap();
}

/// `onnx.TensorProto.DataType`.
fn element(datatype: Datatype) -> i32 {
    match datatype {
        Datatype::Fp32 => 1,
        Datatype::Uint8 => 2,
        Datatype::Int8 => 3,
        Datatype::Uint16 => 4,
        Datatype::Int16 => 5,
        Datatype::Int32 => 6,
        Datatype::Int64 => 7,
        Datatype::Bytes => 8,
        Datatype::Bool => 9,
        Datatype::Fp16 => 10,
        Datatype::Fp64 => 11,
        Datatype::Uint32 => 12,
        Datatype::Uint64 => 13,
        Datatype::Bf16 => 16,
    }
}
