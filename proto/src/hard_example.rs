//! Bounds on what cloudcore asks an agent for when an operator fetches hard examples.

/// Capability in `Hello` of an agent that answers such asks.
pub const CAPABILITY: &str = "hard-examples";

/// Entries of one list: with some 250 bytes each a quarter of the largest frame.
pub const LISTED_MAX: usize = 1000;

/// Bytes of one chunk. One is under way at a time, and a summary that is due behind it waits 13 seconds at most on
/// an uplink of 20 kbit/s, which is less than the agent waits for an acknowledgement.
pub const CHUNK_BYTES_MAX: usize = 32 * 1024;

/// Largest file that is given out: far above any picture or window of measurements a model takes.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Longest name of a file: `<milliseconds>-<number>` and an ending.
pub const NAME_BYTES_MAX: usize = 80;

/// Whether `id` is one of an example: two numbers with `-` between, so that it can never be a path.
#[must_use]
pub fn is_id(id: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    id.len() <= NAME_BYTES_MAX
        && id
            .split_once('-')
            .is_some_and(|(milliseconds, count)| number(milliseconds) && number(count))
}

/// Whether `name` is a file of the example `id`: the id, and an ending of small letters. A peer says the name, and
/// whoever writes a file under it must be sure where that is.
#[must_use]
pub fn is_name_of(name: &str, id: &str) -> bool {
    let ending = name
        .strip_prefix(id)
        .and_then(|rest| rest.strip_prefix('.'));
    is_id(id)
        && name.len() <= NAME_BYTES_MAX
        && ending.is_some_and(|ending| {
            let word =
                |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
            ending.split('.').all(word)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_name_that_begins_with_the_id_is_one_of_its_files() {
        let id = "1790000000000-00000001";
        assert!(is_id(id));
        for ending in ["jpg", "json", "input.json", "bin"] {
            assert!(is_name_of(&format!("{id}.{ending}"), id), "{ending}");
        }
        for bad in ["", "1-", "-1", "1-2-3", "../1-2", "1-2/..", "+1-2", "x-1"] {
            assert!(!is_id(bad), "{bad}");
            assert!(!is_name_of(&format!("{bad}.jpg"), bad), "{bad}");
        }
        for ending in ["", ".", "..", "/x", "jpg/..", "JPG", "x..y"] {
            assert!(!is_name_of(&format!("{id}.{ending}"), id), "{ending}");
        }
        assert!(!is_name_of("1-3.jpg", "1-2"));
    }
}
