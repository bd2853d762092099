use serde_json::{Value, json};

use super::*;
use crate::client::tests::{Scripted, problem};

const FIRST: &str = "1790000000000-00000001";
const SECOND: &str = "1790000000000-00000002";

fn listed(id: &str, data: &[u8]) -> Value {
    json!({
        "pipeline": "gate", "id": id, "model": "faces@1.0.0", "reason": "lowConfidence",
        "kept": "2026-11-01T12:00:00Z", "file": format!("{id}.jpg"), "bytes": data.len(),
        "crc32c": crc32c::crc32c(data),
    })
}

fn line(piece: &HardExamplePiece) -> String {
    serde_json::to_string(piece).unwrap() + "\n"
}

/// A file as it travels, in two chunks.
fn file(id: &str, name: &str, content: &str) -> String {
    let head = line(&HardExamplePiece::File {
        pipeline: "gate".to_owned(),
        id: id.to_owned(),
        name: name.to_owned(),
        bytes: content.len() as u64,
        digest: Digest::of(content.as_bytes()).to_string(),
    });
    let (one, other) = content.split_at(content.len() / 2);
    let chunk = |text: &str| {
        let bytes = text.len() as u64;
        line(&HardExamplePiece::Chunk { bytes }) + text
    };
    head + &chunk(one) + &chunk(other)
}

fn example(id: &str, content: &str) -> String {
    file(id, &format!("{id}.jpg"), content) + &file(id, &format!("{id}.json"), "{\"a\":\n1}")
}

fn done() -> String {
    line(&HardExamplePiece::Done { files: 0, bytes: 0 })
}

/// A node with two examples; a fetch is answered with `answer`.
async fn node(answer: String) -> Scripted {
    Scripted::start(move |seen, _| match seen.line.starts_with("GET") {
        true => {
            let items = [listed(FIRST, b"picture"), listed(SECOND, b"another")];
            (200, json!({"items": items}))
        }
        false => (200, Value::String(answer.clone())),
    })
    .await
}

async fn fetch(scripted: &Scripted, directory: &Path, ids: &[&str]) -> Result<String, String> {
    let args = FetchArgs {
        node: "press-1".to_owned(),
        pipeline: None,
        ids: ids.iter().map(ToString::to_string).collect(),
        out: directory.to_owned(),
    };
    let mut out = Vec::new();
    match run(&args, &scripted.client, &mut out).await {
        Ok(()) => Ok(String::from_utf8(out).unwrap()),
        Err(error) => Err(format!(
            "{:?} {}",
            Exit::of(&error),
            crate::exit::in_full(&error)
        )),
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory.join("gate")).into_iter().flatten();
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_there_and_whole_is_not_asked_for_again() {
    let directory = tempfile::tempdir().unwrap();
    let both = example(FIRST, "picture") + &example(SECOND, "another") + &done();
    let scripted = node(both).await;
    let said = fetch(&scripted, directory.path(), &[]).await.unwrap();
    assert!(said.starts_with("Fetched 4 files"), "{said}");
    let data = directory.path().join("gate").join(format!("{SECOND}.jpg"));
    assert_eq!(fs::read(&data).unwrap(), b"another");
    fetch(&scripted, directory.path(), &[]).await.unwrap();
    assert_eq!(
        scripted.lines().len(),
        3,
        "the third is a list, and no fetch follows"
    );
    fs::write(&data, b"anotheR").unwrap();
    let scripted = node(example(SECOND, "another") + &done()).await;
    fetch(&scripted, directory.path(), &[]).await.unwrap();
    assert_eq!(fs::read(&data).unwrap(), b"another");
    let asked = scripted.seen()[1].json();
    assert_eq!(
        asked,
        json!({"examples": [{"pipeline": "gate", "id": SECOND}]})
    );
}

#[tokio::test]
async fn an_example_that_gave_way_is_named_and_the_others_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let missing = line(&HardExamplePiece::Missing {
        pipeline: "gate".to_owned(),
        id: FIRST.to_owned(),
        reason: "there is none".to_owned(),
    });
    let scripted = node(missing + &example(SECOND, "another") + &done()).await;
    let told = fetch(&scripted, directory.path(), &[]).await.unwrap_err();
    assert!(told.starts_with("NotFound 1 of the examples"), "{told}");
    assert!(
        told.contains(&format!("gate/{FIRST}: there is none")),
        "{told}"
    );
    assert_eq!(
        names(directory.path()),
        [format!("{SECOND}.jpg"), format!("{SECOND}.json")]
    );
    let told = fetch(&scripted, directory.path(), &["9-9"])
        .await
        .unwrap_err();
    assert!(
        told.starts_with("NotFound press-1 has no hard example `9-9`"),
        "{told}"
    );
}

#[tokio::test]
async fn an_answer_that_is_cut_or_says_why_it_ends_leaves_no_half_file() {
    let directory = tempfile::tempdir().unwrap();
    let whole = example(FIRST, "picture");
    let cut = whole[..whole.len() / 3].to_owned();
    let told = fetch(&node(cut).await, directory.path(), &[])
        .await
        .unwrap_err();
    assert!(told.contains("ended before everything had come"), "{told}");
    assert_eq!(names(directory.path()), Vec::<String>::new());
    let (_, offline) = problem(503, "node-offline");
    let failed = HardExamplePiece::Failed(serde_json::from_value(offline).unwrap());
    let answer = file(FIRST, &format!("{FIRST}.jpg"), "picture") + &line(&failed);
    let told = fetch(&node(answer).await, directory.path(), &[])
        .await
        .unwrap_err();
    assert!(
        told.starts_with("Failed the test says node-offline"),
        "{told}"
    );
}

#[tokio::test]
async fn names_and_contents_that_were_not_announced_are_refused() {
    let other = file(FIRST, &format!("{FIRST}.jpg"), "picture").replace("ture", "turE");
    let answers = [
        (
            file(FIRST, "../../etc.jpg", "picture"),
            "nobody asked for it",
        ),
        (file("1-1", "1-1.jpg", "picture"), "nobody asked for it"),
        (other, "another digest"),
        (
            line(&HardExamplePiece::Chunk { bytes: 1 }) + "x",
            "of no file",
        ),
    ];
    for (answer, why) in answers {
        let directory = tempfile::tempdir().unwrap();
        let scripted = node(answer + &done()).await;
        let told = fetch(&scripted, directory.path(), &[]).await.unwrap_err();
        assert!(told.contains(why), "{told}");
        assert_eq!(names(directory.path()), Vec::<String>::new());
    }
}
