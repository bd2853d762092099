//! One value of every message, with something in every field.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use millwright_proto::Digest;
use millwright_proto::frame::decode_body;
use millwright_proto::link::{
    self, Downlink, Uplink, blob_response, downlink, renew_response, uplink,
};
use prost::Message;

use crate::hard_examples;

/// A message with the name of its golden file.
pub(crate) struct Sample {
    /// Name of the file without `.hex`.
    pub(crate) name: &'static str,
    message: Box<dyn Coded>,
}

/// What the tests do with any message, whatever its type.
trait Coded {
    fn encode(&self) -> Vec<u8>;
    fn assert_decodes_from(&self, name: &str, bytes: Bytes);
    fn try_decode(&self, bytes: Bytes);
}

impl<M: Message + Default + PartialEq + Debug> Coded for M {
    fn encode(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    fn assert_decodes_from(&self, name: &str, bytes: Bytes) {
        assert_eq!(decode_body::<M>(bytes).as_ref(), Ok(self), "{name}");
    }

    fn try_decode(&self, bytes: Bytes) {
        // Whether it is an error does not matter here; that it returns does.
        let _ = decode_body::<M>(bytes);
    }
}

impl Sample {
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.message.encode()
    }

    pub(crate) fn assert_decodes_from(&self, bytes: Bytes) {
        self.message.assert_decodes_from(self.name, bytes);
    }

    pub(crate) fn try_decode(&self, bytes: Bytes) {
        self.message.try_decode(bytes);
    }
}

pub(crate) fn up(name: &'static str, body: uplink::Body) -> Sample {
    other(name, Uplink { body: Some(body) })
}

pub(crate) fn down(name: &'static str, body: downlink::Body) -> Sample {
    other(name, Downlink { body: Some(body) })
}

fn other(name: &'static str, message: impl Coded + 'static) -> Sample {
    Sample {
        name,
        message: Box::new(message),
    }
}

fn sixteen(byte: u8) -> Bytes {
    vec![byte; 16].into()
}

pub(crate) fn digest(of: &str) -> Option<link::Digest> {
    Some(Digest::of(of.as_bytes()).into())
}

/// Every message.
pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = uplinks();
    samples.extend(downlinks());
    samples.extend(documents());
    samples.extend(renewals());
    samples.extend(hard_examples::samples());
    samples
}

fn uplinks() -> Vec<Sample> {
    let hello = link::Hello {
        versions: vec![1, 2],
        node_uid: sixteen(1),
        instance: sixteen(2),
        boot: sixteen(3),
        lineage: sixteen(4),
        streams: vec![link::StreamOffer {
            stream: link::Stream::Summaries.into(),
            oldest: 41,
            next: 300,
            offered_up_to: 299,
        }],
        session_secret: vec![5; 32].into(),
        applied_generation: 17,
        applied_digest: digest("document"),
        capabilities: vec!["blobs".to_owned()],
        agent_version: "0.1.0".to_owned(),
        platform: Some(link::Platform {
            os: "linux".to_owned(),
            arch: "aarch64".to_owned(),
            onnxruntime_version: "1.31.1".to_owned(),
        }),
    };
    let record = link::Record {
        stream: link::Stream::Summaries.into(),
        first: 41,
        last: 44,
        payload: vec![0xde, 0xad].into(),
        crc32c: crc32c::crc32c(&[0xde, 0xad]),
    };
    let gap = link::Gap {
        stream: link::Stream::Events.into(),
        from: 7,
        to: 9,
        reason: link::GapReason::FateUnknown.into(),
    };
    let applied = link::Applied {
        generation: 17,
        digest: digest("document"),
        slots: vec![link::SlotStatus {
            model: "defect-detection".to_owned(),
            version: "3.1.0".to_owned(),
            state: link::SlotState::Failed.into(),
            active_version: "3.0.0".to_owned(),
            reason: "GoldenMismatch".to_owned(),
            message: "output scores differs by 0.4".to_owned(),
        }],
        conditions: vec![link::NodeCondition {
            r#type: "SandboxDegraded".to_owned(),
            holds: true,
            reason: "NoLandlock".to_owned(),
            message: "the kernel has no Landlock".to_owned(),
        }],
        pipelines: Vec::new(),
    };
    let mut applied_pipelines = applied.clone();
    applied_pipelines.pipelines.push(pipeline_status());
    vec![
        up("uplink-hello", uplink::Body::Hello(hello)),
        up("uplink-record", uplink::Body::Record(record)),
        up("uplink-gap", uplink::Body::Gap(gap)),
        up("uplink-applied", uplink::Body::Applied(applied)),
        up(
            "uplink-applied-pipelines",
            uplink::Body::Applied(applied_pipelines),
        ),
    ]
}

fn pipeline_status() -> link::PipelineStatus {
    link::PipelineStatus {
        pipeline: "gate".to_owned(),
        state: link::PipelineState::Refused.into(),
        reason: "NameTaken".to_owned(),
        message: "a file of this machine has the name".to_owned(),
        digest: digest("pipeline"),
    }
}

