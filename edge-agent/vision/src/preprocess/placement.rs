//! Where a frame lies in a model's input, and the way back.

use super::{Align, Fit};

/// Which rectangle of the frame fills which rectangle of the model's input. Both have whole pixels, so that what is
/// mapped there and back arrives where it began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    frame: (u32, u32),
    model: (u32, u32),
    /// Part of the frame that is seen.
    pub(super) from: Rect,
    /// Part of the model's input it fills.
    pub(super) to: Rect,
}

/// A rectangle of whole pixels, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Placement {
    /// Fits a frame into a model's input; sizes are width and height. A side of 0 is taken for 1.
    #[must_use]
    pub fn fit(fit: Fit, align: Align, frame: (u32, u32), model: (u32, u32)) -> Self {
        let frame = (frame.0.max(1), frame.1.max(1));
        let model = (model.0.max(1), model.1.max(1));
        let (from, to) = match fit {
            Fit::Stretch => (Rect::whole(frame), Rect::whole(model)),
            Fit::Letterbox => {
                let size = inside(frame, model);
                let to = match align {
                    Align::Centre => Rect::middle(size, model),
                    Align::Corner => Rect::whole(size),
                };
                (Rect::whole(frame), to)
            }
            Fit::Crop => (
                Rect::middle(inside(model, frame), frame),
                Rect::whole(model),
            ),
        };
        Self {
            frame,
            model,
            from,
            to,
        }
    }

    /// Width and height of the frame.
    #[must_use]
    pub fn frame_size(&self) -> (u32, u32) {
        self.frame
    }

    /// Width and height of the model's input.
    #[must_use]
    pub fn model_size(&self) -> (u32, u32) {
        self.model
    }

    /// A point of the model's input in the frame. Points in the bars of a letterbox lie outside the frame.
    #[must_use]
    pub fn to_frame(&self, (x, y): (f32, f32)) -> (f32, f32) {
        let (from, to) = (&self.from, &self.to);
        (
            map(x, (to.x, to.width), (from.x, from.width)),
            map(y, (to.y, to.height), (from.y, from.height)),
        )
    }

    /// A point of the frame in the model's input.
    #[must_use]
    pub fn to_model(&self, (x, y): (f32, f32)) -> (f32, f32) {
        let (from, to) = (&self.from, &self.to);
        (
            map(x, (from.x, from.width), (to.x, to.width)),
            map(y, (from.y, from.height), (to.y, to.height)),
        )
    }
}

impl Rect {
    fn whole((width, height): (u32, u32)) -> Self {
        Self {
            x: 0,
            y: 0,
            width,
            height,
        }
    }

    fn middle((width, height): (u32, u32), of: (u32, u32)) -> Self {
        Self {
            x: (of.0 - width) / 2,
            y: (of.1 - height) / 2,
            width,
            height,
        }
    }
}

/// The largest size in the proportion of `what` that lies inside `room`, in whole pixels.
fn inside(what: (u32, u32), room: (u32, u32)) -> (u32, u32) {
    let ratio = (f64::from(room.0) / f64::from(what.0)).min(f64::from(room.1) / f64::from(what.1));
    let side = |length: u32, most: u32| {
        // Both are far below 2^32.
        ((f64::from(length) * ratio).round() as u32).clamp(1, most)
    };
    (side(what.0, room.0), side(what.1, room.1))
}

fn map(value: f32, from: (u32, u32), to: (u32, u32)) -> f32 {
    let part = (f64::from(value) - f64::from(from.0)) / f64::from(from.1);
    (f64::from(to.0) + part * f64::from(to.1)) as f32
}
