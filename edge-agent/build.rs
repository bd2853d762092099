//! Compiles the service definition of the Open Inference Protocol with protox, so that no `protoc` is needed.

const SERIALIZE: &str = "#[derive(serde::Serialize)]";
const DATA_TYPE: &str = "#[serde(serialize_with = \"crate::serving::describe::data_type_name\")]";
const WHEN_THERE: &str = "#[serde(skip_serializing_if = \"Option::is_none\")]";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/inference.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .bytes(".")
        .btree_map(".")
        // What HTTP tells in JSON.
        .type_attribute("ServerMetadataResponse", SERIALIZE)
        .type_attribute("ModelMetadataResponse", SERIALIZE)
        .type_attribute("ModelMetadataResponse.TensorMetadata", SERIALIZE)
        .type_attribute("ModelInput", SERIALIZE)
        .type_attribute("ModelOutput", SERIALIZE)
        .type_attribute("ModelDynamicBatching", SERIALIZE)
        .type_attribute("ModelSequenceBatching", SERIALIZE)
        .type_attribute("ModelSequenceBatching.State", SERIALIZE)
        .type_attribute("ModelConfig", SERIALIZE)
        .type_attribute("StatisticDuration", SERIALIZE)
        .type_attribute("InferStatistics", SERIALIZE)
        .type_attribute("ModelStatistics", SERIALIZE)
        .type_attribute("ModelStatisticsResponse", SERIALIZE)
        .type_attribute("RepositoryIndexResponse.ModelIndex", SERIALIZE)
        .field_attribute("data_type", DATA_TYPE)
        .field_attribute("ModelConfig.dynamic_batching", WHEN_THERE)
        .field_attribute("ModelConfig.sequence_batching", WHEN_THERE)
        .compile_fds(descriptors)?;
    Ok(())
}
