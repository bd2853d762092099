//! The public API over HTTPS.
//!
//! One [`Client`] speaks to one cloudcore, which is known by the pin of its root whatever address it
//! is dialled at. Answers become [`fleet_api`] types or a [`ClientError`] that says what to do.

mod blobs;
mod error;
mod hard_examples;
mod telemetry;

#[cfg(test)]
pub(crate) mod tests;

use std::net::IpAddr;
use std::time::Duration;

use fleet_api::{Kind, List, Resource};
use millwright_identity::RootPin;
use reqwest::{Method, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::blobs::Upload;
pub(crate) use self::error::ClientError;
pub(crate) use self::hard_examples::Arrival;
pub(crate) use self::telemetry::{EventFilter, SummaryFilter};
use crate::context::{Access, ApiToken};

/// Connecting takes two round trips; more than this on a bad uplink is as good as down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest silence of the server. It hashes an uploaded blob before it answers, at some 200 MB/s.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Objects per page of a list: about 1 MB of nodes.
const PAGE_ITEMS: usize = 500;

/// Whether a write is to be done or only checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is done.
    Do,
    /// cloudcore checks it and stores nothing.
    DryRun,
}

/// Which objects of a kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// As in `-l`.
    pub(crate) labels: Option<String>,
    /// As in `--field-selector`.
    pub(crate) fields: Option<String>,
}

/// A connection to one cloudcore.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: ApiToken,
}

impl Client {
    /// Prepares to speak to the cloudcore of `access`; connects with the first request.
    ///
    /// # Errors
    /// When the address or the pin cannot be meant.
    pub(crate) fn new(access: &Access) -> Result<Self, ClientError> {
        let address = |problem: String| ClientError::Address {
            url: access.cloud.clone(),
            problem,
        };
        let base: Url = access
            .cloud
            .parse()
            .map_err(|error| address(format!("{error}")))?;
        if base.scheme() != "https" || !matches!(base.path(), "" | "/") {
            return Err(address("it must be https://HOST:PORT".to_owned()));
        }
        let pin: RootPin = access
            .ca_pin
            .parse()
            .map_err(|error| ClientError::Pin(format!("{error}")))?;
        let http = http(pin, &base).map_err(|error| ClientError::transport(&base, error))?;
        Ok(Self {
            http,
            base,
            token: access.token.clone(),
        })
    }

    /// The object of kind `K` called `name`.
    pub(crate) async fn get<K: Kind>(&self, name: &str) -> Result<Resource<K>, ClientError> {
        self.read(self.url(&[K::PLURAL, name])).await
    }

    /// The object of kind `K` called `name`, if there is one.
    pub(crate) async fn find<K: Kind>(
        &self,
        name: &str,
    ) -> Result<Option<Resource<K>>, ClientError> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of kind `K` that `filter` selects, ordered by name.
    pub(crate) async fn list<K: Kind>(
        &self,
        filter: &Filter,
    ) -> Result<Vec<Resource<K>>, ClientError> {
        let mut items = Vec::new();
        let mut next = None;
        loop {
            let mut url = self.url(&[K::PLURAL]);
            append(&mut url, "limit", Some(&PAGE_ITEMS.to_string()));
            append(&mut url, "labelSelector", filter.labels.as_deref());
            append(&mut url, "fieldSelector", filter.fields.as_deref());
            append(&mut url, "continue", next.as_deref());
            let page: List<K> = self.read(url).await?;
            items.extend(page.items);
            next = page.metadata.continue_token;
            if next.is_none() {
                return Ok(items);
            }
        }
    }

    /// Stores a new object and returns it as stored.
    pub(crate) async fn create<K: Kind>(
        &self,
        object: &Resource<K>,
        mode: Mode,
    ) -> Result<Resource<K>, ClientError> {
        self.write(Method::POST, self.url(&[K::PLURAL]), object, mode)
            .await
    }

    /// Replaces an object and returns it as stored.
    pub(crate) async fn update<K: Kind>(
        &self,
        object: &Resource<K>,
        mode: Mode,
    ) -> Result<Resource<K>, ClientError> {
        let url = self.url(&[K::PLURAL, &object.metadata.name]);
        self.write(Method::PUT, url, object, mode).await
    }

    /// Deletes an object.
    pub(crate) async fn delete<K: Kind>(&self, name: &str, mode: Mode) -> Result<(), ClientError> {
        let url = with_mode(self.url(&[K::PLURAL, name]), mode);
        self.send(self.request(Method::DELETE, url)).await.map(drop)
    }

    /// Does something to an object that is not a change of its document, for example `revoke`.
    pub(crate) async fn act<K: Kind>(
        &self,
        name: &str,
        action: &str,
        mode: Mode,
    ) -> Result<(), ClientError> {
        let url = with_mode(self.url(&[K::PLURAL, name, action]), mode);
        self.send(self.request(Method::POST, url)).await.map(drop)
    }

    /// The answer to a GET of any path of the API, as it came.
    pub(crate) async fn raw(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        let url = self.base.join(path).ok().filter(|url| {
            // The token must not go to anybody else.
            url.origin() == self.base.origin() && path.starts_with('/')
        });
        let url = url.ok_or_else(|| ClientError::Address {
            url: path.to_owned(),
            problem: "--raw wants a path such as /api/v1/audit".to_owned(),
        })?;
        let response = self.send(self.request(Method::GET, url)).await?;
        let body = response.bytes().await;
        let body = body.map_err(|error| ClientError::transport(&self.base, error))?;
        Ok(body.to_vec())
    }

    /// `/api/v1/` and `segments`, each encoded so that no name can leave its place.
    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(["api", "v1"]).extend(segments);
        }
        url
    }

    fn request(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        self.http
            .request(method, url)
            .bearer_auth(self.token.expose())
    }

    async fn read<T: DeserializeOwned>(&self, url: Url) -> Result<T, ClientError> {
        let response = self.send(self.request(Method::GET, url)).await?;
        decoded(response).await
    }

    async fn write<T: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: &T,
        mode: Mode,
    ) -> Result<A, ClientError> {
        let request = self.request(method, with_mode(url, mode)).json(body);
        decoded(self.send(request).await?).await
    }

    /// Sends and turns a refusal into an error.
    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, ClientError> {
        let response = request
            .send()
            .await
            .map_err(|error| ClientError::transport(&self.base, error))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(ClientError::refusal(response).await)
        }
    }
}

/// Connections that only the cloudcore with this pin can answer. Redirects are not followed: the
/// API has none, and the token must not go elsewhere.
fn http(pin: RootPin, base: &Url) -> reqwest::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(millwright_identity::pinned_client_config(pin))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("fleetctl/", env!("CARGO_PKG_VERSION")));
    // A proxy from the environment would look for this machine's own cloudcore on the proxy's.
    match is_loopback(base) {
        true => builder.no_proxy().build(),
        false => builder.build(),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(&['[', ']'][..]).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

async fn decoded<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let url = response.url().clone();
    let body = response
        .bytes()
        .await
        .map_err(|error| ClientError::transport(&url, error))?;
    serde_json::from_slice(&body).map_err(|problem| ClientError::Answer {
        path: url.path().to_owned(),
        problem,
    })
}

fn with_mode(mut url: Url, mode: Mode) -> Url {
    match mode {
        Mode::Do => {}
        Mode::DryRun => append(&mut url, "dryRun", Some("true")),
    }
    url
}

fn append(url: &mut Url, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        url.query_pairs_mut().append_pair(key, value);
    }
}
