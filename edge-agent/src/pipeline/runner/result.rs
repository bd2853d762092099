//! What becomes of what the model said: read, drawn, and put into the words that sinks send.

use std::sync::Arc;

use edge_vision::decode::DecodeError;
use edge_vision::{Decoded, Element, Frame, NamedTensor, Values, annotate};
use tokio::time::Instant;

use super::super::gauge::Part;
use super::super::item::Content;
use super::super::message::Echo;
use super::super::outcome::{self, Answer, Outcome};
use super::{Answered, Failure, JPEG_QUALITY, Runner};
use crate::serving::models;
use crate::worker::InferOutput;

impl Runner {
    pub(super) async fn outcome(
        &mut self,
        content: Content,
        echo: &Echo,
        received: Instant,
        answered: Answered,
    ) -> Outcome {
        let Answered { prepared, answer } = answered;
        let began = Instant::now();
        let placement = prepared.picture.as_ref().map(|picture| &picture.placement);
        let decoded = match &self.pipeline.spec.decode {
            None => None,
            Some(decode) => match decode.apply(&named(answer.output()), placement) {
                Ok(decoded) => Some(Arc::new(decoded)),
                Err(error) => {
                    self.misread(&error);
                    let failure = Failure {
                        class: "decode",
                        message: error.to_string(),
                        echo: prepared.echo,
                    };
                    return self.failure(content, echo, &failure);
                }
            },
        };
        let output = answer.decoded(models::Decoded {
            postprocess: began.elapsed(),
            confidence: decoded.as_deref().and_then(Decoded::confidence),
            class: decoded.as_deref().and_then(outcome::class),
        });
        let echo = prepared.echo.as_ref().unwrap_or(echo);
        let latency = received.elapsed();
        let json = outcome::answered(
            self.pipeline.name().as_str(),
            echo,
            &output,
            decoded.as_deref(),
            latency,
        );
        let (frame, quality) = prepared.picture.map(|p| (p.frame, p.quality)).unzip();
        let drawn = self.draw(frame.as_ref(), decoded.as_ref()).await;
        self.show
            .answer(&output, decoded.clone(), drawn.clone(), latency, quality);
        Outcome {
            json,
            content,
            answer: Some(Answer {
                confidence: outcome::confidence(&output, decoded.as_deref()),
                model: output.model,
                decoded,
                frame,
                drawn,
            }),
        }
    }

    fn misread(&self, error: &DecodeError) {
        if !matches!(error, DecodeError::NotFinite { .. }) {
            self.gauge.trouble(Part::Fit, &error.to_string());
        }
    }

    /// The picture with boxes, if somebody will look at it.
    async fn draw(
        &self,
        frame: Option<&Frame>,
        decoded: Option<&Arc<Decoded>>,
    ) -> Option<bytes::Bytes> {
        let frame = frame?;
        if !self.show.wants_picture() && !self.sinks.want_picture(decoded.map(Arc::as_ref)) {
            return None;
        }
        let (mut frame, decoded) = (frame.clone(), decoded.cloned());
        let drawing = tokio::task::spawn_blocking(move || {
            if let Some(decoded) = decoded {
                annotate(&mut frame, &decoded);
            }
            frame.encode_jpeg(JPEG_QUALITY).into()
        });
        drawing.await.ok()
    }

    pub(super) fn failure(&self, content: Content, echo: &Echo, failure: &Failure) -> Outcome {
        let echo = failure.echo.as_ref().unwrap_or(echo);
        let Failure { class, message, .. } = failure;
        tracing::debug!(
            pipeline = %self.pipeline.name(),
            class,
            "an input was not answered: {message}"
        );
        Outcome {
            json: outcome::failed(
                self.pipeline.name().as_str(),
                echo,
                &self.pipeline.spec.model,
                class,
                message,
            ),
            answer: None,
            content,
        }
    }
}

/// Outputs as the decoders read them.
pub(super) fn named(output: &InferOutput) -> Vec<NamedTensor<'_>> {
    let tensors = output.tensors.iter().filter_map(|tensor| {
        let element = Element::named(tensor.datatype.as_str())?;
        Some(NamedTensor {
            name: &tensor.name,
            shape: &tensor.shape,
            data: Values::Le(element, &tensor.data),
        })
    });
    tensors.collect()
}
