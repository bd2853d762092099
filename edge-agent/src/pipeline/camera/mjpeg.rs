//! Pictures out of `multipart/x-mixed-replace`, however the network cuts it.
//!
//! ```text
//! --boundary CRLF header: value CRLF .. CRLF CRLF picture CRLF --boundary ..
//! ```
//!
//! Cameras differ: the boundary in the header has leading dashes or has not, lines end with CRLF or LF, the length of
//! a part is told or not. A part whose length is not told ends at the next boundary. What is larger than the bound
//! is skipped to the next boundary.

use bytes::{Buf, Bytes, BytesMut};

/// Longest header of a part: cameras send two or three lines.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// The boundary a content type names; `None` when it is no stream of parts.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let mut parts = content_type.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    if !kind.starts_with("multipart/") {
        return None;
    }
    let value = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("boundary")
            .then_some(value)
    })?;
    let value = value.trim().trim_matches('"').trim_start_matches("--");
    (!value.is_empty()).then(|| value.to_owned())
}

/// Takes a stream apart.
#[derive(Debug)]
pub(super) struct Parts {
    /// `--` and the boundary.
    mark: Vec<u8>,
    bytes_max: usize,
    waiting: BytesMut,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Before a boundary.
    Boundary,
    /// Behind one.
    Header,
    /// Behind a header; so many bytes are the picture.
    Counted(usize),
    /// Behind a header that tells no length; so many bytes have been searched.
    Open(usize),
}

impl Parts {
    /// Parts up to `bytes_max` bytes.
    pub(super) fn new(boundary: &str, bytes_max: usize) -> Self {
        Self {
            mark: format!("--{boundary}").into_bytes(),
            bytes_max,
            waiting: BytesMut::new(),
            state: State::Boundary,
        }
    }

    /// Takes what came; returns the pictures that are complete.
    pub(super) fn push(&mut self, data: &[u8]) -> Vec<Bytes> {
        self.waiting.extend_from_slice(data);
        let mut pictures = Vec::new();
        while self.step(&mut pictures) {}
        pictures
    }

    /// Whether there may be more to do.
    fn step(&mut self, pictures: &mut Vec<Bytes>) -> bool {
        match self.state {
            State::Boundary => match find(&self.waiting, &self.mark, 0) {
                Some(at) => {
                    self.waiting.advance(at + self.mark.len());
                    self.state = State::Header;
                    true
                }
                None => {
                    // All but what may be the beginning of a boundary is of no use.
                    let keep = self.mark.len().saturating_sub(1).min(self.waiting.len());
                    self.waiting.advance(self.waiting.len() - keep);
                    false
                }
            },
            State::Header => self.header(),
            State::Counted(length) => {
                if self.waiting.len() < length {
                    return false;
                }
                pictures.push(self.waiting.split_to(length).freeze());
                self.state = State::Boundary;
                true
            }
            State::Open(searched) => self.open(searched, pictures),
        }
    }

    fn header(&mut self) -> bool {
        let long = find(&self.waiting, b"\r\n\r\n", 0).map(|at| (at, 4));
        let short = find(&self.waiting, b"\n\n", 0).map(|at| (at, 2));
        let end = match (long, short) {
            (Some(long), Some(short)) => Some(long.min(short)),
            (long, short) => long.or(short),
        };
        let Some((at, blank)) = end else {
            if self.waiting.len() > HEADER_BYTES_MAX {
                self.state = State::Boundary;
                return true;
            }
            return false;
        };
        let header = self.waiting.split_to(at);
        self.waiting.advance(blank);
        self.state = match length(&header) {
            Some(length) if length <= self.bytes_max => State::Counted(length),
            Some(_) => State::Boundary,
            None => State::Open(0),
        };
        true
    }

