//! Pipelines of the cloud: which of them run on this node, and what the cloud is told of all of them.
//!
//! ```text
//! desired state ─▶ CloudPipelines ─┐
//! files of this machine ───────────┴▶ admit ─▶ Pipelines ─▶ facts ─▶ report ─▶ Applied
//! ```
//!
//! The owner of the box has the last word: [`crate::config::Permission`] may deny all of them, a file of this machine
//! keeps its name, and a pipeline of the cloud names no file and no directory that could be a key of the agent. What
//! is refused is told with its reason and keeps no other from running.

mod guard;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millwright_pipeline::Pipeline;
use millwright_proto::Digest;
use millwright_proto::ids::PipelineName;
use millwright_proto::link::{PipelineDocument, PipelineStatus};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Pipelines, SHOW_EVERY, end_all, files};
pub use guard::Guard;

/// How often the cloud is told that pipelines changed their state: one that flaps must not fill the uplink.
const TOLD_EVERY: Duration = Duration::from_secs(2);

/// What the cloud wants to run here, by name.
pub type CloudPipelines = Arc<BTreeMap<PipelineName, CloudPipeline>>;

/// One pipeline of the desired state.
#[derive(Clone, Debug, PartialEq)]
pub struct CloudPipeline {
    /// Of its document.
    pub digest: Digest,
    /// What it says, or why that cannot be read.
    pub pipeline: Result<Box<Pipeline>, String>,
}

impl CloudPipeline {
    /// Reads one; `None` when it has no name to speak of it by, which no cloudcore sends.
    pub(crate) fn read(sent: PipelineDocument) -> Option<(PipelineName, Self)> {
        let name: PipelineName = match sent.name.parse() {
            Ok(name) => name,
            Err(error) => {
                tracing::warn!("a pipeline of the cloud is left out: {error}");
                return None;
            }
        };
        let cloud = Self {
            digest: Digest::of(&sent.document),
            pipeline: parse(&name, &sent.document),
        };
        Some((name, cloud))
    }
}

fn parse(name: &PipelineName, document: &[u8]) -> Result<Box<Pipeline>, String> {
    let text = std::str::from_utf8(document).map_err(|error| error.to_string())?;
    let origin = format!("Pipeline/{name}");
    let pipeline = Pipeline::parse_json(text, &origin).map_err(|error| error.to_string())?;
    if pipeline.name() == name {
        Ok(Box::new(pipeline))
    } else {
        Err(format!(
            "{origin}: the document is called `{}`",
            pipeline.name()
        ))
    }
}

/// Why a pipeline of the cloud does not run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Machine-readable, `CamelCase`.
    pub(super) reason: &'static str,
    /// For people.
    pub(super) message: String,
}

/// What shall run, what shall not, and who is told.
#[derive(Debug)]
pub struct Wanted {
    /// Those of this machine; they always run.
    pub local: Vec<Pipeline>,
    /// Those of the cloud.
    pub cloud: watch::Receiver<CloudPipelines>,
    /// What those may do.
    pub guard: Guard,
    /// For the session.
    pub told: watch::Sender<Vec<PipelineStatus>>,
}

/// What came of looking at all of them.
pub(super) struct Admitted {
    pub(super) run: Vec<Pipeline>,
    /// Pipelines of the cloud only: the document, and why it does not run.
    pub(super) cloud: BTreeMap<PipelineName, (Digest, Option<Refused>)>,
}

/// Which of `cloud` run beside `local`.
pub(super) fn admit(local: &[Pipeline], cloud: &CloudPipelines, guard: &Guard) -> Admitted {
    let mut admitted = Admitted {
        run: local.to_vec(),
        cloud: BTreeMap::new(),
    };
    for (name, wanted) in cloud.iter() {
        let taken = local.iter().any(|own| own.name() == name);
        let verdict = if taken {
            Err(Refused {
                reason: "NameTaken",
                message: format!(
                    "a file of this machine has a pipeline `{name}`, which goes first: rename one"
                ),
            })
        } else {
            guard.admit(wanted).and_then(|pipeline| {
                if admitted.run.len() < files::PIPELINES_MAX {
                    return Ok(pipeline);
                }
                let most = files::PIPELINES_MAX;
                Err(Refused {
                    reason: "NoRoom",
                    message: format!(
                        "a node runs at most {most} pipelines, those of its own files among them"
                    ),
                })
            })
        };
        let refused = match verdict {
            Ok(pipeline) => {
                admitted.run.push(pipeline);
                None
            }
            Err(refused) => Some(refused),
        };
        admitted
            .cloud
            .insert(name.clone(), (wanted.digest, refused));
    }
    admitted
}

impl Pipelines {
    /// Runs what is `wanted`, now and whenever that changes, until `stop`; then ends them all.
    pub async fn run(mut self, mut wanted: Wanted, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut admitted = self.follow(&mut wanted).await;
        let mut ticks = tokio::time::interval(SHOW_EVERY);
        let mut told_at = Instant::now();
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = ticks.tick() => {
                    self.tell();
                    if told_at.elapsed() >= TOLD_EVERY {
                        told_at = Instant::now();
                        self.report(&wanted, &admitted);
                    }
                }
                Ok(()) = wanted.cloud.changed() => {
                    admitted = self.follow(&mut wanted).await;
                }
            }
        }
        end_all(self.running).await;
    }

    async fn follow(&mut self, wanted: &mut Wanted) -> Admitted {
        let cloud = wanted.cloud.borrow_and_update().clone();
        let admitted = admit(&wanted.local, &cloud, &wanted.guard);
        for (name, (_, refused)) in &admitted.cloud {
            if let Some(Refused { reason, message }) = refused {
                tracing::warn!(pipeline = %name, reason, "refused from the cloud: {message}");
            }
        }
        self.parts.table.refuse(&admitted);
        self.set(admitted.run.clone()).await;
        self.report(wanted, &admitted);
        admitted
    }

    fn report(&self, wanted: &Wanted, admitted: &Admitted) {
        let told = report::of(admitted, &self.parts.table.running());
        wanted.told.send_if_modified(|before| {
            let changed = *before != told;
            *before = told;
            changed
        });
    }
}

#[cfg(test)]
mod tests;
