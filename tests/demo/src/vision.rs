//! Real pictures over HTTP: sends them all the time, and looks whether the faces found are the right ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millwright_tests::infer::{InferClient, Input, Reply};
use millwright_tests::packages::data;
use serde::Deserialize;
use tokio::task::JoinHandle;

use crate::tally::Tally;

/// The model that looks at the pictures.
pub(crate) const MODEL: &str = "face-detector";

/// A camera that takes a picture now and then; two cores serve two nodes and the programs around them.
const PAUSE: Duration = Duration::from_millis(200);

/// One picture with what is on it.
pub(crate) struct Picture {
    name: String,
    input: Input,
    expected: Expected,
}

#[derive(Deserialize)]
struct ExpectedFile {
    input: String,
    heatmap: String,
    stride: usize,
    threshold: f32,
    pictures: BTreeMap<String, Expected>,
}

/// Where the faces are, in pixels; none on a picture without.
#[derive(Clone, Deserialize)]
struct Expected {
    face: Option<Face>,
}

#[derive(Clone, Copy, Deserialize)]
struct Face {
    x: f32,
    y: f32,
    tolerance: f32,
}

/// The pictures, and how to read what the model says of them.
pub(crate) struct Pictures {
    pictures: Vec<Picture>,
    heatmap: String,
    stride: usize,
    threshold: f32,
}

impl Pictures {
    /// Reads `tests/data/pictures`.
    pub(crate) fn load() -> Result<Self> {
        let text = std::fs::read_to_string(data("pictures/expected.json"))
            .context("reading what is on the pictures")?;
        let file: ExpectedFile =
            serde_json::from_str(&text).context("parsing what is on the pictures")?;
        let mut pictures = Vec::new();
        for (name, expected) in file.pictures {
            let picture = image::open(data("pictures").join(&name))
                .with_context(|| format!("decoding {name}"))?
                .to_rgb8();
            let (width, height) = (picture.width() as usize, picture.height() as usize);
            // Interleaved bytes to one plane per colour, as the model wants them: NCHW, RGB, 0 to 255.
            let values = (0..3)
                .flat_map(|colour| {
                    picture
                        .pixels()
                        .map(move |pixel| f32::from(pixel.0[colour]))
                        .collect::<Vec<_>>()
                })
                .collect();
            let input = Input {
                name: file.input.clone(),
                shape: vec![1, 3, height, width],
                values,
            };
            pictures.push(Picture {
                name,
                input,
                expected,
            });
        }
        ensure!(!pictures.is_empty(), "there are no pictures");
        let ExpectedFile {
            heatmap,
            stride,
            threshold,
            ..
        } = file;
        Ok(Self {
            pictures,
            heatmap,
            stride,
            threshold,
        })
    }

    /// How many pictures there are.
    pub(crate) fn count(&self) -> usize {
        self.pictures.len()
    }

    /// What the model found: `Ok(Some)` the face where it is, `Ok(None)` rightly nothing.
    fn judge(&self, picture: &Picture, reply: &Reply) -> Result<Found> {
        let heatmap = reply
            .outputs
            .get(&self.heatmap)
            .context("the answer has no heatmap")?;
        let columns = *heatmap.shape.last().context("the heatmap has no shape")?;
        let values = heatmap.floats()?;
        let (index, peak) = values
            .iter()
            .copied()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .context("the heatmap is empty")?;
        let middle = |cell: usize| (cell * self.stride + self.stride / 2) as f32;
        let (x, y) = (middle(index % columns), middle(index / columns));
        Ok(match (picture.expected.face, peak >= self.threshold) {
            (None, false) => Found::RightlyNothing,
            (Some(face), true)
                if (face.x - x).abs() <= face.tolerance && (face.y - y).abs() <= face.tolerance =>
            {
                Found::Face
            }
            (Some(_), true) => Found::Wrong(format!(
                "{}: a face at {x},{y} instead of where it is",
                picture.name
            )),
            (Some(_), false) => Found::Wrong(format!("{}: missed the face ({peak})", picture.name)),
            (None, true) => {
                Found::Wrong(format!("{}: a face ({peak}) where none is", picture.name))
            }
        })
    }
}

enum Found {
    Face,
    RightlyNothing,
    Wrong(String),
}

/// A camera that keeps sending pictures to one node.
pub(crate) struct Camera {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<BTreeMap<String, Tally>>>,
}

impl Camera {
    /// Starts sending to the agent at `address`.
    pub(crate) fn start(pictures: &Arc<Pictures>, address: SocketAddr) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let client = InferClient::new(address)?;
        let task = tokio::spawn(send(Arc::clone(pictures), client, Arc::clone(&stop)));
        Ok(Self { stop, task })
    }

    /// Stops and tells what came of the pictures, by the version that answered.
    pub(crate) async fn stop(self) -> Result<BTreeMap<String, Tally>> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.context("the camera panicked")?
    }
}

async fn send(
    pictures: Arc<Pictures>,
    client: InferClient,
    stop: Arc<AtomicBool>,
) -> Result<BTreeMap<String, Tally>> {
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for picture in pictures.pictures.iter().cycle() {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let begin = Instant::now();
        match client
            .infer(MODEL, std::slice::from_ref(&picture.input))
            .await
        {
            Ok(reply) => {
                let tally = tallies.entry(reply.version.clone()).or_default();
                tally
                    .latency_ms
                    .push(begin.elapsed().as_secs_f64() * 1_000.0);
                match pictures.judge(picture, &reply)? {
                    Found::Face => tally.found += 1,
                    Found::RightlyNothing => {}
                    Found::Wrong(what) => tally.wrong.push(what),
                }
            }
            Err(error) => {
                let tally = tallies.entry("none".to_owned()).or_default();
                tally.failures.push(format!("{error:#}"));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(tallies)
}
