//! Files of hard examples on their way from a node to whoever asked: pulled one chunk at a time, passed on at once.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use fleet_api::{HardExamplePiece, HardExampleRef};
use futures_util::{Stream, stream};
use millwright_proto::Digest;
use millwright_proto::hard_example::{CHUNK_BYTES_MAX, FILE_BYTES_MAX, is_name_of};
use millwright_proto::link::{HardExampleChunkAsk, HardExamplePart, HardExampleRefusal};
use tokio::sync::mpsc;

use super::visit::{Visit, plain};
use crate::hub::asks::{AskError, Errand};

/// Lines and chunks that wait for a slow reader: with 32 KiB each, 256 KiB for each errand.
const PIECES_WAITING_MAX: usize = 8;

/// A reader that takes nothing for this long is gone, and somebody else may ask the node.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// What has come so far.
#[derive(Debug, Default)]
struct Came {
    files: u64,
    bytes: u64,
    missing: u64,
}

/// Why it ended early.
enum Stopped {
    /// The node, or the way to it.
    Node(AskError),
    /// Whoever asked.
    Reader,
}

/// The answer to a fetch. It goes on until it is known what came of it, whoever still reads.
pub(super) fn of(
    errand: Errand,
    wanted: Vec<HardExampleRef>,
    visit: Visit,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let (pieces, read) = mpsc::channel(PIECES_WAITING_MAX);
    tokio::spawn(run(errand, wanted, visit, Outlet(pieces)));
    stream::unfold(read, |mut read| async move {
        read.recv().await.map(|piece| (Ok(piece), read))
    })
}

async fn run(errand: Errand, wanted: Vec<HardExampleRef>, visit: Visit, out: Outlet) {
    let mut came = Came::default();
    let carried = carry(&errand, &wanted, &out, &mut came).await;
    drop(errand);
    let Came {
        files,
        bytes,
        missing,
    } = came;
    let mut so_far = format!("{files} files with {bytes} bytes were fetched");
    if missing > 0 {
        so_far.push_str(&format!(", {missing} examples were missing"));
    }
    let (recorded, last) = match carried {
        Ok(()) => (
            visit.end(Ok(so_far)).await,
            HardExamplePiece::Done { files, bytes },
        ),
        Err(Stopped::Reader) => {
            let ended = format!("{so_far}; then whoever asked was gone");
            (
                visit.end(Ok(ended)).await,
                HardExamplePiece::Done { files, bytes },
            )
        }
        Err(Stopped::Node(error)) => {
            let recorded = visit.refused(&error, &format!("{so_far}, then: ")).await;
            let failed = HardExamplePiece::Failed(visit.failure(error).problem());
            (recorded, failed)
        }
    };
    // What cannot be audited is not called done.
    let last = match recorded {
        Ok(()) => last,
        Err(failure) => HardExamplePiece::Failed(failure.problem()),
    };
    // An error means that nobody reads any more.
    let _ = out.line(&last).await;
}

async fn carry(
    errand: &Errand,
    wanted: &[HardExampleRef],
    out: &Outlet,
    came: &mut Came,
) -> Result<(), Stopped> {
    for example in wanted {
        for part in [HardExamplePart::Data, HardExamplePart::Description] {
            match file(errand, example, part, out).await {
                Ok(bytes) => {
                    came.files += 1;
                    came.bytes += bytes;
                }
                Err(Stopped::Node(AskError::Refused {
                    reason: HardExampleRefusal::Gone | HardExampleRefusal::Unreadable,
                    message,
                })) => {
                    came.missing += 1;
                    out.line(&HardExamplePiece::Missing {
                        pipeline: example.pipeline.clone(),
                        id: example.id.clone(),
                        reason: plain(&message),
                    })
                    .await?;
                    break;
                }
                Err(stopped) => return Err(stopped),
            }
        }
    }
    Ok(())
}

/// Passes one file on; returns its length.
async fn file(
    errand: &Errand,
    example: &HardExampleRef,
    part: HardExamplePart,
    out: &Outlet,
) -> Result<u64, Stopped> {
    let mut offset = 0;
    let mut whole: Option<(u64, Digest)> = None;
    loop {
        let ask = HardExampleChunkAsk {
            pipeline: example.pipeline.clone(),
            example: example.id.clone(),
            part: part.into(),
            offset,
            length: u32::try_from(CHUNK_BYTES_MAX).unwrap_or(u32::MAX),
        };
        let chunk = errand.chunk(ask).await.map_err(Stopped::Node)?;
        let broken = |what| Stopped::Node(AskError::Broken(what));
        let digest = chunk.digest.as_ref().map(Digest::try_from);
        let Some(Ok(digest)) = digest else {
            return Err(broken("a file without a digest"));
        };
        let total = chunk.total_bytes;
        let length = chunk.bytes.len() as u64;
        let left = total.checked_sub(offset).filter(|left| length <= *left);
        let goes_on = left.is_some_and(|left| length > 0 || left == 0);
        if total > FILE_BYTES_MAX || !goes_on {
            return Err(broken("a file that is longer or shorter than it says"));
        }
        match whole {
            Some(before) if before != (total, digest) => {
                return Err(broken("two files as one"));
            }
            Some(_) => {}
            None if !is_name_of(&chunk.name, &example.id) => {
                return Err(broken("a file with a name that is none"));
            }
            None => {
                whole = Some((total, digest));
                let head = HardExamplePiece::File {
                    pipeline: example.pipeline.clone(),
                    id: example.id.clone(),
                    name: chunk.name,
                    bytes: total,
                    digest: digest.to_string(),
                };
                out.line(&head).await?;
            }
        }
        if length > 0 {
            out.line(&HardExamplePiece::Chunk { bytes: length }).await?;
            out.send(chunk.bytes).await?;
        }
        offset += length;
        if offset == total {
            return Ok(total);
        }
    }
}

/// To whoever asked.
struct Outlet(mpsc::Sender<Bytes>);

impl Outlet {
    async fn line(&self, piece: &HardExamplePiece) -> Result<(), Stopped> {
        let mut line = serde_json::to_vec(piece).expect("texts and numbers are always JSON");
        line.push(b'\n');
        self.send(line.into()).await
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Stopped> {
        let sent = self.0.send_timeout(bytes, READ_WITHIN).await;
        sent.map_err(|_| Stopped::Reader)
    }
}