    fn open(&mut self, searched: usize, pictures: &mut Vec<Bytes>) -> bool {
        match find(&self.waiting, &self.mark, searched) {
            Some(at) => {
                let mut picture = self.waiting.split_to(at);
                let ending = match &picture[..] {
                    [.., b'\r', b'\n'] => 2,
                    [.., b'\n'] => 1,
                    _ => 0,
                };
                picture.truncate(picture.len() - ending);
                if picture.len() <= self.bytes_max {
                    pictures.push(picture.freeze());
                }
                self.state = State::Boundary;
                true
            }
            None if self.waiting.len() > self.bytes_max + self.mark.len() => {
                self.waiting.clear();
                self.state = State::Boundary;
                false
            }
            None => {
                let searched = (self.waiting.len() + 1).saturating_sub(self.mark.len());
                self.state = State::Open(searched);
                false
            }
        }
    }
}

fn find(bytes: &[u8], sought: &[u8], from: usize) -> Option<usize> {
    let windows = bytes.get(from..)?.windows(sought.len());
    windows
        .into_iter()
        .position(|window| window == sought)
        .map(|at| at + from)
}

fn length(header: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(header);
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.trim().eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(pictures: &[Vec<u8>], told: bool, ending: &str) -> Vec<u8> {
        let mut stream = b"preamble that nobody needs".to_vec();
        for picture in pictures {
            let length = match told {
                true => format!("content-length: {}{ending}", picture.len()),
                false => String::new(),
            };
            let header =
                format!("{ending}--gate{ending}Content-Type: image/jpeg{ending}{length}{ending}");
            stream.extend_from_slice(header.as_bytes());
            stream.extend_from_slice(picture);
        }
        stream.extend_from_slice(format!("{ending}--gate{ending}").as_bytes());
        stream
    }

    #[test]
    fn boundaries_are_found_however_cameras_write_them() {
        for (kind, expected) in [
            ("multipart/x-mixed-replace; boundary=gate", Some("gate")),
            (
                "Multipart/X-Mixed-Replace;Boundary=\"--gate\"",
                Some("gate"),
            ),
            ("multipart/x-mixed-replace", None),
            ("image/jpeg", None),
        ] {
            assert_eq!(boundary(kind).as_deref(), expected, "{kind}");
        }
    }

    #[test]
    fn a_part_larger_than_the_bound_is_skipped() {
        let mut parts = Parts::new("gate", 10);
        let seen = parts.push(&stream(&[vec![1; 50], vec![2; 10]], true, "\r\n"));
        assert_eq!(seen, [vec![2; 10]]);
        let mut parts = Parts::new("gate", 10);
        let mut seen = Vec::new();
        for byte in stream(&[vec![1; 50], vec![2; 10]], false, "\n") {
            seen.extend(parts.push(&[byte]));
        }
        assert_eq!(seen, [vec![2; 10]]);
    }

    proptest! {
        #[test]
        fn however_the_network_cuts_it_the_pictures_are_the_same(
            pictures in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..80), 0..5),
            cuts in prop::collection::vec(1..40_usize, 1..60),
            told in any::<bool>(),
            long in any::<bool>(),
        ) {
            // A picture may not hold a boundary or end like one when its length is not told.
            prop_assume!(told || pictures.iter().all(|picture| !picture.contains(&b'-') && !picture.ends_with(b"\r")));
            let whole = stream(&pictures, told, if long { "\r\n" } else { "\n" });
            let mut parts = Parts::new("gate", 1000);
            let mut seen = Vec::new();
            let mut rest = &whole[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                seen.extend(parts.push(now));
                rest = later;
            }
            prop_assert_eq!(seen, pictures);
        }

        #[test]
        fn hostile_bytes_take_no_more_memory_than_the_bound(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..60),
        ) {
            let mut parts = Parts::new("g", 300);
            parts.push(b"--g\r\n\r\n");
            for chunk in &chunks {
                for picture in parts.push(chunk) {
                    prop_assert!(picture.len() <= 300);
                }
                prop_assert!(parts.waiting.len() <= HEADER_BYTES_MAX + 600);
            }
        }
    }
}
