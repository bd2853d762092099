//! A pretend cloud that counts, and the books of what the outbox promised.
//!
//! Counting follows the protocol: per lineage and stream one contiguous watermark; what comes right
//! after it is counted, what is at or below it is a repeat, anything else breaks the protocol. Every
//! broken promise becomes a finding, in words, and nothing here repairs anything.

use std::collections::BTreeMap;

use crate::message::{Hello, LineageBytes, Sent, StreamIndex, index};
use crate::record::{self, Token};

/// Findings kept in words; a broken store breaks the same promise a thousand times.
const FINDINGS_MAX: usize = 50;

/// Where a record stands: lineage, stream, number.
type Place = (LineageBytes, StreamIndex, u64);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cloud {
    watermarks: BTreeMap<(LineageBytes, StreamIndex), u64>,
    /// What was counted at a number: a record's token, or `None` for a declared loss.
    counted: BTreeMap<Place, Option<Token>>,
    places: BTreeMap<Token, Place>,
    /// Appends that returned well.
    promised: BTreeMap<Token, Place>,
    /// Appends that returned an error.
    refused: BTreeMap<Token, String>,
    /// Sequence numbers that were declared lost.
    pub(crate) declared_lost: u64,
    /// Records offered again that were counted already.
    pub(crate) repeats: u64,
    /// Calls of a session that failed.
    pub(crate) sessions_failed: u64,
    /// The last error of an append or a session.
    pub(crate) last_error: Option<String>,
    /// Appends that returned well since the last error.
    pub(crate) well_since: u64,
    findings: Vec<String>,
    findings_total: u64,
}

impl Cloud {
    /// Notes that the append of `token` returned well.
    pub(crate) fn promise(&mut self, token: Token, lineage: LineageBytes, sequence: u64) {
        let place = (lineage, index(record::stream(token)), sequence);
        self.promised.insert(token, place);
        self.well_since += 1;
    }

    /// Notes that the append of `token` returned an error.
    pub(crate) fn refuse(&mut self, token: Token, error: String) {
        self.last_error = Some(error.clone());
        self.well_since = 0;
        self.refused.insert(token, error);
    }

    /// Notes that a call of a session failed.
    pub(crate) fn session_failed(&mut self, error: String) {
        self.sessions_failed += 1;
        self.last_error = Some(error);
        self.well_since = 0;
    }

