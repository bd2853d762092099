//! One request and its reply, as they lie at the beginning of a slot.

use millwright_package::Datatype;
use serde::{Deserialize, Serialize};

use super::{MESSAGE_AREA, ProtocolError, Shape, shortened};

/// Most tensors of one message: a manifest lists up to 64 outputs, and the confidence may need one more.
const TENSORS_MAX: usize = 128;

/// Bytes before the message that say how long it is.
pub(crate) const LENGTH_BYTES: usize = size_of::<u32>();

/// One inference. Its inputs lie in the slot.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Run {
    /// Repeated in the reply.
    pub id: u64,
    /// Which remembered state the model goes on with, if it has any.
    pub state: Option<StateUse>,
    /// One for each input port: where it lies, or `None` for one that the request leaves out and for a state.
    pub inputs: Vec<Option<Placed>>,
    /// Numbers of the output ports to copy back.
    pub outputs: Vec<u32>,
}

/// How a request of a sequence uses what the worker remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateUse {
    /// Which of the remembered states.
    pub place: u16,
    /// It begins with zeros, whatever was there.
    pub begin: bool,
    /// It is forgotten after this request.
    pub end: bool,
}

/// Where a tensor lies in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placed {
    /// Type of one element.
    #[serde(with = "number")]
    pub datatype: Datatype,
    /// Lengths, outermost first.
    pub shape: Shape,
    /// First byte, from the beginning of the slot's tensors.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// Whose fault a failed run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// The model does not take these inputs.
    Inputs,
    /// The model failed on them.
    Model,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The outputs, in the order asked for, lie in the slot.
    Done,
    /// No outputs.
    Failed {
        /// Whose fault it is.
        cause: Cause,
        /// For people.
        message: String,
    },
}

/// First part of a reply.
#[derive(Serialize, Deserialize)]
struct Head {
    id: u64,
    /// How long the worker computed, in microseconds.
    busy_us: u32,
    done: bool,
}

impl Run {
    /// The message after its length, into `into`, whose memory is used again.
    pub(crate) fn encode(&self, into: &mut Vec<u8>) -> Result<(), ProtocolError> {
        begin(into);
        append(self, into)?;
        finish(into)
    }

    /// Reads a message into `self`, whose lists are used again.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        let ((id, state, count), mut rest) =
            postcard::take_from_bytes::<(u64, Option<StateUse>, usize)>(bytes)?;
        (self.id, self.state) = (id, state);
        rest = take_list(count, rest, &mut self.inputs)?;
        let (count, rest) = postcard::take_from_bytes(rest)?;
        let rest = take_list(count, rest, &mut self.outputs)?;
        ended(rest)
    }
}

/// The reply to a request that was computed.
pub(crate) fn encode_done(
    id: u64,
    busy_us: u32,
    outputs: &[Placed],
    into: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    begin(into);
    let head = Head {
        id,
        busy_us,
        done: true,
    };
    append(&(head, outputs), into)?;
    finish(into)
}

/// The reply to a request that has no outputs.
pub(crate) fn encode_failed(
    id: u64,
    cause: Cause,
    message: String,
    into: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    begin(into);
    let head = Head {
        id,
        busy_us: 0,
        done: false,
    };
    append(&(head, cause, shortened(message)), into)?;
    finish(into)
}

impl Reply {
    /// Reads a reply: the request it is for, how long it was computed in microseconds, and what became of it. Its outputs
    /// go into `outputs`, whose memory is used again.
    pub(crate) fn decode(
        bytes: &[u8],
        outputs: &mut Vec<Placed>,
    ) -> Result<(u64, u32, Self), ProtocolError> {
        let (head, rest) = postcard::take_from_bytes::<Head>(bytes)?;
        if !head.done {
            let ((cause, message), rest) = postcard::take_from_bytes::<(Cause, &str)>(rest)?;
            ended(rest)?;
            let message = shortened(message.to_owned());
            return Ok((head.id, head.busy_us, Self::Failed { cause, message }));
        }
        let (count, rest) = postcard::take_from_bytes(rest)?;
        let rest = take_list(count, rest, outputs)?;
        ended(rest)?;
        Ok((head.id, head.busy_us, Self::Done))
    }
}

