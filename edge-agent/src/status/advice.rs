//! What is wrong with this node in plain words, and what the person at the box can do about it.

use super::{LinkFacts, ModelFacts, Status};
use crate::pipeline::PipelineFacts;

/// A certificate with less of its life left than this part is told: it was to be renewed after two thirds.
const CERTIFICATE_SHORT_PART: u64 = 6;

/// Longest text of an error that is repeated, in characters.
const ERROR_CHARS_MAX: usize = 300;

/// One sentence or two per thing that wants a person, most urgent first; nothing when all is well.
#[must_use]
pub fn advice(status: &Status) -> Vec<String> {
    let mut told = Vec::new();
    if !status.running {
        told.push(
            "No agent runs here, so no model answers: start it with `edge-agent run`, or look at its service."
                .to_owned(),
        );
    }
    if let Some(runtime) = &status.onnxruntime
        && !runtime.found
    {
        told.push(format!("No model can run: {}.", runtime.message));
    }
    if let Some(gaps) = &status.sandbox {
        told.push(format!(
            "Models are not shut in completely on this machine: {gaps}."
        ));
    }
    for problem in &status.storage {
        told.push(format!(
            "The disk refuses to store something ({problem}). Models run on; what they did since is kept in \
             memory only and lost with the power. Free space below {}, or mount it writable again.",
            status.node.data_dir
        ));
    }
    told.extend(status.models.iter().filter_map(model));
    told.extend(status.pipelines.iter().filter_map(pipeline));
    told.extend(status.pipelines.iter().filter_map(shadow));
    told.extend(status.models.iter().filter_map(drift));
    told.extend(status.link.as_ref().and_then(link));
    let nothing_came =
        status.desired.generation == 0 && status.desired.waiting_generation.is_none();
    if status.link.is_some() && nothing_came {
        told.push(
            "No desired state is in force: the node serves what it served last and gets the wish with the \
             next connection to the cloud."
                .to_owned(),
        );
    }
    if let Some(generation) = status.desired.waiting_generation {
        let why = if status.hold.is_some() {
            "the node is held"
        } else {
            "it could not be stored"
        };
        told.push(format!(
            "Desired generation {generation} has arrived and is not in force, because {why}."
        ));
    }
    if status.hold.is_some() {
        told.push(
            "The node is held: it keeps the versions it runs. `edge-agent hold --release` lets it go on."
                .to_owned(),
        );
    }
    told.extend(certificate(status));
    told
}

fn certificate(status: &Status) -> Option<String> {
    let certificate = status.certificate.as_ref()?;
    if certificate.not_after_ms <= status.now_ms {
        return Some(
            "The certificate of this node has ended. It proves itself anew with its identity key when it \
             reaches the cloud; check the clock of this machine (`date`) and the connection."
                .to_owned(),
        );
    }
    let life = certificate.not_after_ms - certificate.not_before_ms;
    let left = certificate.not_after_ms - status.now_ms;
    let why = match &certificate.last_error {
        Some(error) => format!("the last attempt failed: {error}"),
        None => "it is renewed as soon as the cloud can be reached".to_owned(),
    };
    (left < life / CERTIFICATE_SHORT_PART).then(|| {
        format!(
            "The certificate of this node ends soon and should have been renewed by now; {why}."
        )
    })
}

fn drift(facts: &ModelFacts) -> Option<String> {
    (facts.drift.as_deref() == Some("drift")).then(|| {
        format!(
            "Model {} is given or gives something else than it was made for: {}. Look at the sensors or the camera \
             first; if they are right, the process has changed and the model needs new data.",
            facts.model, facts.drift_message
        )
    })
}

fn model(facts: &ModelFacts) -> Option<String> {
    let ModelFacts {
        model,
        wanted,
        active,
        reason,
        message,
        ..
    } = facts;
    if reason.is_empty() {
        return None;
    }
    let serves = match active.as_str() {
        "" => "no version answers requests now".to_owned(),
        active => format!("version {active} answers requests"),
    };
    Some(format!(
        "Model {model}: version {wanted} does not run ({reason}: {}); {serves}.",
        cut(message)
    ))
}

