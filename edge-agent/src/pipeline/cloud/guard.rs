//! What a pipeline of the cloud may name on this node.

use std::path::{Component, Path, PathBuf};

use millwright_pipeline::{NamedPath, Pipeline, Use};

use super::{CloudPipeline, Refused};
use crate::config::Permission;

/// What pipelines of the cloud may do on this node.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Whether they run at all.
    pub permission: Permission,
    /// The agent's data directory.
    pub data_dir: PathBuf,
    /// Below it: the only files that they may name.
    pub secrets: PathBuf,
    /// In or below these: the only directories that they may read, empty and fill.
    pub directories: Vec<PathBuf>,
}

impl Guard {
    /// The pipeline as it runs here: with whole paths instead of the names of secret files.
    pub(super) fn admit(&self, wanted: &CloudPipeline) -> Result<Pipeline, Refused> {
        match self.permission {
            Permission::Allowed => {}
            Permission::Denied => {
                return Err(Refused {
                    reason: "Denied",
                    message: "this node runs no pipelines of the cloud: `cloud.pipelines: denied` in its \
                              edge-agent.yaml"
                        .to_owned(),
                });
            }
        }
        let mut pipeline = match &wanted.pipeline {
            Ok(pipeline) => Pipeline::clone(pipeline),
            Err(problem) => {
                return Err(Refused {
                    reason: "Invalid",
                    message: problem.clone(),
                });
            }
        };
        let mut directory = PathBuf::new();
        for named in pipeline.paths_mut() {
            self.judge(named, &mut directory)?;
        }
        Ok(pipeline)
    }

    /// `directory` is the last one that was named.
    fn judge(&self, named: NamedPath<'_>, directory: &mut PathBuf) -> Result<(), Refused> {
        let NamedPath { field, is, path } = named;
        let written = PathBuf::from(&*path);
        let climbs = written
            .components()
            .any(|part| matches!(part, Component::ParentDir));
        match is {
            Use::ReadFile => {
                let whole = self.secrets.join(&written);
                let below = whole.strip_prefix(&self.secrets);
                let names_one = below.is_ok_and(|rest| rest.file_name().is_some());
                if climbs || !names_one {
                    return Err(self.secret_outside(&field, &written));
                }
                *path = whole.to_string_lossy().into_owned();
                Ok(())
            }
            Use::Directory => {
                self.keep_out(&field, &written, climbs)?;
                *directory = written;
                Ok(())
            }
            Use::MoveInto => self.keep_out(&field, &directory.join(&written), climbs),
            Use::Device if climbs => Err(Refused {
                reason: "DeviceOutside",
                message: format!(
                    "{field} names `{}`, which is not in /dev",
                    written.display()
                ),
            }),
            Use::Device => Ok(()),
        }
    }

    fn secret_outside(&self, field: &str, written: &Path) -> Refused {
        let secrets = self.secrets.display();
        Refused {
            reason: "SecretOutside",
            message: format!(
                "{field} names `{}`: a pipeline of the cloud may only name files below {secrets}; put the file there \
                 at the box and write its name alone",
                written.display()
            ),
        }
    }

    fn keep_out(&self, field: &str, path: &Path, climbs: bool) -> Result<(), Refused> {
        let really = real(path);
        let below = |directory: &Path| really.starts_with(real(directory));
        if climbs || !path.is_absolute() || below(&self.data_dir) {
            return Err(Refused {
                reason: "DirectoryInside",
                message: format!(
                    "{field} names `{}`: a pipeline of the cloud may not use directories inside {}, and names them whole \
                     and without `..`",
                    path.display(),
                    self.data_dir.display()
                ),
            });
        }
        if self.directories.iter().any(|directory| below(directory)) {
            return Ok(());
        }
        Err(Refused {
            reason: "DirectoryNotListed",
            message: format!(
                "{field} names `{}`: a pipeline of the cloud may only use directories that the edge-agent.yaml of this \
                 node lists under `cloud.pipelineDirectories`",
                path.display()
            ),
        })
    }
}

/// Where a path really is, as far as it is there.
fn real(path: &Path) -> PathBuf {
    for part in path.ancestors() {
        if let (Ok(there), Ok(rest)) = (part.canonicalize(), path.strip_prefix(part)) {
            return there.join(rest);
        }
    }
    path.to_owned()
}
