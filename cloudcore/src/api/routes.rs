//! Every route of the API: its handler and its description, in one table, so that the document
//! cannot fall behind the router.

use std::sync::Arc;

use axum::routing::{MethodFilter, MethodRouter, on};
use fleet_api::{
    AuditList, EventList, HardExampleFetch, HardExampleList, HardExamplePiece, JoinToken, Kind,
    List, Model, ModelDeployment, ModelVersion, Node, Pipeline, Resource, Rollout, Site,
    SummaryReport, WatchEvent, WindowList,
};
use utoipa::openapi::HttpMethod;

use super::description::{Description, Media};
use super::kinds::{Rules, Verb};
use super::{ahead, blobs, enrollment, hard_examples, nodes, objects, telemetry};
use crate::app::App;

/// Every address begins with this.
pub(crate) const PREFIX: &str = "/api/v1";

/// One method on one address.
pub(super) struct Route {
    pub(super) method: HttpMethod,
    /// With parameters as `{name}`, as both axum and OpenAPI write them.
    pub(super) path: String,
    pub(super) handler: MethodRouter<Arc<App>>,
    pub(super) description: Description,
}

impl Route {
    fn new<H, T>(
        method: HttpMethod,
        path: impl Into<String>,
        handler: H,
        description: Description,
    ) -> Self
    where
        H: axum::handler::Handler<T, Arc<App>>,
        T: 'static,
    {
        let filter = match method {
            HttpMethod::Get => MethodFilter::GET,
            HttpMethod::Head => MethodFilter::HEAD,
            HttpMethod::Post => MethodFilter::POST,
            HttpMethod::Put => MethodFilter::PUT,
            HttpMethod::Delete => MethodFilter::DELETE,
            HttpMethod::Patch => MethodFilter::PATCH,
            HttpMethod::Options => MethodFilter::OPTIONS,
            HttpMethod::Trace => MethodFilter::TRACE,
        };
        Self {
            method,
            path: format!("{PREFIX}{}", path.into()),
            handler: on(filter, handler),
            description,
        }
    }
}

/// All of them.
pub(super) fn all() -> Vec<Route> {
    let mut routes = Vec::new();
    of_kind::<Site>(&mut routes);
    of_kind::<Node>(&mut routes);
    of_kind::<JoinToken>(&mut routes);
    of_kind::<Model>(&mut routes);
    of_kind::<ModelVersion>(&mut routes);
    of_kind::<ModelDeployment>(&mut routes);
    of_kind::<Rollout>(&mut routes);
    of_kind::<Pipeline>(&mut routes);
    of_nodes(&mut routes);
    of_hard_examples(&mut routes);
    of_blobs(&mut routes);
    of_telemetry(&mut routes);
    let document = Description::new("document", "This document")
        .without_token()
        .answers_bytes(200, Media::Json);
    let path = "/openapi.json";
    routes.push(Route::new(HttpMethod::Get, path, super::document, document));
    routes
}

const DRY_RUN: (&str, &str) = ("dryRun", "true: check everything, change nothing");

/// List, read and what the kind allows beside.
fn of_kind<K: Rules>(routes: &mut Vec<Route>) {
    let (kind, plural) = (K::KIND, K::PLURAL);
    let (collection, one) = (format!("/{plural}"), format!("/{plural}/{{name}}"));
    let about = |what: &str| Description::new(plural, what);
    // As other schemas refer to it.
    let schema = format!("Resource_{kind}");
    let list = about(&format!("List or watch objects of kind {kind}"))
        .query("labelSelector", "as in Kubernetes: a=b,c!=d,e in (f,g),!h")
        .query("fieldSelector", &format!("on {}", K::FIELDS.join(", ")))
        .query("limit", "most objects in the answer, at most 500")
        .query("continue", "metadata.continue of the page before")
        .query(
            "watch",
            "1: answer with server-sent events, one WatchEvent each",
        )
        .query(
            "resourceVersion",
            "watch: begin after this version; Last-Event-ID wins",
        )
        .answers::<List<K>>(200, &format!("{kind}List"), Media::Json)
        .answers::<WatchEvent<K>>(200, &format!("{kind}WatchEvent"), Media::EventStream);
    routes.push(Route::new(
        HttpMethod::Get,
        &collection,
        objects::list::<K>,
        list,
    ));
    let read = about(&format!("Read one {kind}")).answers::<Resource<K>>(200, &schema, Media::Json);
    routes.push(Route::new(HttpMethod::Get, &one, objects::read::<K>, read));
    for verb in K::VERBS {
        let route = match verb {
            Verb::Create => {
                let create = about(&format!("Create a {kind}"))
                    .query(DRY_RUN.0, DRY_RUN.1)
                    .takes::<Resource<K>>(&schema)
                    .answers::<Resource<K>>(201, &schema, Media::Json);
                Route::new(HttpMethod::Post, &collection, objects::create::<K>, create)
            }
            Verb::Update => {
                let update = about(&format!("Update a {kind}"))
                    .query(DRY_RUN.0, DRY_RUN.1)
                    .takes::<Resource<K>>(&schema)
                    .answers::<Resource<K>>(200, &schema, Media::Json);
                Route::new(HttpMethod::Put, &one, objects::update::<K>, update)
            }
            Verb::Delete => {
                let delete = about(&format!("Delete a {kind}"))
                    .query(DRY_RUN.0, DRY_RUN.1)
                    .answers::<Resource<K>>(200, &schema, Media::Json);
                Route::new(HttpMethod::Delete, &one, objects::delete::<K>, delete)
            }
        };
        routes.push(route);
    }
}

