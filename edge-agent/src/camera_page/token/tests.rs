use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn token(text: &str) -> Result<PageToken, PageTokenError> {
    PageToken::try_from(text.to_owned())
}

#[test]
fn a_token_that_can_be_guessed_or_mistyped_is_refused() {
    for text in [
        "",
        "short",
        "fifteen-letters",
        "with a space in it",
        "umlautä-umlautä-umlaut",
        &"x".repeat(257),
    ] {
        assert_eq!(token(text), Err(PageTokenError), "{text}");
    }
    assert!(token("sixteen-letters-").is_ok());
}

#[test]
fn a_token_is_never_printed() {
    let printed = format!("{:?}", token("correct-horse-battery").unwrap());
    assert!(!printed.contains("horse"), "{printed}");
}

#[test]
fn only_the_token_and_its_own_cookie_count() {
    let mine = token("correct-horse-battery").unwrap();
    let other = token("another-horse-battery").unwrap();
    assert!(mine.is("correct-horse-battery") && !mine.is("correct-horse-batter"));
    assert!(mine.is_cookie(&mine.cookie()));
    assert!(!mine.is_cookie(&other.cookie()) && !mine.is_cookie("") && !mine.is_cookie("zz"));
}

#[test]
fn a_token_is_made_once_for_a_page_that_others_reach() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("page-token");
    assert!(find(None, Some(&file), Reach::ThisMachine).is_none());
    assert!(!file.exists());
    let made = find(None, Some(&file), Reach::Network).unwrap();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(made.is(fs::read_to_string(&file).unwrap().trim()));
    assert_eq!(find(None, Some(&file), Reach::Network), Some(made.clone()));
    assert_eq!(find(None, Some(&file), Reach::ThisMachine), Some(made));
    let configured = token("configured-wins-over-it").unwrap();
    assert_eq!(
        find(Some(&configured), Some(&file), Reach::Network),
        Some(configured)
    );
}

#[test]
fn a_file_without_a_usable_token_lets_nobody_in_and_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("page-token");
    fs::write(&file, "short\n").unwrap();
    assert!(find(None, Some(&file), Reach::Network).is_none());
    assert_eq!(fs::read_to_string(&file).unwrap(), "short\n");
    assert!(find(None, None, Reach::Network).is_none());
}
