//! The planner against a real store: intent in, desired states and statuses out.

mod pipelines;

use fleet_api::{
    ConditionStatus, ModelDeployment, ModelDeploymentSpec, ModelVersion, ModelVersionSpec, Node,
    NodeSpec, PackageFile, Resource, Rollout, RolloutPhase, Selector, Site, SiteSpec, Strategy,
    Transport,
};
use millwright_proto::ids::{BootId, Generation, InstanceId, Lineage, NodeUid};
use millwright_proto::{Digest, link};
use prost::Message as _;
use tempfile::TempDir;

use super::*;
use crate::store::{NewNodeIdentity, StoredDesired};
use crate::tasks::ingest::{Admission, Hello, Ingest, Report, SessionKey};

const TENANT: &str = "default";
const UID: NodeUid = NodeUid::from_bytes([7; 16]);

struct Cloud {
    store: Store,
    ingest: Ingest,
    planner: Planner,
    _directory: TempDir,
}

impl Cloud {
    /// One site, one node, two pushed versions of one model.
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        let signals: Arc<Signals> = Arc::default();
        let (ingest, writer) = Ingest::open(store.clone(), Arc::clone(&signals));
        tokio::spawn(writer);
        let cloud = Self {
            ingest,
            planner: Planner::new(store.clone(), signals, 0),
            store,
            _directory: directory,
        };
        cloud.insert::<Site>("leipzig", SiteSpec::default()).await;
        let site = "leipzig".to_owned();
        cloud.insert::<Node>("press-1", NodeSpec { site }).await;
        for version in ["1", "2"] {
            let spec = package(version);
            cloud
                .insert::<ModelVersion>(&format!("m@{version}"), spec)
                .await;
        }
        let mut write = cloud.store.write().await.unwrap();
        let now = Timestamp::now();
        let node = NewNodeIdentity::press_1(UID, now);
        write.insert_node_identity(&node, now).await.unwrap();
        write.commit().await.unwrap();
        cloud
    }

    async fn insert<K: fleet_api::Kind>(&self, name: &str, spec: K::Spec) {
        let mut write = self.store.write().await.unwrap();
        let resource = Resource::<K>::new(name, spec);
        write
            .insert(TENANT, resource, Timestamp::now())
            .await
            .unwrap();
        write.commit().await.unwrap();
    }

    async fn find<K: fleet_api::Kind>(&self, name: &str) -> Resource<K> {
        self.store.find::<K>(TENANT, name).await.unwrap().unwrap()
    }

    async fn deploy(&self, version: &str) {
        let spec = ModelDeploymentSpec {
            model: "m".to_owned(),
            version: version.to_owned(),
            selector: Selector::default(),
            strategy: Strategy::default(),
        };
        if self
            .store
            .find::<ModelDeployment>(TENANT, "d")
            .await
            .unwrap()
            .is_none()
        {
            return self.insert::<ModelDeployment>("d", spec).await;
        }
        let mut deployment = self.find::<ModelDeployment>("d").await;
        deployment.spec = spec;
        let mut write = self.store.write().await.unwrap();
        write.replace(TENANT, deployment).await.unwrap();
        write.commit().await.unwrap();
    }

    async fn desired(&self) -> (StoredDesired, link::DesiredDocument) {
        let desired = self.store.desired(UID).await.unwrap().unwrap();
        let document = link::DesiredDocument::decode(&desired.document[..]).unwrap();
        assert_eq!(desired.digest, Digest::of(&desired.document));
        (desired, document)
    }

    async fn connect(&self, applied: Option<(Generation, Digest)>, secret: u8) -> SessionKey {
        self.connect_with(applied, secret, &[]).await
    }

    async fn connect_with(
        &self,
        applied: Option<(Generation, Digest)>,
        secret: u8,
        capabilities: &[&str],
    ) -> SessionKey {
        let capabilities = capabilities.iter();
        let hello = Hello {
            uid: UID,
            instance: InstanceId::from_bytes([1; 16]),
            boot: BootId::from_bytes([2; 16]),
            lineage: Lineage::from_bytes([3; 16]),
            secret: if secret == 0 {
                Vec::new()
            } else {
                vec![secret; 32]
            },
            new_secret: [secret + 1; 32],
            transport: Transport::Websocket,
            peer: None,
            applied,
            agent_version: "0.1.0".to_owned(),
            os: "linux".to_owned(),
            arch: "x86_64".to_owned(),
            onnxruntime: "1.24.0".to_owned(),
            capabilities: capabilities.map(ToString::to_string).collect(),
        };
        match self.ingest.hello(&hello, &Arc::default()).await.unwrap() {
            Admission::Welcome { session, .. } => session,
            refused => panic!("{refused:?}"),
        }
    }

    async fn report(&self, session: &SessionKey, state: link::SlotState) {
        let (desired, document) = self.desired().await;
        let slots = document.models.into_iter().map(|slot| link::SlotStatus {
            active_version: slot.version.clone(),
            model: slot.model,
            version: slot.version,
            state: state.into(),
            reason: String::new(),
            message: String::new(),
        });
        let applied = link::Applied {
            generation: desired.generation.get(),
            digest: Some(desired.digest.into()),
            slots: slots.collect(),
            conditions: Vec::new(),
            pipelines: Vec::new(),
        };
        let report = vec![Report::Applied(applied)];
        self.ingest.batch(session, report).await.unwrap();
    }
}

