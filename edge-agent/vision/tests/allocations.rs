//! What is taken from the heap: nothing per frame between a frame and its tensor, next to nothing for a bomb.

use edge_vision::{Frame, Preprocess};

const ASTRONAUT: &[u8] = include_bytes!("../../../tests/data/pictures/astronaut.jpg");

#[test]
fn a_frame_becomes_a_tensor_without_any_allocation_after_the_first() {
    let frame = Frame::decode(ASTRONAUT).unwrap();
    for json in [
        r#"{"size":[640,640],"scale":"1/255"}"#,
        r#"{"size":[300,200],"fit":"crop","colour":"bgr","layout":"nhwc","datatype":"fp16"}"#,
        r#"{"size":[512,512],"colour":"grey","datatype":"uint8"}"#,
    ] {
        let preprocess: Preprocess = serde_json::from_str(json).unwrap();
        let mut tensor = Vec::new();
        preprocess.apply(&frame, &mut tensor);
        let counted = allocation_counter::measure(|| {
            preprocess.apply(&frame, &mut tensor);
        });
        assert_eq!(counted.count_total, 0, "{json}");
    }
}

#[test]
fn measuring_a_frame_takes_nothing_from_the_heap() {
    let frame = Frame::decode(ASTRONAUT).unwrap();
    let counted = allocation_counter::measure(|| {
        assert!(frame.quality().sharpness > 0.0);
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_picture_that_is_too_large_is_refused_before_memory_is_taken_for_it() {
    let mut jpeg = ASTRONAUT.to_vec();
    let at = jpeg
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .unwrap()
        + 5;
    jpeg[at..at + 4].copy_from_slice(&[0x27, 0x10, 0x27, 0x10]);
    let mut png = Vec::new();
    drop(
        png::Encoder::new(&mut png, 10_000, 10_000)
            .write_header()
            .unwrap(),
    );
    for bomb in [jpeg, png] {
        let counted = allocation_counter::measure(|| {
            let refused = Frame::decode(&bomb).unwrap_err().to_string();
            assert!(refused.contains("10000 x 10000"), "{refused}");
        });
        // Decoded it has 300 MB; the PNG's inflater has its window.
        assert!(counted.bytes_max < 256 * 1024, "{}", counted.bytes_max);
    }
}
