use proptest::prelude::*;

use super::*;

const PROBING: Probing = Probing {
    first_ms: 60_000,
    longest_ms: 1_800_000,
};

const RANDOM_MIN: u64 = 0;
const RANDOM_MAX: u64 = u64::MAX;

fn dial(transport: Transport) -> Step {
    let timeout_ms = match transport {
        Transport::Quic => QUIC_DIAL_MS,
        Transport::WebSocket => WEBSOCKET_DIAL_MS,
    };
    Step::Dial {
        transport,
        timeout_ms,
    }
}

#[test]
fn quic_comes_first_and_websocket_right_after_it_fails() {
    let mut dialler = Dialler::new(Routes::Both, PROBING, 0);
    assert_eq!(dialler.next(0), dial(Transport::Quic));
    dialler.failed(Transport::Quic, 3_000, RANDOM_MAX);
    assert_eq!(dialler.next(3_000), dial(Transport::WebSocket));
    dialler.failed(Transport::WebSocket, 4_000, RANDOM_MAX);
    assert_eq!(
        dialler.next(4_000),
        Step::Wait {
            until_ms: 4_000 + 3 * BACKOFF_MS_MIN
        }
    );
}

#[test]
fn after_quic_failed_websocket_is_dialled_first_until_the_distrust_ends() {
    let mut dialler = Dialler::new(Routes::Both, PROBING, 0);
    dialler.failed(Transport::Quic, 0, RANDOM_MIN);
    dialler.welcomed(Transport::WebSocket, 100);
    dialler.ended(Ended::Lost, 20_000, RANDOM_MIN);
    assert_eq!(
        dialler.next(20_000 + BACKOFF_MS_MIN),
        dial(Transport::WebSocket)
    );
    dialler.welcomed(Transport::WebSocket, 21_000);
    let late = QUIC_DISTRUST_MS + 30_000;
    dialler.ended(Ended::Lost, late, RANDOM_MIN);
    assert_eq!(dialler.next(late + BACKOFF_MS_MIN), dial(Transport::Quic));
}

#[test]
fn a_quic_that_falls_silent_after_its_handshake_gives_way_to_websocket() {
    let mut dialler = Dialler::new(Routes::Both, PROBING, 0);
    dialler.welcomed(Transport::Quic, 0);
    dialler.ended(Ended::Silent, 25_000, RANDOM_MAX);
    assert_eq!(
        dialler.next(25_000 + SWITCH_MS_MAX),
        dial(Transport::WebSocket)
    );
    dialler.welcomed(Transport::WebSocket, 26_000);
    assert!(dialler.probe_at_ms().is_some());
}

#[test]
fn what_worked_on_this_network_is_dialled_first() {
    let mut dialler = Dialler::new(Routes::Both, PROBING, 5);
    dialler.entered_network(Some(Transport::WebSocket), 5);
    assert_eq!(dialler.next(5), dial(Transport::WebSocket));
    dialler.entered_network(Some(Transport::Quic), 6);
    assert_eq!(dialler.next(6), dial(Transport::Quic));
    dialler.entered_network(None, 7);
    assert_eq!(dialler.next(7), dial(Transport::Quic));
}

#[test]
fn quic_is_probed_on_websocket_ever_less_often_and_an_answer_switches() {
    let mut dialler = Dialler::new(Routes::Both, PROBING, 0);
    dialler.failed(Transport::Quic, 0, RANDOM_MIN);
    dialler.welcomed(Transport::WebSocket, 1_000);
    assert_eq!(dialler.probe_at_ms(), Some(1_000 + PROBING.first_ms));
    dialler.probe_silent(100_000, RANDOM_MIN);
    assert_eq!(dialler.probe_at_ms(), Some(100_000 + 2 * PROBING.first_ms));
    for _ in 0..10 {
        dialler.probe_silent(200_000, RANDOM_MIN);
    }
    assert_eq!(dialler.probe_at_ms(), Some(200_000 + PROBING.longest_ms));
    dialler.probe_answered();
    dialler.ended(Ended::Switching, 300_000, RANDOM_MAX);
    assert_eq!(dialler.next(300_000), dial(Transport::Quic));
    dialler.welcomed(Transport::Quic, 300_100);
    assert_eq!(dialler.probe_at_ms(), None);
}