    /// Notes a broken promise.
    pub(crate) fn find(&mut self, finding: String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// What a Welcome says to `lineage`.
    #[must_use]
    pub(crate) fn watermarks(&self, lineage: LineageBytes) -> Vec<(StreamIndex, u64)> {
        [0, 1]
            .map(|stream| (stream, self.watermark(lineage, stream)))
            .to_vec()
    }

    fn watermark(&self, lineage: LineageBytes, stream: StreamIndex) -> u64 {
        self.watermarks
            .get(&(lineage, stream))
            .copied()
            .unwrap_or(0)
    }

    /// Checks that `hello` still covers every promise that is not counted.
    pub(crate) fn greeted(&mut self, hello: &Hello) {
        let mut missing = Vec::new();
        for (token, &(lineage, stream, sequence)) in &self.promised {
            let counted = sequence <= self.watermark(lineage, stream);
            let covered = lineage == hello.lineage
                && hello.streams.iter().any(|&(of, oldest, next)| {
                    of == stream && oldest <= sequence && sequence < next
                });
            if !counted && !covered {
                missing.push(*token);
            }
        }
        for token in missing {
            let place = self.promised[&token];
            self.find(format!(
                "record {token} at {}: the hello {hello:?} does not cover it",
                show(place)
            ));
        }
    }

    /// Counts what was sent under `lineage`.
    pub(crate) fn receive(&mut self, lineage: LineageBytes, sent: &[Sent]) {
        for message in sent {
            let watermark = self.watermark(lineage, message.stream);
            let found = message.payload.as_deref().map(record::token);
            if found == Some(None) {
                let place = (lineage, message.stream, message.first);
                self.find(format!(
                    "{}: the payload is not what was appended",
                    show(place)
                ));
            }
            let token = found.flatten();
            if message.last <= watermark {
                self.repeated(lineage, message, token);
            } else if message.first == watermark + 1 && message.last >= message.first {
                self.count(lineage, message, token);
            } else {
                self.find(format!(
                    "stream {}: [{}, {}] was sent, {} is next",
                    message.stream,
                    message.first,
                    message.last,
                    watermark + 1
                ));
            }
        }
    }

    fn repeated(&mut self, lineage: LineageBytes, message: &Sent, token: Option<Token>) {
        self.repeats += 1;
        let place = (lineage, message.stream, message.first);
        let before = self.counted.get(&place).copied().flatten();
        // What is declared lost now may have been counted: the cloud keeps the record.
        if token.is_some() && before.is_some() && token != before {
            self.find(format!("{}: was {before:?}, is now {token:?}", show(place)));
        }
    }

    fn count(&mut self, lineage: LineageBytes, message: &Sent, token: Option<Token>) {
        for number in message.first..=message.last {
            self.counted
                .insert((lineage, message.stream, number), token);
        }
        self.watermarks
            .insert((lineage, message.stream), message.last);
        let Some(token) = token else {
            self.declared_lost += message.last - message.first + 1;
            return;
        };
        let place = (lineage, message.stream, message.first);
        if let Some(other) = self.places.insert(token, place) {
            self.find(format!(
                "record {token} is counted at {} and at {}",
                show(other),
                show(place)
            ));
        }
        if let Some(error) = self.refused.get(&token) {
            let finding = format!("record {token} is counted though its append said: {error}");
            self.find(finding);
        }
    }

    /// Checks that every promised record is counted where its append said. Call when all is drained.
    pub(crate) fn settle(&mut self) {
        let lost: Vec<_> = self
            .promised
            .iter()
            .filter(|(token, place)| self.counted.get(*place) != Some(&Some(**token)))
            .map(|(token, place)| (*token, *place))
            .collect();
        for (token, place) in lost {
            let instead = match self.counted.get(&place) {
                None => "nothing",
                Some(None) => "a declared loss",
                Some(Some(_)) => "another record",
            };
            self.find(format!(
                "record {token} was promised at {}: {instead} is there",
                show(place)
            ));
        }
    }

    /// Checks that every promised record is counted, or declared lost, or gone with a store that is
    /// not the one with lineage `living`.
    pub(crate) fn settle_declared(&mut self, living: LineageBytes) {
        let silent: Vec<_> = self
            .promised
            .iter()
            .filter(|(token, place)| match self.counted.get(*place) {
                Some(Some(found)) => found != *token,
                Some(None) => false,
                None => place.0 == living,
            })
            .map(|(token, place)| format!("record {token} is missing at {}", show(*place)))
            .collect();
        for finding in silent {
            self.find(finding);
        }
    }

    /// Appends that returned well.
    #[must_use]
    pub(crate) fn promised(&self) -> u64 {
        self.promised.len() as u64
    }

    /// Appends that returned an error.
    #[must_use]
    pub(crate) fn refused(&self) -> u64 {
        self.refused.len() as u64
    }

    /// Records counted.
    #[must_use]
    pub(crate) fn counted(&self) -> u64 {
        self.places.len() as u64
    }

    /// What was found, and how much in all.
    #[must_use]
    pub(crate) fn findings(&self) -> (&[String], u64) {
        (&self.findings, self.findings_total)
    }

    /// Forgets what is settled, so that a long run stays small. Call after [`Cloud::settle`].
    pub(crate) fn forget_settled(&mut self) {
        self.promised.clear();
    }
}

fn show((lineage, stream, sequence): Place) -> String {
    let short = u32::from_be_bytes([lineage[0], lineage[1], lineage[2], lineage[3]]);
    format!("{short:08x}/{}/{sequence}", recorded(stream))
}

fn recorded(stream: StreamIndex) -> &'static str {
    match stream {
        0 => "events",
        _ => "summaries",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEAGE: LineageBytes = [7; 16];

    fn sent(number: u64, token: Token) -> Sent {
        Sent {
            stream: index(record::stream(token)),
            first: number,
            last: number,
            payload: Some(record::payload(token)),
        }
    }

    fn check(expected: &str, steps: impl FnOnce(&mut Cloud)) {
        let mut cloud = Cloud::default();
        steps(&mut cloud);
        let (findings, _) = cloud.findings();
        assert!(
            findings.len() == 1 && findings[0].contains(expected),
            "{expected}: {findings:?}"
        );
    }

    #[test]
    fn every_broken_promise_is_found() {
        check("nothing is there", |cloud| {
            cloud.promise(1, LINEAGE, 1);
            cloud.settle();
        });
        check("counted at", |cloud| {
            cloud.receive(LINEAGE, &[sent(1, 1), sent(2, 1)]);
        });
        check("is next", |cloud| cloud.receive(LINEAGE, &[sent(2, 1)]));
        check("not what was appended", |cloud| {
            let mut message = sent(1, 1);
            message.payload = Some(vec![0; 9]);
            cloud.receive(LINEAGE, &[message]);
        });
        check("is now", |cloud| {
            cloud.receive(LINEAGE, &[sent(1, 1), sent(1, 2)]);
        });
        check("though its append said", |cloud| {
            cloud.refuse(1, "no room".to_owned());
            cloud.receive(LINEAGE, &[sent(1, 1)]);
        });
        check("does not cover it", |cloud| {
            cloud.promise(1, LINEAGE, 5);
            let streams = vec![(0, 1, 1), (1, 1, 5)];
            cloud.greeted(&Hello {
                lineage: LINEAGE,
                streams,
            });
        });
    }

    #[test]
    fn what_is_counted_where_it_was_promised_is_no_finding() {
        let mut cloud = Cloud::default();
        cloud.promise(1, LINEAGE, 1);
        cloud.receive(LINEAGE, &[sent(1, 1), sent(1, 1)]);
        cloud.settle();
        assert_eq!(cloud.findings(), (&[][..], 0));
        assert_eq!((cloud.counted(), cloud.repeats), (1, 1));
    }
}
