//! Files as NumPy writes them, and others.

use std::io::{Cursor, Write as _};

use proptest::prelude::*;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

/// An array as `numpy.save` writes it.
fn npy(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [MAGIC, &[1, 0], &length, header.as_bytes(), data].concat()
}

fn npz(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        let options = SimpleFileOptions::default();
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn refused(array: &[u8]) -> String {
    archive(Cursor::new(npz(&[("x.npy", array)]))).unwrap_err()
}

#[test]
fn arrays_come_with_their_names_types_and_shapes() {
    let floats: Vec<u8> = [1.5_f32, -2.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let file = npz(&[
        ("sensors.npy", &npy("'<f4'", "False", "(1, 2)", &floats)),
        (
            "input/rate.npy",
            &npy("'<i8'", "False", "()", &7_i64.to_le_bytes()),
        ),
        ("flags.npy", &npy("'|b1'", "True", "(2,)", &[0, 1])),
    ]);
    let arrays = archive(Cursor::new(file)).unwrap();
    let told: Vec<_> = arrays
        .iter()
        .map(|a| (a.name.as_str(), a.datatype, a.shape.as_slice()))
        .collect();
    let expected: [(&str, Datatype, &[usize]); 3] = [
        ("sensors", Datatype::Fp32, &[1, 2]),
        ("input/rate", Datatype::Int64, &[]),
        ("flags", Datatype::Bool, &[2]),
    ];
    assert_eq!(told, expected);
    assert_eq!(arrays[0].numbers().collect::<Vec<_>>(), [1.5, -2.0]);
}

#[test]
fn what_no_model_takes_is_refused_with_what_to_save_instead() {
    for (array, words) in [
        (npy("'>f4'", "False", "(1,)", &[0; 4]), "big-endian"),
        (npy("'<f4'", "True", "(1, 1)", &[0; 4]), "ascontiguousarray"),
        (
            npy("'<U3'", "False", "(1,)", &[0; 12]),
            "text or Python objects",
        ),
        (
            npy("'|O'", "False", "(1,)", &[0; 8]),
            "text or Python objects",
        ),
        (
            npy("'<c8'", "False", "(1,)", &[0; 8]),
            "which no model takes",
        ),
        (npy("[('a', '<f4')]", "False", "(1,)", &[0; 4]), "records"),
        (npy("'<f4'", "False", "(2,)", &[0; 4]), "it has only 4"),
        (npy("'<f4'", "False", "(1,)", &[0; 8]), "it has more"),
        (
            npy("'<f4'", "False", "(4000000000, 4000000000, 4)", &[]),
            "use less data",
        ),
        (b"<html>".to_vec(), "cut off"),
        (b"<html><body>".to_vec(), "begins with something else"),
        (npy(&"(".repeat(4000), "False", "(1,)", &[]), "records"),
        (
            npy(&" ".repeat(5000), "False", "(1,)", &[]),
            "header is too long",
        ),
    ] {
        let error = refused(&array);
        assert!(error.contains(words), "{words}: {error}");
    }
    let error = archive(Cursor::new(b"no zip at all")).unwrap_err();
    assert!(error.contains("numpy.savez"), "{error}");
    let error = archive(Cursor::new(npz(&[("notes.txt", b"")]))).unwrap_err();
    assert!(error.contains("`notes.txt`"), "{error}");
}

proptest! {
    #[test]
    fn changed_bytes_are_an_array_or_an_error(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()
    ) {
        let mut file = npz(&[("x.npy", &npy("'<f4'", "False", "(2, 2)", &[1; 16]))]);
        let at = at.index(file.len());
        file[at] = byte;
        let _ = archive(Cursor::new(&file[..]));
        let _ = archive(Cursor::new(&file[..cut.index(file.len())]));
    }
}