fn begin(into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(&[0; LENGTH_BYTES]);
}

fn append<T: Serialize>(value: &T, into: &mut Vec<u8>) -> Result<(), ProtocolError> {
    *into = postcard::to_extend(value, std::mem::take(into))?;
    Ok(())
}

fn finish(into: &mut [u8]) -> Result<(), ProtocolError> {
    if into.len() > MESSAGE_AREA {
        return Err(ProtocolError::TooLong(into.len()));
    }
    let length = u32::try_from(into.len() - LENGTH_BYTES).expect("it fits the area");
    into[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn take_list<'a, T: Deserialize<'a>>(
    count: usize,
    mut bytes: &'a [u8],
    into: &mut Vec<T>,
) -> Result<&'a [u8], ProtocolError> {
    into.clear();
    if count > TENSORS_MAX {
        return Err(ProtocolError::TooMany(count));
    }
    for _ in 0..count {
        let (element, rest) = postcard::take_from_bytes(bytes)?;
        into.push(element);
        bytes = rest;
    }
    Ok(bytes)
}

fn ended(rest: &[u8]) -> Result<(), ProtocolError> {
    match rest.len() {
        0 => Ok(()),
        more => Err(ProtocolError::Trailing(more)),
    }
}

/// A datatype as its place in [`Datatype::ALL`]; by name it would take memory to read.
mod number {
    use millwright_package::Datatype;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        datatype: &Datatype,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*datatype as u8)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Datatype, D::Error> {
        let index = u8::deserialize(deserializer)?;
        let datatype = Datatype::ALL.get(usize::from(index)).copied();
        datatype.ok_or_else(|| D::Error::custom("no such datatype"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn placed(datatype: Datatype, shape: &[usize]) -> Placed {
        Placed {
            datatype,
            shape: Shape::new(shape).unwrap(),
            offset: 64,
            length: 1 << 40,
        }
    }

    #[test]
    fn requests_and_replies_come_back_as_they_were_in_the_memory_of_the_last_one() {
        let outputs: Vec<Placed> = Datatype::ALL
            .iter()
            .map(|&datatype| placed(datatype, &[1, 0, 7]))
            .collect();
        let run = Run {
            id: 7,
            state: Some(StateUse {
                place: 3,
                begin: true,
                end: false,
            }),
            inputs: vec![Some(placed(Datatype::Bytes, &[])), None],
            outputs: vec![4, 1],
        };
        let (mut message, mut read) = (Vec::new(), Run::default());
        run.encode(&mut message).unwrap();
        read.decode(&message[LENGTH_BYTES..]).unwrap();
        assert_eq!(format!("{read:?}"), format!("{run:?}"));
        assert!(
            read.decode(&message[LENGTH_BYTES..message.len() - 1])
                .is_err()
        );

        let mut found = vec![outputs[0]; 3];
        encode_done(7, 12, &outputs, &mut message).unwrap();
        assert_eq!(
            Reply::decode(&message[LENGTH_BYTES..], &mut found).unwrap(),
            (7, 12, Reply::Done)
        );
        assert_eq!(found, outputs);
        encode_failed(8, Cause::Inputs, "no".to_owned(), &mut message).unwrap();
        let (id, _, reply) = Reply::decode(&message[LENGTH_BYTES..], &mut found).unwrap();
        assert_eq!(
            (id, reply),
            (
                8,
                Reply::Failed {
                    cause: Cause::Inputs,
                    message: "no".to_owned()
                }
            )
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_reply_or_an_error_of_bounded_size(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut outputs = Vec::new();
            let _ = Reply::decode(&bytes, &mut outputs);
            prop_assert!(outputs.len() <= TENSORS_MAX);
            let _ = Run::default().decode(&bytes);
        }
    }
}
