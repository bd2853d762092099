use millwright_proto::ids::Lineage;
use millwright_proto::link::HardExampleRefused;

use super::*;

const NODE: NodeUid = NodeUid::from_bytes([7; 16]);

fn session(term: u64) -> SessionKey {
    SessionKey {
        uid: NODE,
        term,
        lineage: Lineage::from_bytes([1; 16]),
    }
}

fn desk(asks: &Arc<Asks>, term: u64) -> Desk {
    asks.open(&session(term), Support::Answers)
}

fn empty(id: u64) -> HardExampleAnswer {
    HardExampleAnswer {
        id,
        what: Some(hard_example_answer::What::Entries(
            HardExampleEntries::default(),
        )),
    }
}

#[tokio::test]
async fn an_ask_reaches_the_session_and_its_answer_whoever_asked() {
    let asks = Arc::new(Asks::default());
    let mut desk = desk(&asks, 1);
    let errand = asks.begin(NODE).unwrap();
    let node = async {
        let ask = desk.next().await;
        // One to somebody else's ask changes nothing.
        desk.answered(empty(ask.id + 1));
        desk.answered(empty(ask.id));
    };
    let (listed, ()) = tokio::join!(errand.list("", ("", "")), node);
    assert_eq!(listed.unwrap(), HardExampleEntries::default());
}

#[tokio::test]
async fn a_node_that_is_away_too_old_or_taken_is_not_asked() {
    let asks = Arc::new(Asks::default());
    assert!(matches!(asks.begin(NODE), Err(AskError::Offline)));
    let old = asks.open(&session(1), Support::of(&["pipelines".to_owned()]));
    assert!(matches!(asks.begin(NODE), Err(AskError::TooOld)));
    drop(old);
    assert!(matches!(asks.begin(NODE), Err(AskError::Offline)));
    let _desk = desk(&asks, 2);
    let errand = asks.begin(NODE).unwrap();
    assert!(matches!(asks.begin(NODE), Err(AskError::Busy)));
    drop(errand);
    asks.begin(NODE).unwrap();
}

#[tokio::test]
async fn a_fleet_has_a_bounded_number_of_errands() {
    let asks = Arc::new(Asks::default());
    let mut held = Vec::new();
    for number in 0..=ERRANDS_MAX {
        let uid = NodeUid::from_bytes([u8::try_from(number).unwrap(); 16]);
        let key = SessionKey { uid, ..session(1) };
        let desk = asks.open(&key, Support::Answers);
        let errand = asks.begin(uid);
        assert_eq!(errand.is_ok(), number < ERRANDS_MAX, "{number}");
        held.push((desk, errand));
    }
}

#[tokio::test]
async fn whoever_waits_hears_at_once_that_the_session_ended() {
    let asks = Arc::new(Asks::default());
    let mut desk = desk(&asks, 1);
    let errand = asks.begin(NODE).unwrap();
    let node = async move { drop((desk.next().await, desk)) };
    let (listed, ()) = tokio::join!(errand.list("", ("", "")), node);
    assert!(matches!(listed, Err(AskError::Left)), "{listed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_is_asked_anew_once_nobody_waits_for_the_first_answer() {
    let asks = Arc::new(Asks::default());
    let mut desk = desk(&asks, 1);
    let errand = asks.begin(NODE).unwrap();
    let node = async {
        let first = desk.next().await;
        let second = desk.next().await;
        desk.answered(empty(first.id));
        desk.answered(empty(second.id));
    };
    let asker = async {
        let silent = errand.list("", ("", "")).await;
        assert!(matches!(silent, Err(AskError::Silent)), "{silent:?}");
        errand.list("", ("", "")).await
    };
    let (listed, ()) = tokio::join!(asker, node);
    listed.unwrap();
}

#[tokio::test]
async fn a_late_session_neither_takes_nor_gives_up_the_place_of_a_newer_one() {
    let asks = Arc::new(Asks::default());
    let mut newer = desk(&asks, 2);
    drop(desk(&asks, 1));
    let errand = asks.begin(NODE).unwrap();
    let node = async {
        let ask = newer.next().await;
        let refused = HardExampleRefused {
            reason: HardExampleRefusal::Denied.into(),
            message: "no".to_owned(),
        };
        newer.answered(HardExampleAnswer {
            id: ask.id,
            what: Some(hard_example_answer::What::Refused(refused)),
        });
    };
    let (listed, ()) = tokio::join!(errand.list("", ("", "")), node);
    let reason = HardExampleRefusal::Denied;
    assert!(matches!(listed, Err(AskError::Refused { reason: r, .. }) if r == reason));
}
