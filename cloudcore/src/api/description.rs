//! The OpenAPI description of one route, and the document made of all of them.

use fleet_api::Problem;
use utoipa::ToSchema;
use utoipa::openapi::path::{
    Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, Ref, Schema, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Content, HttpMethod, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Paths, RefOr,
    Required, Response, ResponseBuilder,
};

use super::routes::{PREFIX, Route};

/// Name of the security scheme.
const TOKEN: &str = "token";

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// JSON.
    Json,
    /// Server-sent events of JSON.
    EventStream,
    /// protobuf.
    Protobuf,
    /// Any bytes.
    Bytes,
}

impl Media {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::EventStream => "text/event-stream",
            Self::Protobuf => "application/x-protobuf",
            Self::Bytes => "application/octet-stream",
        }
    }
}

/// What one route takes and answers.
pub(super) struct Description {
    tag: String,
    summary: String,
    query: Vec<(String, String)>,
    body: Option<(Media, RefOr<Schema>)>,
    answers: Vec<(u16, Response)>,
    schemas: Vec<(String, RefOr<Schema>)>,
    open: Access,
}

/// Whether a route asks for a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Token,
    Anybody,
}

impl Description {
    pub(super) fn new(tag: &str, summary: &str) -> Self {
        Self {
            tag: tag.to_owned(),
            summary: summary.to_owned(),
            query: Vec::new(),
            body: None,
            answers: Vec::new(),
            schemas: Vec::new(),
            open: Access::Token,
        }
    }

    /// It takes this query parameter.
    pub(super) fn query(mut self, name: &str, meaning: &str) -> Self {
        self.query.push((name.to_owned(), meaning.to_owned()));
        self
    }

    /// It asks for no token.
    pub(super) fn without_token(mut self) -> Self {
        self.open = Access::Anybody;
        self
    }

    /// It takes a `T` in JSON, whose schema is called `name`.
    pub(super) fn takes<T: ToSchema>(mut self, name: &str) -> Self {
        let schema = self.schema::<T>(name);
        self.body = Some((Media::Json, schema));
        self
    }

    /// It takes bytes.
    pub(super) fn takes_bytes(mut self, media: Media) -> Self {
        self.body = Some((media, bytes_schema()));
        self
    }

    /// It answers a `T`, whose schema is called `name`.
    pub(super) fn answers<T: ToSchema>(mut self, status: u16, name: &str, media: Media) -> Self {
        let content = Content::new(Some(self.schema::<T>(name)));
        self.answer(status, "done", Some((media, content)))
    }

    /// It answers bytes.
    pub(super) fn answers_bytes(self, status: u16, media: Media) -> Self {
        self.answer(
            status,
            "done",
            Some((media, Content::new(Some(bytes_schema())))),
        )
    }

    /// It answers without a body.
    pub(super) fn answers_nothing(self, status: u16, meaning: &str) -> Self {
        self.answer(status, meaning, None)
    }

    fn answer(mut self, status: u16, meaning: &str, body: Option<(Media, Content)>) -> Self {
        let at = self.answers.iter().position(|(other, _)| *other == status);
        let at = at.unwrap_or_else(|| {
            self.answers.push((status, Response::new(meaning)));
            self.answers.len() - 1
        });
        if let Some((media, content)) = body {
            let (_, response) = &mut self.answers[at];
            response
                .content
                .insert(media.name().to_owned(), content.into());
        }
        self
    }

    fn schema<T: ToSchema>(&mut self, name: &str) -> RefOr<Schema> {
        self.schemas.push((name.to_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        Ref::from_schema_name(name).into()
    }

    /// Whether its body is a file rather than a document.
    pub(super) fn takes_stream(&self) -> bool {
        matches!(self.body, Some((Media::Bytes, _)))
    }

    fn operation(self, id: String, path: &str) -> Operation {
        let mut operation = OperationBuilder::new()
            .tag(self.tag)
            .operation_id(Some(id))
            .summary(Some(self.summary));
        if path.contains("{name}") {
            let name = parameter("name", "name of the object", ParameterIn::Path);
            operation = operation.parameter(name);
        }
        for (name, meaning) in self.query {
            operation = operation.parameter(parameter(&name, &meaning, ParameterIn::Query));
        }
        if let Some((media, schema)) = self.body {
            let body = RequestBodyBuilder::new()
                .required(Some(Required::True))
                .content(media.name(), Content::new(Some(schema)));
            operation = operation.request_body(Some(body.build()));
        }
        for (status, response) in self.answers {
            operation = operation.response(status.to_string(), response);
        }
        let problem = Content::new(Some(Ref::from_schema_name("Problem")));
        let problem = ResponseBuilder::new()
            .description("why it was not done")
            .content("application/problem+json", problem);
        operation = operation.response("default", problem);
        match self.open {
            Access::Token => {
                let scopes: [&str; 0] = [];
                operation
                    .security(SecurityRequirement::new(TOKEN, scopes))
                    .build()
            }
            Access::Anybody => operation.build(),
        }
    }
}

/// For example `get_nodes_name_windows`.
fn operation_id(method: &HttpMethod, path: &str) -> String {
    let method = match method {
        HttpMethod::Get => "get",
        HttpMethod::Head => "head",
        HttpMethod::Post => "post",
        HttpMethod::Put => "put",
        HttpMethod::Delete => "delete",
        HttpMethod::Patch => "patch",
        HttpMethod::Options => "options",
        HttpMethod::Trace => "trace",
    };
    let path = path.strip_prefix(PREFIX).unwrap_or(path);
    format!(
        "{method}{}",
        path.replace(['/', '.'], "_").replace(['{', '}'], "")
    )
}

fn parameter(name: &str, meaning: &str, place: ParameterIn) -> Parameter {
    let required = match place {
        ParameterIn::Path => Required::True,
        _ => Required::False,
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(meaning))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

fn bytes_schema() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).into()
}

/// The OpenAPI document of these routes.
pub(super) fn document(routes: Vec<Route>) -> OpenApi {
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let mut components = ComponentsBuilder::new()
        .security_scheme(TOKEN, scheme)
        .schema_from::<Problem>();
    let mut paths = Paths::new();
    for route in routes {
        let (path, mut description) = (route.path, route.description);
        components = components.schemas_from_iter(std::mem::take(&mut description.schemas));
        let id = operation_id(&route.method, &path);
        let operation = description.operation(id, &path);
        paths.add_path_operation(path, vec![route.method], operation);
    }
    let license = LicenseBuilder::new()
        .name("Apache-2.0")
        .identifier(Some("Apache-2.0"));
    let info = InfoBuilder::new()
        .title("Millwright")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("The public API of cloudcore."))
        .license(Some(license.build()));
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components.build()))
        .build()
}
