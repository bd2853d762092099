//! Which files and directories of its node a pipeline names, for whoever has to judge or move them.

use crate::{Done, Pipeline, Sink, Source};

/// One path a pipeline names.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedPath<'a> {
    /// The key, for example `spec.source.mqtt.passwordFile`.
    pub field: String,
    /// What is done there.
    pub is: Use,
    /// As written.
    pub path: &'a mut String,
}

/// What a pipeline does with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It reads one file: a password, a token, certificates.
    ReadFile,
    /// It takes files out of a directory and puts others into it.
    Directory,
    /// It moves files there; a relative one is below the directory before it.
    MoveInto,
    /// It opens a device.
    Device,
}

impl Pipeline {
    /// Every path it names, to be looked at or replaced.
    pub fn paths_mut(&mut self) -> Vec<NamedPath<'_>> {
        let mut paths = Vec::new();
        match &mut self.spec.source {
            Source::Mqtt(mqtt) => {
                let field = "spec.source.mqtt";
                read(&mut paths, field, "passwordFile", &mut mqtt.password_file);
                let ca_file = mqtt.tls.as_mut().map(|tls| &mut tls.ca_file);
                ca_file
                    .into_iter()
                    .for_each(|file| read(&mut paths, field, "tls.caFile", file));
            }
            Source::Camera(camera) => {
                let field = "spec.source.camera";
                read(&mut paths, field, "passwordFile", &mut camera.password_file);
                read(&mut paths, field, "caFile", &mut camera.ca_file);
            }
            Source::Directory(directory) => {
                let field = "spec.source.directory";
                paths.push(NamedPath {
                    field: format!("{field}.path"),
                    is: Use::Directory,
                    path: &mut directory.path,
                });
                if let Done::Move(path) = &mut directory.done {
                    paths.push(NamedPath {
                        field: format!("{field}.done.move"),
                        is: Use::MoveInto,
                        path,
                    });
                }
            }
            Source::Video(video) => paths.push(NamedPath {
                field: "spec.source.video.device".to_owned(),
                is: Use::Device,
                path: &mut video.device,
            }),
            Source::Push(_) => {}
        }
        for (at, sink) in self.spec.sinks.iter_mut().enumerate() {
            match sink {
                Sink::Mqtt(mqtt) => {
                    let field = format!("spec.sinks[{at}].mqtt");
                    read(&mut paths, &field, "passwordFile", &mut mqtt.password_file);
                    let ca_file = mqtt.tls.as_mut().map(|tls| &mut tls.ca_file);
                    ca_file
                        .into_iter()
                        .for_each(|file| read(&mut paths, &field, "tls.caFile", file));
                }
                Sink::Webhook(webhook) => {
                    let field = format!("spec.sinks[{at}].webhook");
                    read(&mut paths, &field, "tokenFile", &mut webhook.token_file);
                    read(&mut paths, &field, "caFile", &mut webhook.ca_file);
                }
                Sink::HardExamples(_) => {}
            }
        }
        paths
    }
}

fn read<'a>(paths: &mut Vec<NamedPath<'a>>, field: &str, key: &str, path: &'a mut Option<String>) {
    paths.extend(path.as_mut().map(|path| NamedPath {
        field: format!("{field}.{key}"),
        is: Use::ReadFile,
        path,
    }));
}
