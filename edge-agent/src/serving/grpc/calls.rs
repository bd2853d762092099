//! The calls of the service.

use std::pin::Pin;

use axum::extract::ConnectInfo;
use futures_util::{Stream, StreamExt, TryStreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::convert;
use super::wire;
use super::wire::grpc_inference_service_server::GrpcInferenceService;
use crate::serving::budget::Share;
use crate::serving::connections::Peer;
use crate::serving::describe;
use crate::serving::endpoint::{Endpoint, Target};
use crate::serving::fault::Fault;
use crate::serving::models::Readiness;
use crate::serving::repository::{Repository, Wanted};

/// Carries out the calls of one client after the other.
pub(super) struct Calls {
    endpoint: Endpoint,
}

impl Calls {
    pub(super) const fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    fn repository<T>(&self, request: &Request<T>) -> Result<&Repository, Fault> {
        let peer = request.extensions().get::<ConnectInfo<Peer>>();
        let headers = request.metadata().clone().into_headers();
        self.endpoint
            .repository_for(peer.map(|peer| peer.0), &headers)
    }
}

/// Answers one request.
async fn infer(
    endpoint: &Endpoint,
    request: wire::ModelInferRequest,
) -> Result<wire::ModelInferResponse, Fault> {
    let target = Target::parse(&request.model_name, &request.model_version)?;
    // Unknown models are said to be unknown before their tensors are judged.
    drop(endpoint.find(&target)?);
    let id = request.id.clone();
    let question = convert::question(request).map_err(|error| endpoint.refuse(&target, error))?;
    let output = endpoint.answer(&target, &question).await?;
    Ok(convert::response(output, id))
}

/// The stream of answers to a stream of requests.
type Answers = Pin<Box<dyn Stream<Item = Result<wire::ModelStreamInferResponse, Status>> + Send>>;

#[tonic::async_trait]
impl GrpcInferenceService for Calls {
    async fn server_live(
        &self,
        _request: Request<wire::ServerLiveRequest>,
    ) -> Result<Response<wire::ServerLiveResponse>, Status> {
        Ok(Response::new(wire::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _request: Request<wire::ServerReadyRequest>,
    ) -> Result<Response<wire::ServerReadyResponse>, Status> {
        let ready = self.endpoint.models.readiness() == Readiness::Ready;
        Ok(Response::new(wire::ServerReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _request: Request<wire::ServerMetadataRequest>,
    ) -> Result<Response<wire::ServerMetadataResponse>, Status> {
        Ok(Response::new(describe::server()))
    }

    async fn model_ready(
        &self,
        request: Request<wire::ModelReadyRequest>,
    ) -> Result<Response<wire::ModelReadyResponse>, Status> {
        let asked = request.into_inner();
        let target = Target::parse(&asked.name, &asked.version);
        let ready = target.is_ok_and(|target| self.endpoint.find(&target).is_ok());
        Ok(Response::new(wire::ModelReadyResponse { ready }))
    }

    async fn model_metadata(
        &self,
        request: Request<wire::ModelMetadataRequest>,
    ) -> Result<Response<wire::ModelMetadataResponse>, Status> {
        let asked = request.into_inner();
        let worker = self
            .endpoint
            .find(&Target::parse(&asked.name, &asked.version)?)?;
        Ok(Response::new(describe::metadata(&worker)))
    }

    async fn model_infer(
        &self,
        request: Request<wire::ModelInferRequest>,
    ) -> Result<Response<wire::ModelInferResponse>, Status> {
        Ok(Response::new(
            infer(&self.endpoint, request.into_inner()).await?,
        ))
    }

    type ModelStreamInferStream = Answers;

    /// One answer after the other, in the order of the requests: what a sequence needs.
    async fn model_stream_infer(
        &self,
        request: Request<Streaming<wire::ModelInferRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let share = request
            .extensions()
            .get::<Share>()
            .cloned()
            .unwrap_or_default();
        let endpoint = self.endpoint.clone();
        let answers = request.into_inner().and_then(move |request| {
            let (endpoint, share) = (endpoint.clone(), share.clone());
            async move {
                let (id, last) = (request.id.clone(), convert::wants_final_mark(&request));
                let answer = infer(&endpoint, request).await;
                share.settle();
                Ok(convert::streamed(answer, id, last))
            }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn model_config(
        &self,
        request: Request<wire::ModelConfigRequest>,
    ) -> Result<Response<wire::ModelConfigResponse>, Status> {
        let asked = request.into_inner();
        let worker = self
            .endpoint
            .find(&Target::parse(&asked.name, &asked.version)?)?;
        let config = Some(describe::config(&worker));
        Ok(Response::new(wire::ModelConfigResponse { config }))
    }

    async fn model_statistics(
        &self,
        request: Request<wire::ModelStatisticsRequest>,
    ) -> Result<Response<wire::ModelStatisticsResponse>, Status> {
        let asked = request.into_inner();
        let target = match asked.name.as_str() {
            "" => None,
            name => Some(Target::parse(name, &asked.version)?),
        };
        let statistics = describe::statistics(&self.endpoint, target.as_ref())?;
        Ok(Response::new(statistics))
    }

    async fn repository_index(
        &self,
        request: Request<wire::RepositoryIndexRequest>,
    ) -> Result<Response<wire::RepositoryIndexResponse>, Status> {
        let mut models = self.repository(&request)?.index(&self.endpoint.models);
        if request.into_inner().ready {
            models.retain(|model| model.state == "READY");
        }
        Ok(Response::new(wire::RepositoryIndexResponse { models }))
    }

    async fn repository_model_load(
        &self,
        request: Request<wire::RepositoryModelLoadRequest>,
    ) -> Result<Response<wire::RepositoryModelLoadResponse>, Status> {
        let repository = self.repository(&request)?;
        let asked = request.get_ref();
        Repository::check_parameters(asked.parameters.keys().map(String::as_str))?;
        repository.order(&asked.model_name, Wanted::Load).await?;
        Ok(Response::new(wire::RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<wire::RepositoryModelUnloadRequest>,
    ) -> Result<Response<wire::RepositoryModelUnloadResponse>, Status> {
        let repository = self.repository(&request)?;
        let asked = request.get_ref();
        repository.order(&asked.model_name, Wanted::Unload).await?;
        Ok(Response::new(wire::RepositoryModelUnloadResponse {}))
    }
}
