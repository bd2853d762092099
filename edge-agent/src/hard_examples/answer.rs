//! Answers to an operator of the cloud who asks for hard examples, as far as the owner of this box allows it.
//!
//! One ask, one answer, each bounded: a page of the list, or a chunk of one file. Whoever pulls the chunks of a file
//! gets all of them from one reading of it, so that an example that gives way meanwhile still arrives whole.
//! Reads the disk: call it where that may block.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use millwright_proto::Digest;
use millwright_proto::hard_example::{CHUNK_BYTES_MAX, FILE_BYTES_MAX, LISTED_MAX};
use millwright_proto::ids::PipelineName;
use millwright_proto::link::{
    HardExampleAnswer, HardExampleAsk, HardExampleChunk, HardExampleChunkAsk, HardExampleEntries,
    HardExampleEntry, HardExampleListAsk, HardExamplePart, HardExampleRefusal, HardExampleRefused,
    hard_example_answer, hard_example_ask,
};

use super::{Example, HardExampleError, data_name, description, list, read, store};
use crate::config::Permission;

/// What the cloud may see of the hard examples of this node.
#[derive(Debug)]
pub struct Answers {
    root: PathBuf,
    permission: Permission,
    /// Owned by whoever answers now; the file that is being pulled, at most one.
    open: Mutex<Option<Open>>,
}

/// A file that is being pulled.
#[derive(Debug)]
struct Open {
    pipeline: PipelineName,
    example: String,
    part: HardExamplePart,
    name: String,
    digest: Digest,
    content: Bytes,
}

/// Why an ask is refused.
type Refused = (HardExampleRefusal, String);

impl Answers {
    /// Of the examples below `root`.
    #[must_use]
    pub fn new(root: PathBuf, permission: Permission) -> Self {
        Self {
            root,
            permission,
            open: Mutex::default(),
        }
    }

    /// The answer to `ask`, a refusal with its reason included.
    #[must_use]
    pub fn answer(&self, ask: &HardExampleAsk) -> HardExampleAnswer {
        let answered = self.permitted().and_then(|()| match &ask.what {
            Some(hard_example_ask::What::List(ask)) => {
                self.entries(ask).map(hard_example_answer::What::Entries)
            }
            Some(hard_example_ask::What::Chunk(ask)) => {
                self.chunk(ask).map(hard_example_answer::What::Chunk)
            }
            None => Err(malformed("this agent does not know what is asked")),
        });
        match answered {
            Ok(what) => HardExampleAnswer {
                id: ask.id,
                what: Some(what),
            },
            Err((reason, message)) => refusal(ask.id, reason, message),
        }
    }

    /// Lets go of a file that nobody pulls to its end.
    pub fn close(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn permitted(&self) -> Result<(), Refused> {
        match self.permission {
            Permission::Allowed => Ok(()),
            Permission::Denied => Err((
                HardExampleRefusal::Denied,
                "the owner of this node gives no hard examples to the cloud: write `cloud: {hardExamples: allowed}` \
                 into its edge-agent.yaml and restart the agent, or copy them at the box with `edge-agent \
                 hard-examples export`"
                    .to_owned(),
            )),
        }
    }

    fn entries(&self, ask: &HardExampleListAsk) -> Result<HardExampleEntries, Refused> {
        let examples = match ask.pipeline.as_str() {
            "" => list(&self.root),
            name => {
                let pipeline = pipeline(name)?;
                store::examples(&self.root.join(pipeline.as_str()), &pipeline)
            }
        };
        let after = (ask.after_pipeline.as_str(), ask.after_example.as_str());
        let examples = examples.map_err(|error| refused(&error))?;
        let mut rest = examples
            .iter()
            .filter(|example| (example.pipeline.as_str(), example.id.as_str()) > after);
        let entries: Vec<_> = rest.by_ref().take(LISTED_MAX).map(entry).collect();
        tracing::info!(
            examples = entries.len(),
            "an operator of the cloud lists hard examples"
        );
        Ok(HardExampleEntries {
            entries,
            more: rest.next().is_some(),
        })
    }

    fn chunk(&self, ask: &HardExampleChunkAsk) -> Result<HardExampleChunk, Refused> {
        let pipeline = pipeline(&ask.pipeline)?;
        // Nothing panics while it is held; what a panic left would still be whole.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked = |open: &&mut Open| {
            open.pipeline == pipeline && open.example == ask.example && open.part == ask.part()
        };
        let file = match open.as_mut().filter(is_asked) {
            Some(_) => open.as_ref(),
            None => {
                // The one before it is let go before another is read.
                *open = None;
                let file = self.read_file(pipeline, ask)?;
                tracing::info!(
                    pipeline = %file.pipeline, file = file.name, bytes = file.content.len(),
                    "an operator of the cloud fetches a hard example"
                );
                Some(&*open.insert(file))
            }
        };
        let file = file.expect("it was found or read just now");
        let total = file.content.len();
        let offset = usize::try_from(ask.offset).ok().filter(|at| *at <= total);
        let offset = offset.ok_or_else(|| malformed("the file ends before that offset"))?;
        let length = usize::try_from(ask.length).unwrap_or(usize::MAX);
        let end = total.min(offset + length.min(CHUNK_BYTES_MAX));
        let chunk = HardExampleChunk {
            name: file.name.clone(),
            total_bytes: total as u64,
            digest: Some(file.digest.into()),
            offset: ask.offset,
            bytes: file.content.slice(offset..end),
        };
        if end == total {
            *open = None;
        }
        Ok(chunk)
    }

