use super::*;

fn le(element: Element, bytes: &[u8]) -> Values<'_> {
    Values::Le(element, bytes)
}

#[test]
fn every_type_is_read_as_numbers() {
    let half = f16::from_f32(-1.5).to_le_bytes();
    let brain = bf16::from_f32(2.5).to_le_bytes();
    let cases: [(Element, &[u8], f64); 13] = [
        (Element::Bool, &[1], 1.0),
        (Element::Uint8, &[200], 200.0),
        (Element::Int8, &[200], -56.0),
        (Element::Uint16, &[1, 2], 513.0),
        (Element::Int16, &[0, 0x80], -32768.0),
        (Element::Uint32, &[0, 0, 0, 0x80], 2_147_483_648.0),
        (Element::Int32, &[0xFF; 4], -1.0),
        (Element::Uint64, &[0xFF, 0, 0, 0, 0, 0, 0, 0], 255.0),
        (
            Element::Int64,
            &[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
            -2.0,
        ),
        (Element::Fp16, &half, -1.5),
        (Element::Bf16, &brain, 2.5),
        (Element::Fp32, &0.25_f32.to_le_bytes(), 0.25),
        (Element::Fp64, &1e300_f64.to_le_bytes(), 1e300),
    ];
    for (element, bytes, expected) in cases {
        assert_eq!(
            le(element, bytes).doubles().unwrap(),
            [expected],
            "{element:?}"
        );
    }
}

#[test]
fn floats_are_read_wherever_they_lie() {
    let mut bytes = vec![0];
    bytes.extend([1.5_f32, -2.0].iter().flat_map(|float| float.to_le_bytes()));
    // Of two neighbouring offsets at most one is aligned.
    assert_eq!(
        le(Element::Fp32, &bytes[1..]).floats().unwrap()[..],
        [1.5, -2.0]
    );
    let copy = bytes[1..].to_vec();
    assert_eq!(le(Element::Fp32, &copy).floats().unwrap()[..], [1.5, -2.0]);
}

#[test]
fn bytes_that_are_no_whole_elements_are_refused() {
    assert!(le(Element::Fp32, &[0; 7]).floats().is_err());
    assert!(le(Element::Int64, &[0; 7]).first(1).is_err());
    assert!(le(Element::Bytes, b"\x05\0\0\0abc").first(1).is_err());
    assert!(le(Element::Bytes, b"\x05\0\0").first(1).is_err());
    assert!(le(Element::Bytes, b"\0\0\0\0").doubles().is_err());
}

#[test]
fn the_first_elements_keep_their_kind() {
    let texts = b"\x02\0\0\0ok\x03\0\0\0bad".as_slice();
    let both = Elements::Texts(vec!["ok".into(), "bad".into()]);
    assert_eq!(le(Element::Bytes, texts).first(9).unwrap(), both);
    assert_eq!(
        Values::I64(&[1, 2, 3]).first(2).unwrap(),
        Elements::Integers(vec![1, 2])
    );
    assert_eq!(
        Values::F32(&[0.5, 1.0]).first(1).unwrap(),
        Elements::Numbers(vec![0.5])
    );
    assert_eq!(
        le(Element::Uint8, &[9, 8]).first(1).unwrap(),
        Elements::Integers(vec![9])
    );
    let large = u64::MAX.to_le_bytes();
    let rounded = Elements::Numbers(vec![18_446_744_073_709_551_615.0]);
    assert_eq!(le(Element::Uint64, &large).first(1).unwrap(), rounded);
    let exact = 9_007_199_254_740_993_i64;
    let found = le(Element::Int64, &exact.to_le_bytes()).first(1).unwrap();
    assert_eq!(found, Elements::Integers(vec![exact]));
}

#[test]
fn types_have_their_names_of_the_protocol() {
    assert_eq!(Element::named("BF16"), Some(Element::Bf16));
    assert_eq!(Element::named("BYTES"), Some(Element::Bytes));
    assert_eq!(Element::named("fp32"), None);
}
