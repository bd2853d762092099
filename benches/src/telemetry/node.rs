//! The node that is watched: four models under load, in this process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use edge_agent::serving::models::ActiveModels;
use edge_agent::serving::repository::Repository;
use edge_agent::serving::{router, serve};
use edge_agent::telemetry::clock::{Clock, boot_id};
use edge_agent::telemetry::node::Sampler;
use edge_agent::telemetry::{Outcome, Phases, Recorder};
use edge_core::summary::{InputSample, Moment, label};
use millwright_package::profile::Builder;
use millwright_proto::ids::ModelVersion;
use millwright_summary::gauge::OUTBOX_WRITTEN_BYTES;
use millwright_summary::{ErrorClass, Sketch, Window};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Sensors of each model.
const FEATURES: usize = 10;

/// Classes each model gives.
const CLASSES: u32 = 31;

/// Steps of a latency in a millisecond, as the recorder keeps it.
const LATENCY_STEPS: f64 = 16_384.0;

/// Time between two requests of one model.
const INTERVAL: Duration = Duration::from_millis(100);

const MODELS: [&str; 4] = [
    "press-anomaly@1.4.0",
    "weld-inspection@2.0.1",
    "bearing-wear@1.0.0",
    "label-reader@3.2.0",
];

pub(super) struct Node {
    pub(super) recorder: Recorder,
    pub(super) address: SocketAddr,
    clock: Clock,
    values: Arc<Mutex<Values>>,
}

/// What was really measured, by model: latency, queue, infer, confidence.
#[derive(Default)]
pub(super) struct Values(Vec<[Vec<f64>; 4]>);

/// How a window differs from what was measured.
pub(super) struct Errors {
    pub(super) quantile_percent: f64,
    pub(super) different: usize,
}

impl Node {
    pub(super) async fn start() -> Result<Self> {
        let clock = Clock::start(0);
        let recorder = Recorder::new(boot_id(), clock.now());
        let models = ActiveModels::new(recorder.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = router(models, recorder.clone(), Repository::Fleet);
        tokio::spawn(serve(listener, router, std::future::pending()));
        let values = Arc::new(Mutex::new(Values::default()));
        let mut load = Load::new(recorder.clone(), Arc::clone(&values))?;
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            let mut sampler = Sampler::new("/".into());
            for tick in 0_u64.. {
                ticks.tick().await;
                load.step();
                if tick.is_multiple_of(50) {
                    sampler.sample(&load.recorder, 64 << 20);
                    load.recorder
                        .gauge(OUTBOX_WRITTEN_BYTES, tick as f64 * 1500.0);
                }
            }
        });
        Ok(Self {
            recorder,
            address,
            clock,
            values,
        })
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Series on the page.
    pub(super) async fn series(&self) -> Result<usize> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let (_, page) = text.split_once("\r\n\r\n").context("no HTTP")?;
        Ok(page.lines().filter(|line| !line.starts_with('#')).count())
    }

    /// What was measured since the last call.
    pub(super) fn take_values(&self) -> Values {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *values)
    }
}

/// Requests as they come from a line: log-normal times, confidences of a softmax in 32 bits, a few errors.
struct Load {
    recorder: Recorder,
    models: Vec<ModelVersion>,
    values: Arc<Mutex<Values>>,
    state: u64,
}

impl Load {
    fn new(recorder: Recorder, values: Arc<Mutex<Values>>) -> Result<Self> {
        let mut load = Self {
            recorder,
            models: Vec::new(),
            values,
            state: 7,
        };
        for name in MODELS {
            let model: ModelVersion = name.parse()?;
            let names = (1..=FEATURES).map(|sensor| format!("f{sensor}")).collect();
            let mut builder = Builder::new(model.clone(), None, names)?;
            for _ in 0..2_000 {
                let row = [(); FEATURES].map(|()| load.normal());
                builder.row(&row)?;
            }
            load.recorder
                .baseline(&model, Some(Arc::new(builder.build()?)));
            // What a plant has seen once since the start: the page has the series from then on.
            load.recorder
                .request(&model, Outcome::Failed(ErrorClass::Timeout));
            load.models.push(model);
        }
        Ok(load)
    }

