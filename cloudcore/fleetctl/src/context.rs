//! Which cloudcore to speak to, and as whom: the contexts that `login` saves, and the environment.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use millwright_document::DocumentError;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::private_file;

/// Name of a context when none is given.
pub(crate) const DEFAULT_CONTEXT: &str = "default";

/// The next command to try, quoted in errors.
const LOGIN: &str =
    "log in with `fleetctl login --cloud https://HOST:8443 --token-file FILE --ca-pin sha256:...`";

/// Why it is not known whom to speak to.
#[derive(Debug, Error)]
pub(crate) enum ContextError {
    /// There is no place for the file.
    #[error("cannot tell where contexts are kept: set HOME or FLEETCTL_CONFIG")]
    NoHome,
    /// The file cannot be read.
    #[error("cannot read contexts from {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file cannot be written.
    #[error("cannot save contexts in {}: choose another place with FLEETCTL_CONFIG", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The file is damaged.
    #[error("{0}: correct the file, or remove it and log in again")]
    Document(#[from] DocumentError),
    /// The contexts do not serialise.
    #[error("cannot write the contexts as YAML: {0}")]
    Serialize(String),
    /// No such context.
    #[error("there is no context `{name}` in {}; known are {known:?}: {LOGIN}", path.display())]
    Unknown {
        name: String,
        path: PathBuf,
        known: Vec<String>,
    },
    /// Nobody logged in.
    #[error("not logged in: {LOGIN}")]
    NotLoggedIn,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ApiToken(String);

impl ApiToken {
    /// A token as a person or a file gave it, without the white space around it.
    pub(crate) fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The text, for the one header it goes into.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiToken(..)")
    }
}

/// One cloudcore, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Access {
    /// `https://HOST:PORT`.
    pub(crate) cloud: String,
    /// `sha256:<hex>` of the root's public key.
    pub(crate) ca_pin: String,
    /// Sent with every request.
    pub(crate) token: ApiToken,
}

/// The file of contexts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Contexts {
    /// Used when `--context` is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current_context: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Access>,
}

/// What the environment says, read once in `main`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `FLEETCTL_CONFIG`
    pub(crate) config: Option<PathBuf>,
    /// `HOME`
    pub(crate) home: Option<PathBuf>,
    /// `FLEETCTL_CLOUD`
    pub(crate) cloud: Option<String>,
    /// `FLEETCTL_TOKEN`
    pub(crate) token: Option<ApiToken>,
    /// `FLEETCTL_CA_PIN`
    pub(crate) ca_pin: Option<String>,
}

impl Environment {
    /// Reads the environment of this process.
    pub(crate) fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            config: text("FLEETCTL_CONFIG").map(PathBuf::from),
            home: text("HOME").map(PathBuf::from),
            cloud: text("FLEETCTL_CLOUD"),
            token: text("FLEETCTL_TOKEN").as_deref().map(ApiToken::new),
            ca_pin: text("FLEETCTL_CA_PIN"),
        }
    }

    /// Where contexts are kept.
    pub(crate) fn path(&self) -> Result<PathBuf, ContextError> {
        match (&self.config, &self.home) {
            (Some(path), _) => Ok(path.clone()),
            (None, Some(home)) => Ok(home.join(".config/millwright/fleetctl.yaml")),
            (None, None) => Err(ContextError::NoHome),
        }
    }

    /// Whom to speak to: the context called `name`, else the current one, each part overridden by
    /// the environment. With all three variables set no file is needed.
    pub(crate) fn access(&self, name: Option<&str>) -> Result<Access, ContextError> {
        let saved = match (name, &self.cloud, &self.ca_pin, &self.token) {
            (None, Some(_), Some(_), Some(_)) => None,
            (name, ..) => saved(&self.path()?, name)?,
        };
        let (cloud, ca_pin, token) = match saved {
            Some(saved) => (Some(saved.cloud), Some(saved.ca_pin), Some(saved.token)),
            None => (None, None, None),
        };
        Ok(Access {
            cloud: self
                .cloud
                .clone()
                .or(cloud)
                .ok_or(ContextError::NotLoggedIn)?,
            ca_pin: self
                .ca_pin
                .clone()
                .or(ca_pin)
                .ok_or(ContextError::NotLoggedIn)?,
            token: self
                .token
                .clone()
                .or(token)
                .ok_or(ContextError::NotLoggedIn)?,
        })
    }
}

fn saved(path: &Path, name: Option<&str>) -> Result<Option<Access>, ContextError> {
    let mut file = read(path)?;
    let Some(name) = name.map(str::to_owned).or(file.current_context) else {
        return Ok(None);
    };
    let unknown = |known: Vec<String>| ContextError::Unknown {
        name: name.clone(),
        path: path.to_owned(),
        known,
    };
    match file.contexts.remove(&name) {
        Some(access) => Ok(Some(access)),
        None => Err(unknown(file.contexts.into_keys().collect())),
    }
}

/// Saves `access` as the context `name` and makes it the current one.
pub(crate) fn save(path: &Path, name: &str, access: Access) -> Result<(), ContextError> {
    let mut file = read(path)?;
    file.contexts.insert(name.to_owned(), access);
    file.current_context = Some(name.to_owned());
    let text = serde_saphyr::to_string(&file)
        .map_err(|error| ContextError::Serialize(error.to_string()))?;
    private_file::write(path, &text).map_err(|source| ContextError::Write {
        path: path.to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<Contexts, ContextError> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(Contexts::default()),
        Ok(text) => Ok(millwright_document::yaml(
            &text,
            &path.display().to_string(),
        )?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contexts::default()),
        Err(source) => Err(ContextError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests;
