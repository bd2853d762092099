//! A camera of this machine (V4L2) that gives pictures as JPEG, as nearly every USB camera does.
//!
//! The driver is asked from a thread of its own, because it blocks. A camera that is unplugged is tried again after
//! 0.5, 1, 2, .. 30 seconds.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use linuxvideo::Device;
use linuxvideo::format::{PixFormat, PixelFormat};
use millwright_pipeline::Video;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::gauge::{Gauge, Part};
use super::intake::{Intake, Reader};
use super::message::Echo;
use crate::status::ask::wall_ms;

/// Pictures between the driver's thread and the pipeline: what gives way is decided by the pipeline's queue, not here.
const PICTURES_WAITING_MAX: usize = 2;

/// How often the driver is asked whether there is a picture. A camera gives one every 16 to 100 ms.
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// A camera that gives no picture for this long is opened anew.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Waits before a camera is tried again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A camera that worked this long was well.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// Takes pictures for as long as it is polled.
pub(super) async fn run(video: &Video, reader: &Reader, intake: &mut Intake, gauge: &Gauge) {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    loop {
        let began = Instant::now();
        let (pictures, mut seen) = mpsc::channel(PICTURES_WAITING_MAX);
        let watched = video.clone();
        let thread = tokio::task::spawn_blocking(move || watch(&watched, &pictures));
        while let Some(picture) = seen.recv().await {
            gauge.well(Part::Source);
            intake
                .take(reader, picture, Echo::at_ms(wall_ms()), None)
                .await;
        }
        let reason = match thread.await {
            Ok(Err(error)) => error.to_string(),
            Ok(Ok(())) | Err(_) => "it ended".to_owned(),
        };
        if began.elapsed() > GOOD_RUN {
            backoff.reset();
        }
        gauge.trouble(Part::Source, &format!("camera {}: {reason}", video.device));
        tokio::time::sleep(backoff.next()).await;
    }
}

/// Reads pictures until nobody wants any, or the camera fails.
fn watch(video: &Video, pictures: &mpsc::Sender<Bytes>) -> io::Result<()> {
    let device = Device::open(&video.device)?;
    let asked = PixFormat::new(video.width, video.height, PixelFormat::MJPG);
    let capture = device.video_capture(asked)?;
    let given = capture.format().pixel_format();
    if given != PixelFormat::MJPG && given != PixelFormat::JPEG {
        return Err(io::Error::other(format!(
            "it gives {given} and no JPEG; choose a width and height for which `v4l2-ctl --list-formats-ext` shows MJPG"
        )));
    }
    let mut stream = capture.into_stream()?;
    let mut last = std::time::Instant::now();
    while !pictures.is_closed() {
        if stream.will_block()? {
            if last.elapsed() > SILENCE_MAX {
                let reason = format!("no picture within {SILENCE_MAX:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        let picture = stream.dequeue(|view| {
            let whole = !view.is_error();
            Ok(whole.then(|| Bytes::copy_from_slice(&view)))
        })?;
        last = std::time::Instant::now();
        if let Some(picture) = picture
            && pictures.blocking_send(picture).is_err()
        {
            break;
        }
    }
    Ok(())
}
