//! What is told about a model: metadata, configuration, statistics, in the messages that both protocols send.

use millwright_package::{Datatype, TensorSpec};
use serde::Serializer;

use super::endpoint::{Endpoint, Target};
use super::fault::Fault;
use super::grpc::wire;
use super::statistics::Total;
use crate::worker::{SEQUENCE_IDLE_LIMIT, Worker};

/// As Triton calls models of ONNX Runtime.
const PLATFORM: &str = "onnxruntime_onnx";

/// What this agent calls itself.
pub(super) fn server() -> wire::ServerMetadataResponse {
    let extensions = [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "model_repository",
        "sequence",
        "statistics",
    ];
    wire::ServerMetadataResponse {
        name: "millwright".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: extensions.map(str::to_owned).to_vec(),
    }
}

pub(super) fn metadata(worker: &Worker) -> wire::ModelMetadataResponse {
    let manifest = &worker.spec().manifest;
    let tensors = |specs: &[TensorSpec]| {
        let tensor = |spec: &TensorSpec| wire::TensorMetadata {
            name: spec.name.clone(),
            datatype: spec.datatype.to_string(),
            shape: spec.dims(),
        };
        specs.iter().map(tensor).collect()
    };
    wire::ModelMetadataResponse {
        name: manifest.model.to_string(),
        versions: vec![manifest.version.to_string()],
        platform: PLATFORM.to_owned(),
        inputs: tensors(&manifest.inputs),
        outputs: tensors(&manifest.outputs),
    }
}

/// Shapes are complete here: no hidden first dimension, whether or not requests are joined along it.
pub(super) fn config(worker: &Worker) -> wire::ModelConfig {
    let manifest = &worker.spec().manifest;
    let input = |spec: &TensorSpec| wire::ModelInput {
        name: spec.name.clone(),
        data_type: data_type(spec.datatype).into(),
        dims: spec.dims(),
        optional: spec.optional,
    };
    let output = |spec: &TensorSpec| wire::ModelOutput {
        name: spec.name.clone(),
        data_type: data_type(spec.datatype).into(),
        dims: spec.dims(),
    };
    let batching = manifest.batching.as_ref();
    let state = manifest.state.iter().map(|state| wire::State {
        input_name: state.input.clone(),
        output_name: state.output.clone(),
        data_type: data_type(state.datatype).into(),
        dims: state.shape.iter().map(|dim| i64::from(dim.get())).collect(),
    });
    let state: Vec<wire::State> = state.collect();
    wire::ModelConfig {
        name: manifest.model.to_string(),
        platform: PLATFORM.to_owned(),
        max_batch_size: 0,
        input: manifest.inputs.iter().map(input).collect(),
        output: manifest.outputs.iter().map(output).collect(),
        default_model_filename: manifest.file.to_string(),
        dynamic_batching: batching.map(|batching| wire::ModelDynamicBatching {
            max_queue_delay_microseconds: batching.max_delay_us.into(),
        }),
        sequence_batching: (!state.is_empty()).then(|| wire::ModelSequenceBatching {
            max_sequence_idle_microseconds: u64::try_from(SEQUENCE_IDLE_LIMIT.as_micros())
                .unwrap_or(u64::MAX),
            state,
        }),
        backend: "onnxruntime".to_owned(),
    }
}

/// Of one model, or of every one that is ready.
pub(super) fn statistics(
    endpoint: &Endpoint,
    target: Option<&Target>,
) -> Result<wire::ModelStatisticsResponse, Fault> {
    let workers = match target {
        Some(target) => vec![endpoint.find(target)?],
        None => endpoint.models.workers(),
    };
    let model_stats = workers.iter().map(|worker| of_worker(endpoint, worker));
    Ok(wire::ModelStatisticsResponse {
        model_stats: model_stats.collect(),
    })
}

fn of_worker(endpoint: &Endpoint, worker: &Worker) -> wire::ModelStatistics {
    let record = endpoint.models.statistics().of(worker.model());
    let total = |total: Total| {
        Some(wire::StatisticDuration {
            count: total.count,
            ns: u64::try_from(total.time.as_nanos()).unwrap_or(u64::MAX),
        })
    };
    wire::ModelStatistics {
        name: worker.model().model.to_string(),
        version: worker.model().version.to_string(),
        last_inference: record.last_ms,
        inference_count: record.success.count,
        execution_count: record.success.count.saturating_sub(worker.runs_saved()),
        inference_stats: Some(wire::InferStatistics {
            success: total(record.success),
            fail: total(record.fail),
            queue: total(record.queue),
            compute_input: total(Total::default()),
            compute_infer: total(record.infer),
            compute_output: total(Total::default()),
        }),
    }
}

const fn data_type(datatype: Datatype) -> wire::DataType {
    match datatype {
        Datatype::Bool => wire::DataType::TypeBool,
        Datatype::Uint8 => wire::DataType::TypeUint8,
        Datatype::Uint16 => wire::DataType::TypeUint16,
        Datatype::Uint32 => wire::DataType::TypeUint32,
        Datatype::Uint64 => wire::DataType::TypeUint64,
        Datatype::Int8 => wire::DataType::TypeInt8,
        Datatype::Int16 => wire::DataType::TypeInt16,
        Datatype::Int32 => wire::DataType::TypeInt32,
        Datatype::Int64 => wire::DataType::TypeInt64,
        Datatype::Fp16 => wire::DataType::TypeFp16,
        Datatype::Bf16 => wire::DataType::TypeBf16,
        Datatype::Fp32 => wire::DataType::TypeFp32,
        Datatype::Fp64 => wire::DataType::TypeFp64,
        Datatype::Bytes => wire::DataType::TypeString,
    }
}

/// A datatype by its name, as Triton writes it in JSON.
pub(super) fn data_type_name<S: Serializer>(
    number: &i32,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let known = wire::DataType::try_from(*number).unwrap_or(wire::DataType::TypeInvalid);
    serializer.serialize_str(known.as_str_name())
}
