//! P5: our quantile sketch beside the crate `sketches-ddsketch` and, for scale, PyPI `ddsketch`: inserting, encoding,
//! merging, all at 1 % relative error and on the same numbers.
//!
//! The numbers are latencies as they occur (log-normal around 8 ms), made by integer arithmetic from a fixed seed. Encoded is
//! one window: 1,000 of them. Merging adds 100,000 sketches of 1,000 numbers each, 500 different ones in turn, so that
//! memory is not what is measured.

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use millwright_summary::Sketch;
use sketches_ddsketch::{Config, DDSketch};

use crate::peers;
use crate::results::Results;

/// Long enough that the clock does not matter, and more than any cache of branches remembers.
const INSERTS: usize = 1_000_000;

/// Numbers of one window.
const WINDOW: usize = 1_000;

/// Different sketches that are merged.
const DIFFERENT: usize = 500;

const MERGES: usize = 100_000;

pub(crate) fn run(repeats: usize) -> Result<Results> {
    let mut results = Results::new(
        "sketch",
        "P5: insert <= 5 ns; encoded <= 0.25x the serde form of sketches-ddsketch; 100,000 merges <= 100 ms",
    );
    let values = latencies(INSERTS);
    let windows: Vec<&[f64]> = values.chunks(WINDOW).take(DIFFERENT).collect();
    let ours: Vec<Sketch> = windows.iter().map(|window| ours_of(window)).collect();
    let theirs: Vec<DDSketch> = windows.iter().map(|window| theirs_of(window)).collect();
    for repeat in 0..repeats {
        println!("sketch: repeat {} of {repeats}", repeat + 1);
        let nanoseconds = |began: Instant| began.elapsed().as_nanos() as f64 / INSERTS as f64;
        let began = Instant::now();
        black_box(ours_of(black_box(&values)));
        results.add("ours: insert", "ns", nanoseconds(began));
        let began = Instant::now();
        black_box(theirs_of(black_box(&values)));
        results.add("sketches-ddsketch: insert", "ns", nanoseconds(began));
        merge(&mut results, &ours, &theirs)?;
        encode(
            &mut results,
            &ours[repeat % DIFFERENT],
            &theirs[repeat % DIFFERENT],
        )?;
        accuracy(&mut results, windows[repeat % DIFFERENT]);
        python(&mut results)?;
    }
    Ok(results)
}

fn ours_of(values: &[f64]) -> Sketch {
    let mut sketch = Sketch::new();
    for value in values {
        sketch.insert(*value);
    }
    sketch
}

fn theirs_of(values: &[f64]) -> DDSketch {
    let mut sketch = DDSketch::new(Config::defaults());
    for value in values {
        sketch.add(*value);
    }
    sketch
}

fn merge(results: &mut Results, ours: &[Sketch], theirs: &[DDSketch]) -> Result<()> {
    let milliseconds = |began: Instant| began.elapsed().as_secs_f64() * 1e3;
    let began = Instant::now();
    let mut merged = Sketch::new();
    for sketch in ours.iter().cycle().take(MERGES) {
        merged.merge(black_box(sketch));
    }
    results.add("ours: 100,000 merges", "ms", milliseconds(began));
    anyhow::ensure!(
        merged.count() == (MERGES * WINDOW) as u64,
        "a count is missing"
    );

    let began = Instant::now();
    let mut merged = DDSketch::new(Config::defaults());
    for sketch in theirs.iter().cycle().take(MERGES) {
        merged.merge(black_box(sketch)).context("merging theirs")?;
    }
    results.add(
        "sketches-ddsketch: 100,000 merges",
        "ms",
        milliseconds(began),
    );
    anyhow::ensure!(
        merged.count() == MERGES * WINDOW,
        "a count of theirs is missing"
    );
    Ok(())
}

fn encode(results: &mut Results, ours: &Sketch, theirs: &DDSketch) -> Result<()> {
    let bytes = ours.to_bytes().len() as f64;
    let json = serde_json::to_vec(theirs).context("encoding theirs")?.len() as f64;
    let postcard = postcard::to_allocvec(theirs)
        .context("encoding theirs")?
        .len() as f64;
    results.add("ours: encoded, 1,000 numbers", "bytes", bytes);
    results.add("sketches-ddsketch: serde as JSON", "bytes", json);
    results.add(
        "sketches-ddsketch: serde as postcard (varints)",
        "bytes",
        postcard,
    );
    results.add("ratio: ours / serde as JSON", "x", bytes / json);
    results.add(
        "ratio: ours / serde as postcard (varints)",
        "x",
        bytes / postcard,
    );
    let began = Instant::now();
    for _ in 0..1_000 {
        black_box(black_box(ours).to_bytes());
    }
    results.add("ours: encoding", "us", began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

/// The largest relative error of ours over all percentiles.
fn accuracy(results: &mut Results, values: &[f64]) {
    let sketch = ours_of(values);
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let error = (0..=100).map(|percent| {
        let q = f64::from(percent) / 100.0;
        let exact = sorted[(q * (sorted.len() - 1) as f64) as usize];
        (sketch.quantile(q).unwrap_or(f64::NAN) / exact - 1.0).abs() * 100.0
    });
    results.add(
        "ours: largest error of a percentile",
        "%",
        error.fold(0.0, f64::max),
    );
}

/// The library of the authors' company for Python; it prints its own two figures.
fn python(results: &mut Results) -> Result<()> {
    let output = Command::new(peers::python()?)
        .arg(peers::file("ddsketch_speed.py"))
        .output()
        .context("starting ddsketch_speed.py")?;
    let text = String::from_utf8(output.stdout).context("reading what ddsketch_speed.py says")?;
    let figures: Vec<f64> = text
        .split_whitespace()
        .filter_map(|t| t.parse().ok())
        .collect();
    let [insert_ns, merge_ms, bytes] = figures[..] else {
        anyhow::bail!(
            "ddsketch_speed.py: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    results.add("PyPI ddsketch: insert", "ns", insert_ns);
    results.add("PyPI ddsketch: 100,000 merges (from 1,000)", "ms", merge_ms);
    results.add("PyPI ddsketch: encoded as protobuf", "bytes", bytes);
    Ok(())
}

/// Log-normal around 8: the exponential of a sum of twelve even numbers.
fn latencies(count: usize) -> Vec<f64> {
    let mut state = 1_u64;
    let mut even = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1_u64 << 24) as f64
    };
    let mut normal = move || (0..12).map(|_| even()).sum::<f64>() - 6.0;
    (0..count).map(|_| 8.0 * (0.3 * normal()).exp()).collect()
}