fn package(version: &str) -> ModelVersionSpec {
    ModelVersionSpec {
        model: "m".to_owned(),
        version: version.to_owned(),
        files: vec![PackageFile {
            path: "model.yaml".to_owned(),
            digest: Digest::of(version.as_bytes()).to_string(),
            size_bytes: 10,
        }],
        bundle: format!("{{\"bundle\": {version}}}"),
    }
}

#[tokio::test]
async fn a_deployment_becomes_a_document_a_rollout_and_a_status() {
    let cloud = Cloud::new().await;
    cloud.deploy("1").await;
    cloud.planner.round().await.unwrap();
    let (desired, document) = cloud.desired().await;
    assert_eq!(desired.generation, Generation::new(1));
    let slot = &document.models[0];
    assert_eq!((slot.model.as_str(), slot.version.as_str()), ("m", "1"));
    assert_eq!(&slot.bundle[..], b"{\"bundle\": 1}");
    assert_eq!((slot.files.len(), slot.prove_for_ms), (1, 30_000));
    let session = cloud.connect(None, 0).await;
    cloud.report(&session, link::SlotState::Active).await;
    cloud.planner.round().await.unwrap();
    let rollout = cloud.find::<Rollout>("d-1").await;
    assert_eq!(rollout.status.phase, RolloutPhase::Succeeded);
    let deployment = cloud.find::<ModelDeployment>("d").await;
    assert_eq!(deployment.status.rollout.as_deref(), Some("d-1"));
    assert_eq!(
        (deployment.status.selected, deployment.status.active),
        (1, 1)
    );
    assert_eq!(
        deployment.status.conditions[0].status,
        ConditionStatus::True
    );
    let node = cloud.find::<Node>("press-1").await;
    assert_eq!(node.status.transport, Some(Transport::Websocket));
    assert_eq!(node.status.models[0].active_version.as_deref(), Some("1"));
    let site = cloud.find::<Site>("leipzig").await;
    assert_eq!((site.status.nodes, site.status.connected), (1, 1));
}

#[tokio::test]
async fn a_round_without_changes_writes_nothing() {
    let cloud = Cloud::new().await;
    cloud.deploy("1").await;
    cloud.planner.round().await.unwrap();
    let session = cloud.connect(None, 0).await;
    cloud.report(&session, link::SlotState::Warmed).await;
    cloud.planner.round().await.unwrap();
    let version = *cloud.store.versions().borrow();
    let events = cloud.store.events(TENANT, 0, None, 100).await.unwrap();
    cloud.planner.round().await.unwrap();
    assert_eq!(*cloud.store.versions().borrow(), version);
    let after = cloud.store.events(TENANT, 0, None, 100).await.unwrap();
    assert_eq!(after.len(), events.len());
    assert_eq!(cloud.desired().await.0.generation, Generation::new(1));
}

