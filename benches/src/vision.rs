//! What a frame costs beside the model: from JPEG to tensor, and from outputs to boxes. Printed and kept, without a peer.
//!
//! It also serves the camera page with a real model's view of a real picture, for the pictures in `docs/pictures`.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use edge_agent::camera_page::board::{About, Board, Rates, Shown};
use edge_agent::camera_page::router;
use edge_vision::{Decode, Decoded, Frame, NamedTensor, Placement, Preprocess, Values, annotate};
use millwright_tests::checkout;
use ort::session::Session;
use ort::value::Tensor as OrtTensor;

use crate::overhead::raw_session;
use crate::results::Results;

/// Runs of one repeat; their median counts.
const RUNS: usize = 100;

/// As a network camera of the plain kind sends it.
const CAMERA_SIZE: (u32, u32) = (640, 480);

/// Anchors of YOLOv8 at 640 x 640, and numbers of each: a box and 80 classes.
const YOLO: [usize; 3] = [1, 84, 8400];

const FACE_MODEL: &str = "target/models/face-detector-1.0.0";

pub(crate) fn run(repeats: usize) -> Result<Results> {
    let mut results = Results::new(
        "vision",
        "what a frame costs beside its model; no goal of its own",
    );
    let astronaut = astronaut()?;
    let jpeg = resized(&astronaut, CAMERA_SIZE)?.encode_jpeg(85);
    let frame = Frame::decode(&jpeg)?;
    let yolo_input: Preprocess = serde_json::from_str(r#"{"size":[640,640],"scale":"1/255"}"#)?;
    let small_input: Preprocess = serde_json::from_str(r#"{"size":[320,320],"scale":"1/255"}"#)?;
    let yolo: Decode = serde_json::from_str(r#"{"yolov8":{"classes":"coco"}}"#)?;
    let numbers = yolo_output();
    let outputs = [NamedTensor {
        name: "output0",
        shape: &YOLO,
        data: Values::F32(&numbers),
    }];
    let mut tensor = Vec::new();
    let placement = yolo_input.apply(&frame, &mut tensor);
    let found = yolo.apply(&outputs, Some(&placement))?;
    let faces = faces(&astronaut)?;
    println!(
        "vision: the real model sees {}",
        serde_json::to_string(&faces.0)?
    );
    for _ in 0..repeats {
        let mut add = |what: &str, run: &mut dyn FnMut()| results.add(what, "us", median_us(run));
        add("decode JPEG 640x480", &mut || {
            black_box(Frame::decode(black_box(&jpeg)).is_ok());
        });
        add("letterbox to 640x640, fp32 NCHW", &mut || {
            black_box(yolo_input.apply(black_box(&frame), &mut tensor));
        });
        add("shrink to 320x320, fp32 NCHW", &mut || {
            black_box(small_input.apply(black_box(&frame), &mut tensor));
        });
        add("decode JPEG, letterbox, fp32 NCHW together", &mut || {
            if let Ok(frame) = Frame::decode(black_box(&jpeg)) {
                black_box(yolo_input.apply(&frame, &mut tensor));
            }
        });
        add("brightness, contrast, sharpness of 640x480", &mut || {
            black_box(black_box(&frame).quality());
        });
        add("decode YOLOv8 [1, 84, 8400]", &mut || {
            black_box(yolo.apply(black_box(&outputs), Some(&placement)).is_ok());
        });
        add("draw boxes on 640x480", &mut || {
            let mut shown = frame.clone();
            annotate(&mut shown, black_box(&found));
            black_box(shown);
        });
        add("encode JPEG 640x480, quality 80", &mut || {
            black_box(black_box(&frame).encode_jpeg(80));
        });
    }
    Ok(results)
}

fn median_us(run: &mut dyn FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let begin = Instant::now();
            run();
            begin.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

fn astronaut() -> Result<Frame> {
    let file = checkout().join("tests/data/pictures/astronaut.jpg");
    let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
    Ok(Frame::decode(&bytes)?)
}

fn resized(frame: &Frame, (width, height): (u32, u32)) -> Result<Frame> {
    let resize: Preprocess = serde_json::from_str(&format!(
        r#"{{"size":[{width},{height}],"fit":"crop","layout":"nhwc","datatype":"uint8"}}"#
    ))?;
    let mut pixels = Vec::new();
    resize.apply(frame, &mut pixels);
    Ok(Frame::from_rgb(width, height, pixels.into())?)
}

/// Some dozen things among 8,400 anchors, each seen by several, the rest near nothing: as a real network has it.
fn yolo_output() -> Vec<f32> {
    let [_, channels, anchors] = YOLO;
    let mut numbers = vec![0.001; channels * anchors];
    for anchor in 0..anchors {
        let place = [
            (anchor % 80) as f32 * 8.0,
            (anchor / 80 % 80) as f32 * 8.0,
            60.0,
            80.0,
        ];
        for (channel, value) in place.into_iter().enumerate() {
            numbers[channel * anchors + anchor] = value;
        }
        if anchor % 97 == 0 {
            numbers[(4 + anchor % 80) * anchors + anchor] = 0.3 + (anchor % 7) as f32 * 0.1;
        }
    }
    numbers
}

/// What the real face detector says about a frame whose sides it takes as they are.
fn faces(frame: &Frame) -> Result<(Decoded, Duration)> {
    FaceDetector::open()?.find(frame)
}

struct FaceDetector {
    session: Session,
    decode: Decode,
}

impl FaceDetector {
    fn open() -> Result<Self> {
        Ok(Self {
            session: raw_session(&checkout().join(FACE_MODEL))?,
            decode: serde_json::from_str(r#"{"centerface":{}}"#)?,
        })
    }

    fn find(&mut self, frame: &Frame) -> Result<(Decoded, Duration)> {
        let begin = Instant::now();
        let (width, height) = (frame.width, frame.height);
        let input: Preprocess = serde_json::from_str(&format!(r#"{{"size":[{width},{height}]}}"#))?;
        let mut bytes = Vec::new();
        let placement: Placement = input.apply(frame, &mut bytes);
        let shape = input.shape().map(|side| side as i64);
        let floats: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
            .collect();
        let tensor = OrtTensor::from_array((shape, floats))?;
        let outputs = self.session.run(ort::inputs!["input.1" => tensor])?;
        let mut shapes = Vec::new();
        let mut data = Vec::new();
        for (name, value) in &outputs {
            let (shape, numbers) = value.try_extract_tensor::<f32>()?;
            shapes.push(shape.iter().map(|&side| side as usize).collect::<Vec<_>>());
            data.push((name.to_owned(), numbers.to_vec()));
        }
        let named: Vec<_> = shapes
            .iter()
            .zip(&data)
            .map(|(shape, (name, numbers))| NamedTensor {
                name,
                shape,
                data: Values::F32(numbers),
            })
            .collect();
        let decoded = self.decode.apply(&named, Some(&placement))?;
        Ok((decoded, begin.elapsed()))
    }
}

/// Serves the camera page at `address` until the process is ended.
pub(crate) async fn serve_page(address: SocketAddr) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("camera page at http://{}/pipelines", listener.local_addr()?);
    let board = Board::default();
    let shown = board.clone();
    std::thread::spawn(move || {
        if let Err(error) = show(&shown) {
            eprintln!("no more frames: {error:#}");
        }
    });
    edge_agent::serving::serve(listener, router(board, None), std::future::pending()).await?;
    Ok(())
}

/// A camera that is being focused: the picture is out of focus at first, and sharp again and again.
fn show(board: &Board) -> Result<()> {
    const FOCUS: [u32; 6] = [200, 300, 400, 512, 512, 512];
    let mut detector = FaceDetector::open()?;
    let astronaut = astronaut()?;
    ensure!(
        (astronaut.width, astronaut.height) == (512, 512),
        "another picture"
    );
    let pipeline = "entrance-faces";
    let mut rates = Rates {
        state: "running".to_owned(),
        ..Rates::default()
    };
    for side in FOCUS.into_iter().cycle() {
        let taken_at = SystemTime::now();
        let frame = resized(&resized(&astronaut, (side, side))?, (640, 480))?;
        let quality = frame.quality();
        let (decoded, latency) = detector.find(&frame)?;
        let mut picture = frame;
        annotate(&mut picture, &decoded);
        rates.received += 3;
        rates.dropped += 2;
        rates.answered += 1;
        let about = About {
            model: "face-detector 1.0.0".to_owned(),
            latency: Some(latency),
            quality: Some(quality),
        };
        board.about(pipeline, about);
        board.rates(pipeline, rates.clone());
        let jpeg = picture.encode_jpeg(85).into();
        let decoded = Arc::new(decoded);
        board.publish(
            pipeline,
            Shown {
                jpeg,
                decoded,
                taken_at,
            },
        );
    }
    Ok(())
}