    fn even(&mut self) -> f64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 40) as f64 / (1_u64 << 24) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum::<f64>() - 6.0
    }

    fn step(&mut self) {
        for at in 0..self.models.len() {
            let usual_ms = [2.0, 8.0, 0.5, 20.0][at];
            let infer = usual_ms * (0.2 * self.normal()).exp();
            let queue = 0.01 * (0.5 * self.normal()).exp();
            let [infer, queue] = [infer, queue].map(|ms| Duration::from_nanos((ms * 1e6) as u64));
            let confidence = f64::from((1.0 - self.even() * self.even() * 0.5) as f32);
            let latency = queue + infer + Duration::from_micros(15);
            let class = (self.even() * f64::from(CLASSES)) as u32;
            let model = self.models[at].clone();
            let row = [(); FEATURES].map(|()| self.normal());
            self.recorder.input(&model, InputSample::Features(&row));
            let outcome = Outcome::Answered {
                latency,
                phases: Phases {
                    queue,
                    infer,
                    ..Phases::default()
                },
                confidence: Some(confidence),
                class: Some(class),
            };
            let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            self.recorder.request(&model, outcome);
            if values.0.len() <= at {
                values.0.resize_with(at + 1, Default::default);
            }
            let kept = |time: Duration| {
                (time.as_nanos() as f64 * (LATENCY_STEPS / 1e6)).round() / LATENCY_STEPS
            };
            let measured = [kept(latency), kept(queue), kept(infer), confidence];
            for (values, value) in values.0[at].iter_mut().zip(measured) {
                values.push(value);
            }
        }
    }
}

/// Sketches of a window that have something in them.
pub(super) fn sketches(window: &Window) -> usize {
    let models = window.models.values();
    let all = models.flat_map(|stats| {
        let phases = stats.phases.named().map(|(_, sketch)| sketch);
        phases
            .into_iter()
            .chain([&stats.latency_ms, &stats.confidence])
    });
    all.filter(|sketch| sketch.count() > 0).count()
}

impl Values {
    /// Compares every sketch of a window with what was measured.
    pub(super) fn errors(&self, window: &Window) -> Result<Errors> {
        let mut errors = Errors {
            quantile_percent: 0.0,
            different: 0,
        };
        for (name, values) in MODELS.iter().zip(&self.0) {
            let stats = window
                .models
                .get(&label(&name.parse()?))
                .context("a model is missing")?;
            let [queue, _, infer, _] = stats.phases.named().map(|(_, sketch)| sketch);
            let sketches = [&stats.latency_ms, queue, infer, &stats.confidence];
            for (sketch, values) in sketches.into_iter().zip(values) {
                errors.add(sketch, values)?;
            }
        }
        Ok(errors)
    }
}

impl Errors {
    fn add(&mut self, sketch: &Sketch, values: &[f64]) -> Result<()> {
        ensure!(!values.is_empty(), "nothing was measured");
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let sum: f64 = sorted.iter().sum();
        let same = [
            sketch.count() == sorted.len() as u64,
            sketch.min() == sorted.first().copied(),
            sketch.max() == sorted.last().copied(),
            // The sum of the comparison is rounded at every step itself.
            (sketch.sum() - sum).abs() <= sum.abs() * 1e-9,
        ];
        self.different += same.iter().filter(|same| !**same).count();
        for percent in 0..=100 {
            let q = f64::from(percent) / 100.0;
            let exact = sorted[(q * (sorted.len() - 1) as f64) as usize];
            let error = (sketch.quantile(q).unwrap_or(f64::NAN) / exact - 1.0).abs() * 100.0;
            self.quantile_percent = self.quantile_percent.max(error);
        }
        Ok(())
    }
}
