//! A network camera over HTTP: an MJPEG stream, or pictures fetched one by one.
//!
//! A camera that is away, silent or sends something else is tried again after 0.5, 1, 2, .. 30 seconds, and the
//! pipeline's state says why. Pictures the model cannot keep up with give way as the pipeline's policy says.

mod mjpeg;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use millwright_pipeline::Camera;
use tokio::time::{Instant, MissedTickBehavior};

use super::backoff::Backoff;
use super::gauge::{Gauge, Part};
use super::http::{Endpoint, HttpError};
use super::intake::{Intake, Reader};
use super::message::Echo;
use crate::status::ask::wall_ms;
use mjpeg::{Parts, boundary};

/// Largest picture: 4K with little compression. The bound of the stream's reader, too.
pub(super) const PICTURE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Waits before a camera is tried again: one that restarts needs a minute.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A stream that lasted this long was a good one.
const GOOD_STREAM: Duration = Duration::from_secs(10);

/// Takes pictures for as long as it is polled.
pub(super) async fn run(camera: Camera, reader: Reader, mut intake: Intake, gauge: Gauge) {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    let mut eye = Eye {
        reader,
        gauge: gauge.clone(),
        intake: &mut intake,
    };
    loop {
        let began = Instant::now();
        let error = match camera.snapshot_every_ms {
            Some(every_ms) => {
                eye.fetch(&camera, Duration::from_millis(u64::from(every_ms)))
                    .await
            }
            None => eye.stream(&camera).await,
        };
        if began.elapsed() > GOOD_STREAM {
            backoff.reset();
        }
        gauge.trouble(Part::Source, &format!("camera {}: {error}", camera.url));
        tokio::time::sleep(backoff.next()).await;
    }
}

struct Eye<'a> {
    reader: Reader,
    gauge: Gauge,
    intake: &'a mut Intake,
}

impl Eye<'_> {
    /// Reads a stream to its end; says why it ended.
    async fn stream(&mut self, camera: &Camera) -> HttpError {
        let opened = async {
            let endpoint = Endpoint::camera(camera)?;
            let answer = endpoint.get().await?;
            let kind = content_type(&answer);
            let boundary = boundary(&kind).ok_or(HttpError::ContentType(kind))?;
            Ok((answer.into_body(), Parts::new(&boundary, PICTURE_BYTES_MAX)))
        };
        let (mut body, mut parts) = match opened.await {
            Ok(opened) => opened,
            Err(error) => return error,
        };
        let silence = Duration::from_millis(u64::from(camera.silence_ms_max));
        let mut last = Instant::now();
        loop {
            let frame = match tokio::time::timeout_at(last + silence, body.frame()).await {
                Err(_) => return HttpError::Timeout(silence),
                Ok(None) => return HttpError::Body("the camera closed the stream".to_owned()),
                Ok(Some(Err(error))) => return HttpError::Broken(error),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            for picture in parts.push(&data) {
                self.see(picture).await;
                last = Instant::now();
            }
        }
    }

    /// Fetches pictures until one fails; says why.
    async fn fetch(&mut self, camera: &Camera, every: Duration) -> HttpError {
        let mut ticks = tokio::time::interval(every);
        // After a slow picture the next one comes a whole interval later, never several at once.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let fetched = async {
                let answer = Endpoint::camera(camera)?.get().await?;
                let kind = content_type(&answer);
                if !kind.starts_with("image/") && !kind.is_empty() {
                    return Err(HttpError::ContentType(kind));
                }
                let body = Limited::new(answer.into_body(), PICTURE_BYTES_MAX)
                    .collect()
                    .await;
                Ok(body
                    .map_err(|error| HttpError::Body(error.to_string()))?
                    .to_bytes())
            };
            let limit = Duration::from_millis(u64::from(camera.silence_ms_max));
            match tokio::time::timeout(limit, fetched).await {
                Ok(Ok(picture)) => self.see(picture).await,
                Ok(Err(error)) => return error,
                Err(_) => return HttpError::Timeout(limit),
            }
        }
    }

    async fn see(&mut self, picture: Bytes) {
        self.gauge.well(Part::Source);
        let echo = Echo::at_ms(wall_ms());
        self.intake.take(&self.reader, picture, echo, None).await;
    }
}

fn content_type(answer: &Response<Incoming>) -> String {
    let kind = answer.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim().to_owned()
}