fn of_nodes(routes: &mut Vec<Route>) {
    let post = HttpMethod::Post;
    let on_node = |what: &str| {
        Description::new(Node::PLURAL, what)
            .query(DRY_RUN.0, DRY_RUN.1)
            .answers::<Resource<Node>>(200, "Resource_Node", Media::Json)
    };
    let revoke = on_node("Refuse the certificate and keys of a node from now on");
    routes.push(Route::new(
        post.clone(),
        "/nodes/{name}/revoke",
        nodes::revoke,
        revoke,
    ));
    let end = on_node("Take a node out of service; its name is free again");
    let path = "/nodes/{name}/decommission";
    routes.push(Route::new(post.clone(), path, nodes::decommission, end));
    let adopt = on_node(
        "Of a node ahead of this cloud: make what it runs its desired state, until a deployment says something new",
    );
    let path = "/nodes/{name}/adopt";
    routes.push(Route::new(post.clone(), path, ahead::adopt, adopt));
    let reassert = on_node("Of a node ahead of this cloud: make it run what the deployments say");
    let path = "/nodes/{name}/reassert";
    routes.push(Route::new(post.clone(), path, ahead::reassert, reassert));
    let token = Description::new(JoinToken::PLURAL, "End a join token early")
        .query(DRY_RUN.0, DRY_RUN.1)
        .answers::<Resource<JoinToken>>(200, "Resource_JoinToken", Media::Json);
    let path = "/jointokens/{name}/revoke";
    routes.push(Route::new(post.clone(), path, nodes::revoke_token, token));
    let enroll = Description::new(
        "enrollment",
        "Let a device in (protobuf EnrollRequest and EnrollResponse)",
    )
    .without_token()
    .takes_bytes(Media::Protobuf)
    .answers_bytes(200, Media::Protobuf);
    routes.push(Route::new(
        post.clone(),
        "/enroll",
        enrollment::enroll,
        enroll,
    ));
    let renew = Description::new(
        "enrollment",
        "Give a node a new certificate for a proof by its identity key (protobuf RenewRequest and RenewResponse)",
    )
    .without_token()
    .takes_bytes(Media::Protobuf)
    .answers_bytes(200, Media::Protobuf);
    routes.push(Route::new(post, "/renew", enrollment::renew, renew));
}

fn of_hard_examples(routes: &mut Vec<Route>) {
    let about = |what: &str| Description::new("hardexamples", what);
    let list = about("Ask a connected node for the inputs its models found hard; audited")
        .query("pipeline", "of this pipeline only")
        .query("continue", "from the page before")
        .answers::<HardExampleList>(200, "HardExampleList", Media::Json);
    let path = "/nodes/{name}/hard-examples";
    let handler = hard_examples::list;
    routes.push(Route::new(HttpMethod::Get, path, handler, list));
    let fetch = about(
        "Fetch files of hard examples from a connected node; audited. Answers lines of JSON, one HardExamplePiece each; \
         the raw bytes of a chunk follow its line",
    )
    .takes::<HardExampleFetch>("HardExampleFetch")
    .answers::<HardExamplePiece>(200, "HardExamplePiece", Media::Bytes);
    let path = "/nodes/{name}/hard-examples/fetch";
    let handler = hard_examples::fetch;
    routes.push(Route::new(HttpMethod::Post, path, handler, fetch));
}

fn of_blobs(routes: &mut Vec<Route>) {
    let path = "/blobs/{name}";
    let about = |what: &str| Description::new("blobs", what);
    let put = about("Upload a file under its digest (sha256:<hex>)")
        .takes_bytes(Media::Bytes)
        .answers_nothing(201, "stored")
        .answers_nothing(200, "was here already");
    routes.push(Route::new(HttpMethod::Put, path, blobs::put, put));
    let head = about("Whether a file is here").answers_nothing(200, "it is");
    routes.push(Route::new(HttpMethod::Head, path, blobs::head, head));
    let get = about("Read a file, whole or one range").answers_bytes(200, Media::Bytes);
    routes.push(Route::new(HttpMethod::Get, path, blobs::get, get));
}

fn of_telemetry(routes: &mut Vec<Route>) {
    let get = HttpMethod::Get;
    let summaries = Description::new(
        "telemetry",
        "All windows asked for, merged per node and model version",
    )
    .query("node", "of this node only")
    .query("model", "of this model only")
    .query("since", "a time (RFC 3339), or how long ago (90m, 2h, 1d)")
    .answers::<SummaryReport>(200, "SummaryReport", Media::Json);
    routes.push(Route::new(
        get.clone(),
        "/summaries",
        telemetry::summaries,
        summaries,
    ));
    let windows = Description::new("telemetry", "The stored windows of a node, one by one")
        .query("limit", "most windows in the answer, at most 1000")
        .query("continue", "from the page before")
        .answers::<WindowList>(200, "WindowList", Media::Json);
    routes.push(Route::new(
        get.clone(),
        "/nodes/{name}/windows",
        telemetry::windows,
        windows,
    ));
    let events = Description::new("telemetry", "What happened; without `after`, the newest")
        .query("after", "events after this id, oldest first")
        .query("limit", "most events in the answer, at most 1000")
        .query("regarding", "<Kind>/<name>")
        .answers::<EventList>(200, "EventList", Media::Json);
    routes.push(Route::new(
        get.clone(),
        "/events",
        telemetry::events,
        events,
    ));
    let audit = Description::new("audit", "Who did what, newest first")
        .query("before", "rows before this id")
        .query("limit", "most rows in the answer, at most 1000")
        .answers::<AuditList>(200, "AuditList", Media::Json);
    routes.push(Route::new(get, "/audit", telemetry::audit, audit));
}
