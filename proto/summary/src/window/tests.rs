use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{Histogram, gauge, wire};

/// The bytes of [`sample`] as the first version wrote them. They never change; a new form adds a file.
const GOLDEN: &str = include_str!("../../../golden/v1/window.hex");

/// The bytes of [`whole_sample`] with packed counts.
const GOLDEN_PACKED: &str = include_str!("../../../golden/v1/window-packed.hex");

fn label(model: &str, version: &str) -> ModelLabel {
    ModelLabel {
        model: model.to_owned(),
        version: version.to_owned(),
    }
}

fn time(start_ms: u64) -> WindowTime {
    WindowTime {
        boot: [7; 16],
        monotonic_start_ms: start_ms,
        length_ms: 60_000,
        coverage_ms: 60_000,
        wall_start_ms: 1_790_000_000_000 + start_ms,
        clock: ClockQuality::Synchronized,
        windows: 1,
        interrupted: 0,
    }
}

/// Two models, all gauges, a link: what a node measures in a minute.
fn sample() -> Window {
    let mut window = Window::new(time(120_000));
    let mut detector = ModelStats {
        requests: 600,
        errors: BTreeMap::from([(ErrorClass::Shape, 2), (ErrorClass::Timeout, 1)]),
        ..ModelStats::default()
    };
    for i in 0..597_u32 {
        // Products of small integers: spread like real values, the same bits on every machine.
        let spread = f64::from(i * 37 % 101) * f64::from(i * 53 % 89);
        detector.latency_ms.insert(6.0 + spread / 1024.0);
        detector.confidence.insert(1.0 - spread / 16_384.0);
    }
    let mut anomaly = ModelStats {
        requests: 1_500,
        ..ModelStats::default()
    };
    for i in 0..1_500_u32 {
        anomaly
            .latency_ms
            .insert(0.25 + f64::from(i * 31 % 257) / 2048.0);
        anomaly
            .confidence
            .insert(f64::from(i * 29 % 311) / 1024.0 - 0.125);
    }
    window
        .models
        .insert(label("face-detector", "1.0.0"), detector);
    window
        .models
        .insert(label("shuttle-anomaly", "2.0.0"), anomaly);
    let gauges = [
        (gauge::CPU_PERCENT, 31.5),
        (gauge::MEMORY_USED_BYTES, 201_326_592.0),
        (gauge::MEMORY_TOTAL_BYTES, 536_870_912.0),
        (gauge::DISK_USED_BYTES, 3_221_225_472.0),
        (gauge::DISK_TOTAL_BYTES, 15_032_385_536.0),
        (gauge::TEMPERATURE_CELSIUS, 48.25),
        (gauge::AGENT_MEMORY_BYTES, 20_971_520.0),
    ];
    for (name, value) in gauges {
        let gauge = window.node.entry(name.to_owned()).or_default();
        gauge.observe(value);
        gauge.observe(value * 1.0625);
    }
    window.link = LinkStats {
        connected_ms: 60_000,
        quic_ms: 60_000,
        websocket_ms: 0,
        reconnects: 0,
        sent_bytes: 1_200,
        received_bytes: 90,
    };
    window
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |d: u8| char::from(d).to_digit(16).unwrap() as u8;
    digits
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// [`sample`] with something in every field that came later.
fn whole_sample() -> Window {
    let mut window = sample();
    let stats = window
        .models
        .get_mut(&label("face-detector", "1.0.0"))
        .unwrap();
    for i in 0..597_u32 {
        let spread = f64::from(i * 37 % 101) / 512.0;
        stats.phases.queue_ms.insert(spread / 16.0);
        stats.phases.preprocess_ms.insert(1.5 + spread);
        stats.phases.infer_ms.insert(4.0 + spread);
        stats.phases.postprocess_ms.insert(0.5);
        stats.classes.add(i % 3 * 40);
        stats.image.brightness.observe(f64::from(i % 90));
        stats.image.contrast.observe(31.5);
        stats.image.sharpness.observe(f64::from(i * i % 700));
    }
    stats.classes.add_other(7);
    stats.ready_ms = 59_000;
    stats.baseline = BaselineCounts {
        profile: 0x0102_0304_0506_0708,
        rows: vec![
            Histogram {
                counts: vec![60, 61, 58, 0, 400],
                missing: 2,
                outside: 5,
            },
            Histogram::new(3),
        ],
    };
    window
}

#[test]
fn the_first_form_is_read() {
    assert_eq!(Window::decode(&unhex(GOLDEN)), Ok(sample()));
}

#[test]
fn the_packed_form_is_read_and_written_unchanged() {
    let bytes = unhex(GOLDEN_PACKED);
    assert_eq!(hex(&whole_sample().encode()), hex(&bytes));
    assert_eq!(Window::decode(&bytes), Ok(whole_sample()));
}

#[test]
fn a_minute_of_two_models_fits_one_network_packet() {
    // 1,200 bytes is what QUIC may always put into one datagram (RFC 9000, section 14).
    let length = whole_sample().encode().len();
    assert!(length <= 1_200, "{length} bytes");
}

#[test]
fn fields_and_values_of_newer_programs_are_tolerated() {
    let mut wire = wire::Window::decode(sample().encode().as_slice()).unwrap();
    wire.clock = 99;
    wire.models[0].errors.push(wire::ErrorCount {
        class: 99,
        count: 4,
    });
    wire.gauges.push(wire::Gauge {
        known: 99,
        count: 1,
        ..wire::Gauge::default()
    });
    let mut bytes = wire.encode_to_vec();
    // Field 200 as a number, field 201 as bytes.
    bytes.extend([0xc0, 0x0c, 0x2a, 0xca, 0x0c, 0x02, 0x01, 0x02]);

    let window = Window::decode(&bytes).unwrap();
    assert_eq!(window.time.clock, ClockQuality::Unsynchronized);
    let errors = &window.models[&label("face-detector", "1.0.0")].errors;
    assert_eq!(errors[&ErrorClass::Unknown], 4);
    assert_eq!(window.node, sample().node);
}

#[test]
fn windows_that_nobody_can_have_measured_are_refused() {
    let good = wire::Window::decode(whole_sample().encode().as_slice()).unwrap();
    let refused = |change: &dyn Fn(&mut wire::Window)| {
        let mut wire = good.clone();
        change(&mut wire);
        Window::decode(&wire.encode_to_vec()).unwrap_err()
    };
    assert_eq!(refused(&|w| w.boot.truncate(3)), DecodeError::Boot(3));
    assert_eq!(
        refused(&|w| w.length_ms = u64::MAX),
        DecodeError::Count(u64::MAX)
    );
    let twice = refused(&|w| w.models.push(w.models[0].clone()));
    assert_eq!(twice, DecodeError::Name { what: "model" });
    let long = refused(&|w| w.models[0].version = "x".repeat(65));
    assert_eq!(long, DecodeError::Name { what: "model" });
    let nameless = refused(&|w| w.gauges[0].known = 0);
    assert_eq!(nameless, DecodeError::Name { what: "gauge" });
    let broken = refused(&|w| w.models[0].baseline.as_mut().unwrap().packed.clear());
    assert_eq!(broken, DecodeError::Counts("baseline"));
    let broken = refused(&|w| w.models[0].classes = vec![0xff; 9]);
    assert_eq!(broken, DecodeError::Counts("class"));
    let packed = refused(&|w| w.gauges[0].packed = vec![0xff; 3]);
    assert_eq!(packed, DecodeError::Gauge);
    let sketch = refused(&|w| w.models[0].latency_ms.as_mut().unwrap().packed[0] = 99);
    assert!(sketch.to_string().contains("latency"), "{sketch}");

    let good = wire::Window::decode(unhex(GOLDEN).as_slice()).unwrap();
    let refused = |change: &dyn Fn(&mut wire::Window)| {
        let mut wire = good.clone();
        change(&mut wire);
        Window::decode(&wire.encode_to_vec()).unwrap_err()
    };
    assert_eq!(refused(&|w| w.gauges[0].count = 0), DecodeError::Gauge);
    assert_eq!(refused(&|w| w.gauges[0].max = f64::NAN), DecodeError::Gauge);
    let sketch = refused(&|w| w.models[0].latency_ms.as_mut().unwrap().max = -1.0);
    assert!(
        matches!(
            sketch,
            DecodeError::Sketch {
                which: "latency",
                ..
            }
        ),
        "{sketch}"
    );
    assert_eq!(
        Window::decode(&vec![0; WINDOW_BYTES_MAX + 1]),
        Err(DecodeError::TooLong(WINDOW_BYTES_MAX + 1))
    );
}

#[test]
fn merging_spans_the_time_and_adds_the_rest() {
    let (mut early, mut late) = (sample(), sample());
    late.time = time(240_000);
    late.time.coverage_ms = 30_000;
    late.time.clock = ClockQuality::Floor;
    late.time.interrupted = 1;
    early.merge(&late).unwrap();
    assert_eq!(early.time.monotonic_start_ms, 120_000);
    assert_eq!(early.time.length_ms, 180_000);
    assert_eq!(early.time.coverage_ms, 90_000);
    assert_eq!(early.time.clock, ClockQuality::Floor);
    assert_eq!((early.time.windows, early.time.interrupted), (2, 1));
    let stats = &early.models[&label("face-detector", "1.0.0")];
    assert_eq!(
        (stats.requests, stats.failed(), stats.latency_ms.count()),
        (1_200, 6, 1_194)
    );
    assert_eq!(early.link.sent_bytes, 2_400);
}

#[test]
fn windows_of_different_boots_do_not_become_one_but_add_up() {
    let (first, mut second) = (sample(), sample());
    second.time.boot = [8; 16];
    let mut merged = first.clone();
    assert_eq!(merged.merge(&second), Err(DifferentBoot));
    assert_eq!(merged, first);

    let mut total = Merged::default();
    total.add(&first);
    total.add(&second);
    assert_eq!((total.windows, total.coverage_ms), (2, 120_000));
    assert_eq!(
        total.models[&label("shuttle-anomaly", "2.0.0")].requests,
        3_000
    );
    assert_eq!(total.last_ms, Some(first.time.wall_start_ms + 60_000));
}

fn any_window() -> impl Strategy<Value = Window> {
    let model = (
        0..3_u8,
        0..50_u64,
        prop::collection::vec(-1e6..1e6_f64, 0..20),
    );
    let time_of = (
        0..10_u64,
        0..90_000_u64,
        1..5_u64,
        0..3_u64,
        0..3_usize,
        0..500_u64,
    )
        .prop_map(
            |(start, coverage_ms, windows, interrupted, clock, drift_ms)| {
                let mut of = time(start * 60_000);
                of.length_ms = coverage_ms.max(60_000);
                of.coverage_ms = coverage_ms;
                of.wall_start_ms += drift_ms;
                of.windows = windows;
                of.interrupted = interrupted;
                of.clock = [
                    ClockQuality::Synchronized,
                    ClockQuality::Unsynchronized,
                    ClockQuality::Floor,
                ][clock];
                of
            },
        );
    (time_of, prop::collection::vec(model, 0..4)).prop_map(|(time, models)| {
        let mut window = Window::new(time);
        for (name, requests, values) in models {
            let stats = window
                .models
                .entry(label(&format!("m{name}"), "1"))
                .or_default();
            stats.requests += requests;
            stats
                .errors
                .insert(ErrorClass::ALL[usize::from(name)], requests / 2);
            stats.ready_ms = requests;
            stats.baseline.profile = stats.baseline.profile.max(u64::from(name));
            for value in values {
                stats.latency_ms.insert(value.abs());
                stats.confidence.insert(value);
                stats.phases.queue_ms.insert(value.abs() / 7.0);
                stats.phases.infer_ms.insert(value.abs() / 2.0);
                stats.classes.add(value.abs() as u32 % 2_000);
                stats.image.contrast.observe(value);
                if stats.baseline.profile > 0 {
                    let rows = 1 + requests as usize % 2;
                    stats.baseline.rows.resize(rows, Histogram::new(4));
                    stats.baseline.rows[0].add(value.abs() as usize % 4);
                    stats.baseline.rows[rows - 1].outside += 1;
                }
                window
                    .node
                    .entry("custom".to_owned())
                    .or_default()
                    .observe(value);
            }
        }
        window
    })
}

proptest! {
    #[test]
    fn any_window_round_trips(window in any_window()) {
        let decoded = Window::decode(&window.encode());
        prop_assert_eq!(decoded, Ok(window));
    }

    #[test]
    fn merging_windows_in_any_order_and_grouping_gives_the_same_bytes(
        a in any_window(), b in any_window(), c in any_window(),
    ) {
        let mut left = a.clone();
        left.merge(&b).unwrap();
        left.merge(&c).unwrap();
        let mut right = c.clone();
        right.merge(&b).unwrap();
        let mut grouped = a.clone();
        grouped.merge(&right).unwrap();
        prop_assert_eq!(&left, &grouped);
        prop_assert_eq!(left.encode(), grouped.encode());

        let (mut forward, mut backward, mut half) =
            (Merged::default(), Merged::default(), Merged::default());
        [&a, &b, &c].into_iter().for_each(|window| forward.add(window));
        [&c, &b].into_iter().for_each(|window| half.add(window));
        backward.merge(&half);
        backward.add(&a);
        prop_assert_eq!(&forward, &backward);

        // What a cloud adds up is the same whether the node merged before or not.
        let mut from_merged = Merged::default();
        from_merged.add(&left);
        prop_assert_eq!(from_merged.windows, forward.windows);
        prop_assert_eq!(from_merged.interrupted, forward.interrupted);
        prop_assert_eq!(from_merged.coverage_ms, forward.coverage_ms);
        prop_assert_eq!(from_merged.first_ms, forward.first_ms);
        prop_assert_eq!(&from_merged.models, &forward.models);
        prop_assert_eq!(&from_merged.node, &forward.node);
    }

    #[test]
    fn hostile_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Window::decode(&bytes);
    }

    #[test]
    fn a_flipped_bit_or_a_cut_never_panics(
        at in any::<prop::sample::Index>(), bit in 0..8_u8, cut in any::<prop::sample::Index>(), first: bool,
    ) {
        let mut bytes = if first { unhex(GOLDEN) } else { whole_sample().encode() };
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // What survives as a window must merge and read like any other.
        if let Ok(mut window) = Window::decode(&bytes) {
            let _ = window.merge(&sample());
            for stats in window.models.values() {
                let latency = &stats.latency_ms;
                prop_assert_eq!(latency.quantile(0.5).is_some(), latency.count() > 0);
            }
            prop_assert_eq!(Window::decode(&window.encode()), Ok(window));
        }
        bytes.truncate(cut.index(bytes.len()));
        let _ = Window::decode(&bytes);
    }
}
