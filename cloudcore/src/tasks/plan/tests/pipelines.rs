//! Pipelines from the API's object to the document of a node, and back from its report.

use fleet_api::{NodePipelineStatus, Pipeline, PipelineSpec, PipelineState, PipelineStatus};

use super::*;

fn spec() -> PipelineSpec {
    let text = r#"{"selector": {"sites": ["leipzig"]}, "source": {"push": {}}, "model": "m"}"#;
    serde_json::from_str(text).unwrap()
}

impl Cloud {
    async fn tell(&self, session: &SessionKey, pipeline: link::PipelineStatus) {
        let (desired, _) = self.desired().await;
        let applied = link::Applied {
            generation: desired.generation.get(),
            digest: Some(desired.digest.into()),
            pipelines: vec![pipeline],
            ..link::Applied::default()
        };
        let report = vec![Report::Applied(applied)];
        self.ingest.batch(session, report).await.unwrap();
        self.planner.round().await.unwrap();
    }

    async fn pipelines(&self) -> (Vec<NodePipelineStatus>, PipelineStatus) {
        let node = self.find::<Node>("press-1").await;
        let pipeline = self.find::<Pipeline>("gate").await;
        (node.status.pipelines, pipeline.status)
    }
}

#[tokio::test]
async fn a_pipeline_becomes_a_document_without_its_selector_and_its_state_a_status() {
    let cloud = Cloud::new().await;
    cloud.deploy("1").await;
    cloud.insert::<Pipeline>("gate", spec()).await;
    cloud.planner.round().await.unwrap();
    let (first, document) = cloud.desired().await;
    assert!(document.pipelines.is_empty(), "nobody knows its agent yet");
    let applied = Some((first.generation, first.digest));
    let session = cloud.connect_with(applied, 0, &["pipelines"]).await;
    cloud.planner.round().await.unwrap();
    let (desired, document) = cloud.desired().await;
    assert_eq!(desired.generation, first.generation.next());
    let sent = &document.pipelines[0];
    let text = std::str::from_utf8(&sent.document).unwrap();
    let read = millwright_pipeline::Pipeline::parse_json(text, "sent").unwrap();
    assert_eq!((sent.name.as_str(), read.name().as_str()), ("gate", "gate"));
    assert_eq!(read.spec.selector, None);

    let about = |document: &[u8], state: link::PipelineState| link::PipelineStatus {
        pipeline: "gate".to_owned(),
        state: state.into(),
        reason: String::new(),
        message: String::new(),
        digest: Some(Digest::of(document).into()),
    };
    let older = about(b"older", link::PipelineState::Running);
    cloud.tell(&session, older).await;
    let (on_node, status) = cloud.pipelines().await;
    assert_eq!(on_node[0].state, PipelineState::Pending);
    assert_eq!((status.selected, status.running), (1, 0));
    let runs = about(&sent.document, link::PipelineState::Running);
    cloud.tell(&session, runs).await;
    let (on_node, status) = cloud.pipelines().await;
    assert_eq!(on_node[0].state, PipelineState::Running);
    assert_eq!((status.selected, status.running), (1, 1));
    assert_eq!(status.conditions[0].reason, "AllRunning");
    let (unchanged, _) = cloud.desired().await;
    assert_eq!(unchanged.generation, desired.generation);

    let mut write = cloud.store.write().await.unwrap();
    write.remove::<Pipeline>(TENANT, "gate").await.unwrap();
    write.commit().await.unwrap();
    cloud.planner.round().await.unwrap();
    let (last, _) = cloud.desired().await;
    assert_eq!(
        last.digest, first.digest,
        "a document without pipelines has the bytes it always had"
    );
}
