//! The Open Inference Protocol over gRPC, as KServe and Triton have it.
//!
//! The messages are in `proto/inference.proto`; what they generate ([`wire`]) stays here and in what is told about models.
//! Tensors are slices of the received message. A call that its client cancels, or whose deadline passes, is dropped: what
//! waits in a queue for it is not computed.

mod calls;
mod convert;
mod transport;

use axum::Router;
use axum::middleware::from_fn_with_state;
use wire::grpc_inference_service_server::GrpcInferenceServiceServer;

use super::budget::BODY_BYTES_MAX;
use super::endpoint::Endpoint;
use calls::Calls;

/// The generated messages and the service they are for.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::unwrap_used,
    reason = "generated"
)]
pub(super) mod wire {
    tonic::include_proto!("inference");

    pub(in crate::serving) use model_metadata_response::TensorMetadata;
    pub(in crate::serving) use model_sequence_batching::State;
    pub(in crate::serving) use repository_index_response::ModelIndex;
}

/// Names, shapes and parameters around the tensors of a message.
const MESSAGE_OVERHEAD: usize = 64 * 1024;

/// The routes of the service.
pub(super) fn router(endpoint: &Endpoint) -> Router {
    let service = GrpcInferenceServiceServer::new(Calls::new(endpoint.clone()))
        .max_decoding_message_size(BODY_BYTES_MAX + MESSAGE_OVERHEAD)
        .max_encoding_message_size(usize::MAX);
    let pay = from_fn_with_state(endpoint.clone(), transport::pay_and_limit);
    Router::new()
        .route_service("/inference.GRPCInferenceService/{method}", service)
        .layer(pay)
}