fn pipeline(facts: &PipelineFacts) -> Option<String> {
    let PipelineFacts { name, model, .. } = facts;
    let reason = cut(&facts.reason);
    match facts.state.as_str() {
        "sourceUnreachable" => Some(format!(
            "Pipeline {name} gets no inputs: {reason}. Check the device, its cable and its address; it is tried \
             again all the time."
        )),
        "waitingForModel" => Some(format!(
            "Pipeline {name} waits for model {model}: {reason}. Deploy it to this node."
        )),
        "unfit" => Some(format!(
            "Pipeline {name} and model {model} do not fit together: {reason}. `edge-agent pipeline check FILE \
             --model DIR` tells before a pipeline runs."
        )),
        "refused" => Some(format!(
            "Pipeline {name} of the cloud does not run here: {reason}."
        )),
        "sinkFailing" => Some(format!("Results of pipeline {name} are lost: {reason}.")),
        _ => None,
    }
}

fn shadow(facts: &PipelineFacts) -> Option<String> {
    let (name, reason) = (&facts.name, cut(&facts.shadow_reason));
    (!reason.is_empty()).then(|| {
        format!(
            "The shadow of pipeline {name} does not answer: {reason}. The line is not affected."
        )
    })
}

fn link(facts: &LinkFacts) -> Option<String> {
    let error = facts.last_error.as_deref().map(cut).unwrap_or_default();
    match facts.state.as_str() {
        "connected" => None,
        "disabled" => Some(
            "No address of the cloud is known: enroll again with --force, or name one under `cloud:` in \
             edge-agent.yaml."
                .to_owned(),
        ),
        "refused" => Some(format!(
            "The cloud refuses this node ({error}). Ask who runs the fleet; models run on meanwhile."
        )),
        _ if error.is_empty() => None,
        _ => Some(format!(
            "There is no connection to the cloud ({error}). Models run on and nothing is lost. Check the network \
             cable, this machine's clock (`date`), and that the plant's firewall lets out the cloud's port by \
             UDP or TCP."
        )),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(ERROR_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{CertificateFacts, DesiredFacts, HoldFacts, RuntimeFacts};
    use super::*;

    fn well() -> Status {
        Status {
            running: true,
            now_ms: 1_000_000,
            desired: DesiredFacts {
                generation: 3,
                waiting_generation: None,
            },
            link: Some(LinkFacts {
                state: "connected".to_owned(),
                ..LinkFacts::default()
            }),
            ..Status::default()
        }
    }

    #[test]
    fn a_node_that_is_well_needs_nobody() {
        assert_eq!(advice(&well()), Vec::<String>::new());
    }

    #[test]
    fn a_node_whose_first_wish_waits_is_not_told_to_wait_for_it() {
        let mut status = well();
        status.desired = DesiredFacts {
            generation: 0,
            waiting_generation: Some(1),
        };
        let told = advice(&status);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("generation 1 has arrived"), "{told:?}");
    }

    #[test]
    fn whatever_is_wrong_is_told_with_what_to_do() {
        let mut status = well();
        status.onnxruntime = Some(RuntimeFacts {
            found: false,
            message: "no libonnxruntime.so; use --onnxruntime FILE".to_owned(),
        });
        status.storage = vec!["the outbox: no space".to_owned()];
        status.models = vec![ModelFacts {
            model: "detector".to_owned(),
            wanted: "2".to_owned(),
            active: "1".to_owned(),
            reason: "WorkerCrashed".to_owned(),
            message: "signal 11".to_owned(),
            ..ModelFacts::default()
        }];
        status.link = Some(LinkFacts {
            state: "connecting".to_owned(),
            last_error: Some("no answer over quic within 5 s".to_owned()),
            ..LinkFacts::default()
        });
        status.desired.waiting_generation = Some(4);
        status.hold = Some(HoldFacts::default());
        status.certificate = Some(CertificateFacts {
            not_before_ms: 0,
            not_after_ms: 1_000_001,
            ..CertificateFacts::default()
        });
        let told = advice(&status);
        let expected = [
            "--onnxruntime",
            "Free space",
            "version 1 answers requests",
            "firewall",
            "because the node is held",
            "--release",
            "ends soon",
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (line, words) in told.iter().zip(expected) {
            assert!(line.contains(words), "{words}: {line}");
        }
    }
}