#[tokio::test]
async fn a_change_gets_the_next_generation_and_a_deletion_removes_the_model() {
    let cloud = Cloud::new().await;
    cloud.deploy("1").await;
    cloud.planner.round().await.unwrap();
    cloud.deploy("2").await;
    cloud.planner.round().await.unwrap();
    let (desired, document) = cloud.desired().await;
    assert_eq!(desired.generation, Generation::new(2));
    assert_eq!(document.models[0].version, "2");
    let first = cloud.find::<Rollout>("d-1").await;
    assert_eq!(first.status.phase, RolloutPhase::Superseded);
    let mut write = cloud.store.write().await.unwrap();
    write.remove::<ModelDeployment>(TENANT, "d").await.unwrap();
    write.commit().await.unwrap();
    cloud.planner.round().await.unwrap();
    let (desired, document) = cloud.desired().await;
    assert_eq!(desired.generation, Generation::new(3));
    assert!(document.models.is_empty());
    let gone = cloud.store.find::<Rollout>(TENANT, "d-2").await.unwrap();
    assert!(gone.is_none());
}

#[tokio::test]
async fn a_node_ahead_of_a_restored_cloud_is_not_overwritten() {
    let cloud = Cloud::new().await;
    cloud.deploy("1").await;
    cloud.planner.round().await.unwrap();
    let ahead = (Generation::new(9), Digest::of(b"from another life"));
    cloud.connect(Some(ahead), 0).await;
    cloud.deploy("2").await;
    cloud.planner.round().await.unwrap();
    assert_eq!(cloud.desired().await.0.generation, Generation::new(1));
    let mut node = cloud.find::<Node>("press-1").await;
    let mut conditions = node.status.conditions.iter();
    assert!(conditions.any(|condition| condition.kind == "AheadOfCloud"));
    let reassert = fleet_core::desired::REASSERT_ANNOTATION.to_owned();
    node.metadata.annotations.insert(reassert, "9".to_owned());
    let mut write = cloud.store.write().await.unwrap();
    write.replace(TENANT, node).await.unwrap();
    write.commit().await.unwrap();
    cloud.planner.round().await.unwrap();
    let (desired, document) = cloud.desired().await;
    assert_eq!(desired.generation, Generation::new(10));
    assert_eq!(document.models[0].version, "2");
}

#[tokio::test]
async fn a_restored_cloud_plans_nothing_for_a_node_before_it_hears_of_it() {
    let cloud = Cloud::new().await;
    cloud.deploy("1").await;
    cloud.planner.round().await.unwrap();
    let life = millwright_proto::ids::Incarnation::from_bytes([7; 16]);
    cloud.store.begin_new_life(life).await.unwrap();
    cloud.deploy("2").await;
    cloud.planner.round().await.unwrap();
    assert_eq!(cloud.desired().await.0.generation, Generation::new(1));
    cloud.connect(None, 0).await;
    cloud.planner.round().await.unwrap();
    assert_eq!(cloud.desired().await.0.generation, Generation::new(2));
}

#[tokio::test]
async fn a_version_deleted_under_a_node_stays_in_its_document() {
    let cloud = Cloud::new().await;
    cloud.deploy("1").await;
    cloud.planner.round().await.unwrap();
    let before = cloud.desired().await.1.models.remove(0);
    let mut write = cloud.store.write().await.unwrap();
    write.remove::<ModelVersion>(TENANT, "m@1").await.unwrap();
    write.commit().await.unwrap();
    let planner = Planner {
        summary_window_ms: 5_000,
        ..cloud.planner.clone()
    };
    planner.round().await.unwrap();
    let (desired, document) = cloud.desired().await;
    assert_eq!(desired.generation, Generation::new(2));
    assert_eq!(document.summary_window_ms, 5_000);
    assert_eq!(document.models, [before]);
}
