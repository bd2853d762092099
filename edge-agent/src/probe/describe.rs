//! What a model declares by itself.

use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use millwright_package::probe::{Described, DescribedKind, DescribedPort};
use millwright_package::{ANSWER_WITHIN, Arena, Limits, Manifest, PackagePath};

use crate::worker::protocol::{Port, PortKind};
use crate::worker::{WorkerError, WorkerHost, WorkerSpec};

/// Opens `file` in a worker that may read the directory it is in.
pub(super) async fn describe(host: &WorkerHost, file: &Path) -> anyhow::Result<Described> {
    let absolute = file
        .canonicalize()
        .with_context(|| format!("cannot read {}", file.display()))?;
    let name = absolute.file_name().and_then(|name| name.to_str());
    let path: PackagePath = name
        .with_context(|| format!("{} is not the name of a file", file.display()))?
        .parse()?;
    let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    let manifest = nameless(path)?;
    let spec = WorkerSpec {
        model: manifest.model_version(),
        directory,
        manifest: Arc::new(manifest),
    };
    let ports = host.describe(&spec).await.map_err(|error| match error {
        // It has no name yet.
        WorkerError::NotAModel { problem, .. } => anyhow::anyhow!(
            "{} is not a model that ONNX Runtime can open: {problem}",
            file.display()
        ),
        other => other.into(),
    })?;
    Ok(Described {
        inputs: ports.inputs.into_iter().map(described).collect(),
        outputs: ports.outputs.into_iter().map(described).collect(),
    })
}

/// A manifest that says nothing but which file it is.
fn nameless(file: PackagePath) -> anyhow::Result<Manifest> {
    Ok(Manifest {
        model: "model".parse()?,
        version: "0".parse()?,
        description: None,
        license: None,
        file,
        inputs: Vec::new(),
        outputs: Vec::new(),
        state: Vec::new(),
        golden: Vec::new(),
        confidence: None,
        profile: None,
        batching: None,
        limits: Limits {
            memory_mib: None,
            threads: NonZeroU16::MIN,
            arena: Arena::default(),
            answer_within: ANSWER_WITHIN,
        },
        providers: Vec::new(),
    })
}

fn described(port: Port) -> DescribedPort {
    DescribedPort {
        name: port.name,
        kind: match port.kind {
            PortKind::Tensor { datatype, shape } => DescribedKind::Tensor { datatype, shape },
            PortKind::Unsupported(unsupported) => DescribedKind::Unsupported { unsupported },
        },
        optional: port.optional,
    }
}