#[test]
fn a_route_without_an_address_is_never_dialled() {
    for only in [Transport::Quic, Transport::WebSocket] {
        let mut dialler = Dialler::new(Routes::Only(only), PROBING, 0);
        assert_eq!(dialler.next(0), dial(only));
        dialler.failed(only, 0, RANDOM_MAX);
        assert_eq!(dialler.next(BACKOFF_MS_MAX), dial(only));
        dialler.welcomed(only, BACKOFF_MS_MAX);
        assert_eq!(dialler.probe_at_ms(), None);
    }
}

#[test]
fn back_off_grows_to_its_limit_and_a_proven_session_resets_it() {
    let mut dialler = Dialler::new(Routes::Only(Transport::WebSocket), PROBING, 0);
    let mut now = 0;
    for _ in 0..12 {
        dialler.failed(Transport::WebSocket, now, RANDOM_MAX);
        let Step::Wait { until_ms } = dialler.next(now) else {
            panic!("no wait after a failed round");
        };
        assert!(until_ms - now <= BACKOFF_MS_MAX);
        now = until_ms;
    }
    dialler.failed(Transport::WebSocket, now, RANDOM_MAX);
    assert_eq!(
        dialler.next(now),
        Step::Wait {
            until_ms: now + BACKOFF_MS_MAX
        }
    );
    dialler.welcomed(Transport::WebSocket, now);
    now += PROVEN_MS;
    dialler.ended(Ended::Lost, now, RANDOM_MAX);
    let until_ms = now + RETURN_MS_MAX;
    assert_eq!(dialler.next(now), Step::Wait { until_ms });
    dialler.failed(Transport::WebSocket, until_ms, RANDOM_MAX);
    assert_eq!(
        dialler.next(until_ms),
        Step::Wait {
            until_ms: until_ms + 3 * BACKOFF_MS_MIN
        }
    );
}

#[test]
fn a_cloud_that_welcomes_and_drops_at_once_is_not_hammered() {
    let mut dialler = Dialler::new(Routes::Only(Transport::Quic), PROBING, 0);
    let mut now = 0;
    for _ in 0..12 {
        dialler.welcomed(Transport::Quic, now);
        dialler.ended(Ended::Lost, now, RANDOM_MAX);
        let Step::Wait { until_ms } = dialler.next(now) else {
            panic!("no wait after a lost session");
        };
        now = until_ms;
    }
    dialler.ended(Ended::Lost, now, RANDOM_MAX);
    assert_eq!(
        dialler.next(now),
        Step::Wait {
            until_ms: now + BACKOFF_MS_MAX
        }
    );
}

#[test]
fn come_back_is_obeyed_within_bounds_and_refusals_are_rare() {
    for (how, expected) in [
        (Ended::ComeBack { after_ms: 7_000 }, 7_000),
        (Ended::ComeBack { after_ms: u64::MAX }, COME_BACK_MS_MAX),
        (Ended::Superseded, SUPERSEDED_MS),
        (Ended::Refused, REFUSED_MS),
    ] {
        let mut dialler = Dialler::new(Routes::Both, PROBING, 0);
        dialler.ended(how, 1_000, RANDOM_MIN);
        assert_eq!(
            dialler.next(1_000),
            Step::Wait {
                until_ms: 1_000 + expected
            }
        );
        dialler.ended(how, 1_000, RANDOM_MAX);
        assert_eq!(
            dialler.next(1_000),
            Step::Wait {
                until_ms: 1_000 + expected + expected / 4
            }
        );
    }
}

#[test]
fn a_cloud_that_is_away_altogether_is_no_reason_to_distrust_quic() {
    let mut dialler = Dialler::new(Routes::Both, PROBING, 0);
    dialler.welcomed(Transport::Quic, 0);
    dialler.ended(Ended::Silent, 60_000, RANDOM_MIN);
    dialler.failed(Transport::WebSocket, 60_000, RANDOM_MIN);
    dialler.failed(Transport::Quic, 63_000, RANDOM_MIN);
    let later = 63_000 + BACKOFF_MS_MAX;
    assert_eq!(dialler.next(later), dial(Transport::Quic));
}

