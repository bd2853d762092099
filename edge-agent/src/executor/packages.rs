//! The steps that are about the files of a package: fetched, verified, removed.

use std::path::PathBuf;

use edge_core::models::{Fact, Failure, FailureClass, PackageId};

use super::{Executor, Outcome, report};
use crate::desired::{PackageSource, Plan};
use crate::fetch::{self, BlobSource};

impl<B: BlobSource> Executor<B> {
    pub(super) fn fetch(&mut self, package: PackageId, plan: &Plan) {
        let (shelf, blobs) = (self.shelf.clone(), self.blobs.clone());
        let source = plan.source(&package).cloned();
        let outcomes = self.outcomes.clone();
        let id = package.clone();
        let task = tokio::spawn(async move {
            let fetched = match &source {
                Some(source) => fetch::download(&shelf, &package, source, &blobs).await,
                // The desired state moved on, or a held node lost files that it no longer says
                // where to get.
                None => {
                    let failure = Failure {
                        class: FailureClass::Fetch,
                        message: format!("the desired state in force does not name {package}"),
                    };
                    let fact = Fact::FetchFailed(package, failure);
                    return report(&outcomes, Outcome::Fact(fact)).await;
                }
            };
            let fact = match fetched {
                Ok(()) => Fact::Fetched(package),
                Err(error) => Fact::FetchFailed(package, error.into_failure()),
            };
            report(&outcomes, Outcome::Fact(fact)).await;
        });
        self.downloads.insert(id, task.abort_handle());
    }

    pub(super) fn verify(&self, package: PackageId, plan: &Plan) {
        let (shelf, trust) = (self.shelf.clone(), self.trust.clone());
        let source = plan.source(&package).cloned();
        let outcomes = self.outcomes.clone();
        tokio::task::spawn_blocking(move || {
            let outcome = match fetch::verify(&shelf, &package, source.as_ref(), &trust) {
                Ok(verified) => Outcome::Verified(package, verified.manifest),
                Err(error) => Outcome::Fact(Fact::VerifyFailed(package, error.into_failure())),
            };
            // Closed only while the agent ends.
            let _ = outcomes.blocking_send(outcome);
        });
    }

    pub(super) fn remove(&mut self, package: PackageId) {
        self.manifests.remove(&package);
        let download = self.downloads.remove(&package);
        let (shelf, outcomes) = (self.shelf.clone(), self.outcomes.clone());
        tokio::spawn(async move {
            if let Some(download) = download {
                download.abort();
            }
            let id = package.clone();
            let removed = tokio::task::spawn_blocking(move || shelf.remove(&id)).await;
            if let Ok(Err(error)) = removed {
                // Swept at the next start.
                tracing::warn!(%package, "{error}");
            }
            report(&outcomes, Outcome::Fact(Fact::Removed(package))).await;
        });
    }

    pub(super) fn place(&self, package: &PackageId, plan: &Plan) -> PathBuf {
        self.shelf.place(package, plan.source(package))
    }
}

impl Plan {
    /// Where the bytes of a package come from, if this plan names it.
    fn source(&self, package: &PackageId) -> Option<&PackageSource> {
        let (found, _) = self.packages.get(&package.version.model)?;
        (found.id == *package).then_some(&found.source)
    }
}
