use std::future::pending;

use proptest::prelude::*;

use super::*;

fn load(hellos_waiting: usize, hellos_per_second: u32) -> Load {
    Load {
        hellos_waiting,
        hellos_per_second,
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_handshakes_give_way_to_those_who_wait() {
    let door = Door::new(WEBSOCKET_WAIT_MAX);
    let hang = || {
        let door = door.clone();
        tokio::spawn(async move { door.pass(pending::<()>()).await })
    };
    let hanging: Vec<_> = (0..HANDSHAKES_MAX).map(|_| hang()).collect();
    while door.inside.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    assert_eq!(door.pass(async { 7 }).await, Ok(7));
    assert!(began.elapsed() <= GIVES_WAY_AFTER);
    for handshake in hanging {
        assert_eq!(handshake.await.unwrap(), Err(Unfinished::Slow));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_handshake_has_its_full_time_while_nobody_waits() {
    let door = Door::new(WEBSOCKET_WAIT_MAX);
    let slow = async {
        tokio::time::sleep(HANDSHAKE_WITHIN - Duration::from_secs(1)).await;
        7
    };
    assert_eq!(door.pass(slow).await, Ok(7));
    let began = Instant::now();
    assert_eq!(door.pass(pending::<()>()).await, Err(Unfinished::Slow));
    assert!(began.elapsed() < HANDSHAKE_WITHIN + GIVES_WAY_AFTER);
    assert_eq!(door.inside.available_permits(), HANDSHAKES_MAX);
}

#[test]
fn a_node_is_sent_away_only_when_its_hello_would_wait_too_long() {
    assert_eq!(come_back_ms(load(1_500, 1_000), 0), None);
    assert_eq!(come_back_ms(load(1_502, 1_000), 0), Some(COME_BACK_MS_MIN));
    assert_eq!(come_back_ms(load(10_000, 1_000), u64::MAX), Some(20_999));
    assert!(come_back_ms(load(1, 0), 0).is_none());
}

proptest! {
    #[test]
    fn those_sent_away_come_back_within_the_window(nodes in 0_usize..1_000_000, random: u64) {
        let ms = goodbye_ms(nodes, random);
        prop_assert!(ms >= COME_BACK_MS_MIN);
        prop_assert!(u64::from(ms) <= u64::from(COME_BACK_MS_MIN) + nodes as u64);
    }
}