#[test]
fn a_distrust_that_ran_out_is_renewed_when_quic_fails_again() {
    let mut dialler = Dialler::new(Routes::Both, PROBING, 0);
    dialler.entered_network(Some(Transport::WebSocket), 0);
    dialler.welcomed(Transport::WebSocket, 0);
    let late = QUIC_DISTRUST_MS + 1;
    dialler.ended(Ended::Lost, late, RANDOM_MIN);
    let late = late + RETURN_MS_MAX;
    assert_eq!(dialler.next(late), dial(Transport::Quic));
    dialler.failed(Transport::Quic, late, RANDOM_MIN);
    dialler.welcomed(Transport::WebSocket, late);
    dialler.ended(Ended::Lost, late, RANDOM_MIN);
    assert_eq!(
        dialler.next(late + RETURN_MS_MAX),
        dial(Transport::WebSocket)
    );
}

#[test]
fn a_quic_whose_probes_pass_and_whose_sessions_do_not_is_switched_to_ever_less_often() {
    let mut dialler = Dialler::new(Routes::Both, PROBING, 0);
    dialler.failed(Transport::Quic, 0, RANDOM_MIN);
    let (mut now, mut pause) = (0, PROBING.first_ms);
    for _ in 0..3 {
        dialler.welcomed(Transport::WebSocket, now);
        assert_eq!(dialler.probe_at_ms(), Some(now + pause));
        now += pause;
        dialler.probe_answered();
        dialler.ended(Ended::Switching, now, RANDOM_MIN);
        assert_eq!(dialler.next(now), dial(Transport::Quic));
        dialler.failed(Transport::Quic, now, RANDOM_MIN);
        assert_eq!(dialler.next(now), dial(Transport::WebSocket));
        pause *= 2;
    }
    // A session that lasts makes good for it.
    dialler.welcomed(Transport::WebSocket, now);
    dialler.probe_answered();
    dialler.ended(Ended::Switching, now, RANDOM_MIN);
    dialler.welcomed(Transport::Quic, now);
    now += PROVEN_MS;
    dialler.ended(Ended::Silent, now, RANDOM_MIN);
    dialler.welcomed(Transport::WebSocket, now);
    assert_eq!(dialler.probe_at_ms(), Some(now + PROBING.first_ms));
}

proptest! {
    #[test]
    fn rounds_keep_their_distance_and_a_path_fallen_silent_is_left_at_once(
        outcomes in proptest::collection::vec((0_u8..4, any::<u64>(), 0_u64..30_000), 1..60),
    ) {
        let mut dialler = Dialler::new(Routes::Both, PROBING, 0);
        let (mut now, mut failures) = (0, 0);
        for (outcome, random, lasted_ms) in outcomes {
            let transport = match dialler.next(now) {
                Step::Dial { transport, .. } => transport,
                Step::Wait { until_ms } => {
                    prop_assert!(until_ms - now <= BACKOFF_MS_MAX);
                    if failures == 2 {
                        prop_assert!(until_ms - now >= BACKOFF_MS_MIN);
                    }
                    failures = 0;
                    now = until_ms;
                    match dialler.next(now) {
                        Step::Dial { transport, .. } => transport,
                        Step::Wait { .. } => panic!("the wait is over"),
                    }
                }
            };
            if outcome == 0 {
                dialler.failed(transport, now, random);
                failures += 1;
                prop_assert!(failures <= 2, "three dials without a wait");
                continue;
            }
            failures = 0;
            dialler.welcomed(transport, now);
            now += lasted_ms;
            let how = if outcome == 1 { Ended::Silent } else { Ended::Lost };
            dialler.ended(how, now, random);
            if transport == Transport::Quic && how == Ended::Silent {
                prop_assert_eq!(dialler.next(now + SWITCH_MS_MAX), dial(Transport::WebSocket));
            }
        }
    }
}
