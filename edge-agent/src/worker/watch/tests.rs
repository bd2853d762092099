use super::*;

const MIB: u64 = 1024 * 1024;

fn busy(ticks: u64) -> Sample {
    Sample {
        state: b'R',
        ticks,
        memory_bytes: 10 * MIB,
        asked_bytes: 20 * MIB,
        requests: 1,
        answered: 0,
    }
}

fn looks_until_ended(
    dog: &mut Watchdog,
    mut sample: impl FnMut(u32) -> Sample,
) -> (u32, WorkerEnd) {
    for look in 1..100 {
        if let Verdict::End(end) = dog.judge(sample(look)) {
            return (look, end);
        }
    }
    panic!("it is never ended");
}

#[test]
fn a_stopped_process_is_ended_with_and_without_requests() {
    let mut dog = Watchdog::new(Limits::default(), Computes::OnDevice);
    let stopped = Sample {
        state: b'T',
        requests: 0,
        ..busy(7)
    };
    assert_eq!(dog.judge(stopped), Verdict::Fine);
    assert_eq!(dog.judge(busy(8)), Verdict::Fine, "it went on");
    let (looks, end) = looks_until_ended(&mut dog, |_| stopped);
    assert_eq!((looks, end), (STOPPED_LOOKS_MAX, WorkerEnd::Stopped));
}

#[test]
fn a_request_that_waits_while_nothing_is_computed_means_a_hung_process() {
    let waiting = Sample {
        state: b'S',
        ..busy(7)
    };
    let mut dog = Watchdog::new(Limits::default(), Computes::OnProcessor);
    let (looks, end) = looks_until_ended(&mut dog, |_| waiting);
    assert_eq!((looks, end), (IDLE_LOOKS_MAX + 1, WorkerEnd::Hung));
    let lively = |sample: fn(u32) -> Sample, computes| {
        let mut dog = Watchdog::new(Limits::default(), computes);
        (1..100).all(|look| dog.judge(sample(look)) == Verdict::Fine)
    };
    let computing = |look: u32| Sample {
        state: b'S',
        ..busy(look.into())
    };
    let answering = |look: u32| Sample {
        state: b'S',
        answered: look.into(),
        ..busy(7)
    };
    let idle = |_| Sample {
        state: b'S',
        requests: 0,
        ..busy(7)
    };
    let reading = |_| Sample {
        state: b'D',
        ..busy(7)
    };
    let starved = |_| busy(7);
    for sample in [computing, answering, idle, reading, starved] {
        assert!(lively(sample, Computes::OnProcessor), "{:?}", sample(1));
    }
    assert!(lively(
        |_| Sample {
            state: b'S',
            ..busy(7)
        },
        Computes::OnDevice
    ));
}

#[test]
fn growth_is_told_before_the_limit_and_ended_above_it() {
    let limits = Limits {
        declared_bytes: Some(100 * MIB),
        node_bytes: Some(90 * MIB),
    };
    let judged = |looks: &[(u64, u64)]| {
        let mut dog = Watchdog::new(limits, Computes::OnProcessor);
        let looks = looks.iter().map(|(memory, asked)| Sample {
            memory_bytes: memory * MIB,
            asked_bytes: asked * MIB,
            ..busy(*memory)
        });
        looks.map(|look| dog.judge(look)).last().unwrap()
    };
    let worn = |mib: u64, limit: u64| Worn {
        bytes: mib * MIB,
        limit_bytes: limit * MIB,
    };
    assert_eq!(judged(&[(10, 20), (10, 89)]), Verdict::Fine);
    assert_eq!(judged(&[(10, 20), (10, 91)]), Verdict::Worn(worn(91, 100)));
    assert_eq!(judged(&[(10, 20), (81, 82)]), Verdict::Worn(worn(81, 90)));
    assert_eq!(
        judged(&[(85, 97), (85, 97)]),
        Verdict::Fine,
        "tight, and not growing"
    );
    let end = judged(&[(10, 20), (91, 95)]);
    assert!(matches!(end, Verdict::Worn(_) | Verdict::End(_)), "{end:?}");
    let end = judged(&[(10, 20), (101, 20)]);
    assert_eq!(end, Verdict::End(WorkerEnd::TooLarge(worn(101, 100))));
}

#[test]
fn the_kernel_is_read_whatever_the_process_calls_itself() {
    let stat = "42 (edge) R (x) S 1 42 42 0 -1 4194560 9 8 7 6 150 50 1 1 20 0 2";
    assert_eq!(of_stat(stat), Some((b'S', 200)));
    assert_eq!(of_stat("nothing"), None);
    let status = "VmData:\t 70 kB\nRssAnon:\t  12 kB\nRssFile:\t 99 kB\nVmSwap:\t 8 kB\n";
    assert_eq!(of_status(status), (20 * 1024, 70 * 1024));
    let own = look(std::process::id()).unwrap();
    assert!(own.asked_bytes >= own.memory_bytes / 2 && own.memory_bytes > 100_000);
}