    fn read_file(
        &self,
        pipeline: PipelineName,
        ask: &HardExampleChunkAsk,
    ) -> Result<Open, Refused> {
        let directory = self.root.join(pipeline.as_str());
        let known = store::example(&directory, &pipeline, &ask.example);
        if let Some(example) = known.filter(|example| example.bytes > FILE_BYTES_MAX) {
            let message = format!(
                "hard example `{}` has {} bytes, {FILE_BYTES_MAX} at most are given to the cloud: copy it at the box \
                 with `edge-agent hard-examples export`",
                example.id, example.bytes
            );
            return Err((HardExampleRefusal::Unreadable, message));
        }
        let whole = read(&self.root, &pipeline, &ask.example);
        let (example, data) = whole.map_err(|error| refused(&error))?;
        let (name, content) = match ask.part() {
            HardExamplePart::Data => (data_name(&example), data),
            HardExamplePart::Description => description(&example),
            HardExamplePart::Unspecified => {
                return Err(malformed("an example has no such part"));
            }
        };
        Ok(Open {
            pipeline,
            example: example.id,
            part: ask.part(),
            name,
            digest: Digest::of(&content),
            content: content.into(),
        })
    }
}

/// The refusal of an ask.
#[must_use]
pub fn refusal(id: u64, reason: HardExampleRefusal, message: String) -> HardExampleAnswer {
    let refused = HardExampleRefused {
        reason: reason.into(),
        message,
    };
    HardExampleAnswer {
        id,
        what: Some(hard_example_answer::What::Refused(refused)),
    }
}

fn entry(example: &Example) -> HardExampleEntry {
    let reason = serde_json::to_value(example.reason).ok();
    HardExampleEntry {
        pipeline: example.pipeline.to_string(),
        example: example.id.clone(),
        model: example.model.model.to_string(),
        version: example.model.version.to_string(),
        reason: reason
            .as_ref()
            .and_then(|reason| reason.as_str())
            .unwrap_or_default()
            .to_owned(),
        kept_ms: example.kept_ms,
        confidence: example.confidence,
        data_name: data_name(example),
        data_bytes: example.bytes,
        data_crc32c: example.crc32c,
    }
}

fn pipeline(name: &str) -> Result<PipelineName, Refused> {
    name.parse()
        .map_err(|_| malformed("that is no name of a pipeline"))
}

fn malformed(why: &str) -> Refused {
    (HardExampleRefusal::Malformed, why.to_owned())
}

fn refused(error: &HardExampleError) -> Refused {
    let reason = match error {
        HardExampleError::Unknown { .. } => HardExampleRefusal::Gone,
        HardExampleError::File { .. }
        | HardExampleError::Damaged(_)
        | HardExampleError::TooLarge { .. } => HardExampleRefusal::Unreadable,
    };
    (reason, crate::control::chain(error))
}

#[cfg(test)]
mod tests;