fn event() -> link::Event {
    link::Event {
        wall_time_ms: 1_790_000_000_000,
        boot: sixteen(3),
        monotonic_ms: 5_000,
        reason: "ModelActivated".to_owned(),
        severity: link::EventSeverity::Normal.into(),
        message: "defect-detection@3.1.0 answers requests".to_owned(),
        model: "defect-detection".to_owned(),
        version: "3.1.0".to_owned(),
    }
}

fn pipeline_document() -> link::PipelineDocument {
    link::PipelineDocument {
        name: "gate".to_owned(),
        document: Bytes::from_static(b"{\"kind\":\"Pipeline\"}"),
    }
}

fn downlinks() -> Vec<Sample> {
    let welcome = link::Welcome {
        version: 1,
        term: 12,
        session_secret: vec![6; 32].into(),
        watermarks: vec![link::Watermark {
            stream: link::Stream::Summaries.into(),
            through: 299,
        }],
        server_time_ms: 1_790_000_000_000,
        keep_alive_ms: 20_000,
        incarnation: sixteen(7),
    };
    let ack = link::Ack {
        stream: link::Stream::Summaries.into(),
        through: 44,
    };
    let desired = link::Desired {
        generation: 18,
        digest: digest("document"),
        document: Bytes::from_static(b"document"),
    };
    let fenced = link::Fenced {
        reason: link::FenceReason::Cloned.into(),
        message: "the session secret is an old one".to_owned(),
    };
    let unsupported = link::Unsupported {
        versions: vec![1],
        message: "update the agent".to_owned(),
    };
    vec![
        down("downlink-welcome", downlink::Body::Welcome(welcome)),
        down("downlink-ack", downlink::Body::Ack(ack)),
        down("downlink-desired", downlink::Body::Desired(desired)),
        down(
            "downlink-come-back",
            downlink::Body::ComeBack(link::ComeBack { after_ms: 1500 }),
        ),
        down("downlink-fenced", downlink::Body::Fenced(fenced)),
        down(
            "downlink-unsupported",
            downlink::Body::Unsupported(unsupported),
        ),
    ]
}

fn documents() -> Vec<Sample> {
    let document = link::DesiredDocument {
        models: vec![link::ModelSlot {
            model: "defect-detection".to_owned(),
            version: "3.1.0".to_owned(),
            bundle: Bytes::from_static(b"{\"mediaType\":\"...\"}"),
            files: vec![link::PackageFile {
                path: "golden/face.safetensors".to_owned(),
                digest: digest("face"),
                size_bytes: 4096,
            }],
            prove_for_ms: 60_000,
            allow_gap: false,
        }],
        summary_window_ms: 60_000,
        pipelines: Vec::new(),
    };
    let mut with_pipelines = document.clone();
    with_pipelines.pipelines.push(pipeline_document());
    let mut gap_document = document.clone();
    gap_document.models[0].allow_gap = true;
    let request = link::EnrollRequest {
        token_id: "t-1".to_owned(),
        token_secret: "secret".to_owned(),
        node: "press-1".to_owned(),
        node_uid: sixteen(1),
        identity_public_key: vec![1, 2].into(),
        identity_proof: vec![3, 4].into(),
        csr: vec![5, 6].into(),
        labels: BTreeMap::from([("line".to_owned(), "1".to_owned())]),
    };
    let response = link::EnrollResponse {
        certificate_chain: vec![vec![1].into(), vec![2].into()],
        root: vec![3].into(),
        fleet: "acme".to_owned(),
        tenant: "default".to_owned(),
        site: "leipzig".to_owned(),
        node: "press-1".to_owned(),
        quic_address: "cloud.example:10002".to_owned(),
        websocket_address: "cloud.example:10000".to_owned(),
    };
    let blob = link::BlobRequest {
        digest: digest("face"),
        offset: 1024,
        length: 2048,
    };
    let total = blob_response::Body::TotalBytes(4096);
    let refused = blob_response::Body::Refused("not in the desired state".to_owned());
    vec![
        other("desired-document", document),
        other("desired-document-gap", gap_document),
        other("desired-document-pipelines", with_pipelines),
        other("event", event()),
        other("enroll-request", request),
        other("enroll-response", response),
        other("blob-request", blob),
        other("blob-total", link::BlobResponse { body: Some(total) }),
        other(
            "blob-refused",
            link::BlobResponse {
                body: Some(refused),
            },
        ),
    ]
}

fn renewals() -> Vec<Sample> {
    let request = link::RenewRequest {
        node_uid: sixteen(1),
        challenge: vec![8, 9].into(),
        csr: vec![5, 6].into(),
        identity_proof: vec![3, 4].into(),
    };
    let response = |body| link::RenewResponse {
        server_time_ms: 1_790_000_000_000,
        body: Some(body),
    };
    let challenge = renew_response::Body::Challenge(vec![8, 9].into());
    let certificate = renew_response::Body::Certificate(link::RenewedCertificate {
        chain: vec![vec![1].into(), vec![2].into()],
    });
    vec![
        other("renew-request", request),
        other("renew-challenge", response(challenge)),
        other("renew-certificate", response(certificate)),
    ]
}
