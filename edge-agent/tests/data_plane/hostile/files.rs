//! Files that call themselves ONNX: damaged, impossible or malicious, each of a kind that no runtime should
//! open. Written byte by byte, because a library for writing them would refuse to.

/// A field of a protobuf message; the numbers are those of onnx.proto.
fn bytes(tag: u64, content: &[u8]) -> Vec<u8> {
    let mut field = varint(tag << 3 | 2);
    field.extend(varint(content.len() as u64));
    field.extend(content);
    field
}

fn text(tag: u64, content: &str) -> Vec<u8> {
    bytes(tag, content.as_bytes())
}

fn number(tag: u64, value: i64) -> Vec<u8> {
    let mut field = varint(tag << 3);
    field.extend(varint(value.cast_unsigned()));
    field
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut encoded = Vec::new();
    while value > 0x7f {
        encoded.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    encoded.push(value as u8);
    encoded
}

const FLOAT: i64 = 1;

/// `onnx.ValueInfoProto` of a list of any length.
fn value(name: &str, element: i64) -> Vec<u8> {
    let shape = bytes(1, &text(2, "length"));
    let tensor = [number(1, element), bytes(2, &shape)].concat();
    [text(1, name), bytes(2, &bytes(1, &tensor))].concat()
}

/// `onnx.NodeProto`.
fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    let inputs = inputs.iter().flat_map(|name| text(1, name));
    let outputs = outputs.iter().flat_map(|name| text(2, name));
    inputs.chain(outputs).chain(text(4, operator)).collect()
}

/// `onnx.GraphProto` from `x` to `y`, both of `element`.
fn graph(nodes: &[Vec<u8>], initializers: &[Vec<u8>], element: i64) -> Vec<u8> {
    let mut graph: Vec<u8> = nodes.iter().flat_map(|node| bytes(1, node)).collect();
    graph.extend(text(2, "hostile"));
    graph.extend(initializers.iter().flat_map(|tensor| bytes(5, tensor)));
    graph.extend(bytes(11, &value("x", element)));
    graph.extend(bytes(12, &value("y", element)));
    graph
}

/// `onnx.ModelProto`.
fn model(ir_version: i64, graph: &[u8], opsets: &[(&str, i64)]) -> Vec<u8> {
    let mut model = [number(1, ir_version), bytes(7, graph)].concat();
    for (domain, version) in opsets {
        model.extend(bytes(8, &[text(1, domain), number(2, *version)].concat()));
    }
    model
}

fn usual(graph: &[u8]) -> Vec<u8> {
    model(8, graph, &[("", 14)])
}

/// One that opens, so that the others differ from it in what they are named for.
pub(crate) fn sound() -> Vec<u8> {
    usual(&graph(&[node("Identity", &["x"], &["y"])], &[], FLOAT))
}

/// Every file, with a name that says what is wrong with it. `seed` is a real model.
pub(crate) fn all(seed: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    files.extend(truncated(seed));
    files.extend(external_data());
    files.extend(impossible_dimensions());
    files.extend(claimed_lengths());
    files.extend(nested());
    files.extend(wrong_types());
    files.extend(wrong_versions());
    files.extend(cycles());
    files.extend(wrong_names());
    files.extend(something_else());
    files
}

/// Cut off inside its graph, which is nearly all of it.
fn truncated(seed: &[u8]) -> Vec<(String, Vec<u8>)> {
    let cut = |at: usize| {
        let length = 100 + (seed.len() - 400) * at / 100;
        (format!("truncated to {length}"), seed[..length].to_vec())
    };
    (0..100).map(cut).collect()
}

/// Weights that lie somewhere else.
fn external_data() -> Vec<(String, Vec<u8>)> {
    let places = [
        "../secret",
        "./../secret",
        "golden/../../secret",
        "link",
        "/etc/passwd",
        "/etc/shadow",
        "../../../../../../../etc/passwd",
        "/proc/self/environ",
        "/proc/self/mem",
        "/proc/1/environ",
        "/dev/zero",
        "/dev/mem",
        "//etc//passwd",
        "absent.bin",
        "",
        ".",
        "/",
        "..",
        "\u{0}",
        "/proc/self/fd/0",
    ];
    let ranges: [&[(&str, &str)]; 3] = [
        &[("offset", "0"), ("length", "16")],
        &[("length", "99999999999999999")],
        &[("offset", "-1"), ("length", "-16")],
    ];
    let mut files = Vec::new();
    for place in places {
        for (index, range) in ranges.iter().enumerate() {
            let mut tensor = [number(1, 4), number(2, FLOAT), text(8, "w"), number(14, 1)].concat();
            for (key, value) in std::iter::once(&("location", place)).chain(*range) {
                tensor.extend(bytes(13, &[text(1, key), text(2, value)].concat()));
            }
            let add = node("Add", &["x", "w"], &["y"]);
            let file = usual(&graph(&[add], &[tensor], FLOAT));
            files.push((format!("external data {place:?}, range {index}"), file));
        }
    }
    files
}

/// Constants with more elements than bytes.
fn impossible_dimensions() -> Vec<(String, Vec<u8>)> {
    let shapes: [&[i64]; 6] = [
        &[1 << 40],
        &[1 << 31, 1 << 31],
        &[-1],
        &[i64::MAX],
        &[i64::MAX, 2],
        &[1 << 20, 1 << 20, 1 << 20],
    ];
    let mut files = Vec::new();
    for element in [FLOAT, 2, 7, 8, 11] {
        for shape in shapes {
            let mut tensor: Vec<u8> = shape.iter().flat_map(|dim| number(1, *dim)).collect();
            tensor.extend([number(2, element), text(8, "w"), bytes(9, &[0; 16])].concat());
            let add = node("Add", &["x", "w"], &["y"]);
            let file = usual(&graph(&[add], &[tensor], element));
            files.push((format!("shape {shape:?} of type {element}"), file));
        }
    }
    files
}

/// A field that says it is longer than the file.
fn claimed_lengths() -> Vec<(String, Vec<u8>)> {
    let lengths = [
        1 << 20,
        (1 << 31) - 1,
        1 << 31,
        1 << 32,
        1 << 40,
        1 << 62,
        u64::MAX,
    ];
    let claim = |length: u64| {
        let mut tensor = [number(1, 4), number(2, FLOAT), text(8, "w")].concat();
        tensor.extend(varint(9 << 3 | 2));
        tensor.extend(varint(length));
        tensor.extend([0; 16]);
        let file = usual(&graph(
            &[node("Add", &["x", "w"], &["y"])],
            &[tensor],
            FLOAT,
        ));
        (format!("claims {length} bytes"), file)
    };
    lengths.into_iter().map(claim).collect()
}

/// Graphs in attributes of nodes in graphs.
fn nested() -> Vec<(String, Vec<u8>)> {
    let nest = |depth: usize| {
        let mut inner = graph(&[node("Identity", &["x"], &["y"])], &[], FLOAT);
        for _ in 0..depth {
            let attribute = [text(1, "then_branch"), bytes(6, &inner), number(20, 5)].concat();
            let mut branch = node("If", &["x"], &["y"]);
            branch.extend(bytes(5, &attribute));
            inner = graph(&[branch], &[], FLOAT);
        }
        (format!("{depth} graphs deep"), usual(&inner))
    };
    let depths = [
        1, 2, 5, 10, 20, 30, 31, 32, 33, 34, 40, 64, 100, 128, 200, 500, 1000,
    ];
    depths.into_iter().map(nest).collect()
}

/// Operators on elements they are not made for.
fn wrong_types() -> Vec<(String, Vec<u8>)> {
    let floats_only = ["Exp", "Log", "Sin", "Sigmoid", "Softplus", "Erf"];
    let mut files = Vec::new();
    for operator in floats_only {
        for element in [2, 3, 5, 6, 7, 8, 9] {
            let file = usual(&graph(&[node(operator, &["x"], &["y"])], &[], element));
            files.push((format!("{operator} of type {element}"), file));
        }
    }
    for element in [0, 99, -1, i64::MAX] {
        let file = usual(&graph(&[node("Identity", &["x"], &["y"])], &[], element));
        files.push((format!("type {element}"), file));
    }
    files
}

/// Versions and operators that do not exist.
fn wrong_versions() -> Vec<(String, Vec<u8>)> {
    let sound = graph(&[node("Identity", &["x"], &["y"])], &[], FLOAT);
    let mut files = Vec::new();
    for version in [0, -1, 999, 1 << 40, i64::MAX] {
        files.push((
            format!("opset {version}"),
            model(8, &sound, &[("", version)]),
        ));
    }
    for version in [99, 1 << 40, i64::MAX] {
        files.push((format!("ir {version}"), model(version, &sound, &[("", 14)])));
    }
    files.push(("no opset".to_owned(), model(8, &sound, &[])));
    for operator in [
        "Exec",
        "System",
        "PyOp",
        "Open",
        "",
        "identity",
        "Identity\u{0}",
        "../Identity",
    ] {
        let file = usual(&graph(&[node(operator, &["x"], &["y"])], &[], FLOAT));
        files.push((format!("operator {operator:?}"), file));
    }
    for domain in ["com.example", "ai.onnx.contrib", "/tmp/evil.so"] {
        let mut foreign = node("Custom", &["x"], &["y"]);
        foreign.extend(text(7, domain));
        let file = model(8, &graph(&[foreign], &[], FLOAT), &[("", 14), (domain, 1)]);
        files.push((format!("domain {domain:?}"), file));
    }
    files
}

/// Nodes that need what they make.
fn cycles() -> Vec<(String, Vec<u8>)> {
    let ring = |length: usize| {
        let name = |at: usize| format!("v{}", at % length);
        let mut nodes: Vec<Vec<u8>> = (0..length)
            .map(|at| node("Add", &["x", &name(at)], &[&name(at + 1)]))
            .collect();
        nodes.push(node("Identity", &["v0"], &["y"]));
        (
            format!("a ring of {length}"),
            usual(&graph(&nodes, &[], FLOAT)),
        )
    };
    [1, 2, 3, 5, 10, 50, 100, 1000]
        .into_iter()
        .map(ring)
        .collect()
}

/// Names that nothing or too much answers to.
fn wrong_names() -> Vec<(String, Vec<u8>)> {
    let identity = |from: &str, to: &str| node("Identity", &[from], &[to]);
    let graphs = [
        ("an output nobody makes", vec![identity("x", "z")]),
        ("an input nobody gives", vec![identity("absent", "y")]),
        (
            "an output made twice",
            vec![identity("x", "y"), identity("x", "y")],
        ),
        (
            "an output that is the input",
            vec![identity("x", "x"), identity("x", "y")],
        ),
        ("no nodes", vec![]),
        (
            "a node without outputs",
            vec![node("Identity", &["x"], &[])],
        ),
        ("a node without inputs", vec![node("Identity", &[], &["y"])]),
        (
            "too many inputs",
            vec![node("Identity", &["x", "x", "x"], &["y"])],
        ),
        (
            "too many outputs",
            vec![node("Identity", &["x"], &["y", "z", "w"])],
        ),
    ];
    graphs
        .into_iter()
        .map(|(what, nodes)| (what.to_owned(), usual(&graph(&nodes, &[], FLOAT))))
        .collect()
}

fn something_else() -> Vec<(String, Vec<u8>)> {
    let noise = |seed: u64, length: usize| {
        let mut state = seed;
        let next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next)
            .take(length)
            .collect::<Vec<u8>>()
    };
    let mut files = vec![
        ("empty".to_owned(), Vec::new()),
        ("zeros".to_owned(), vec![0; 4096]),
        ("ones".to_owned(), vec![0xff; 4096]),
        (
            "a web page".to_owned(),
            b"<html>404 Not Found</html>".to_vec(),
        ),
        (
            "a program".to_owned(),
            [b"\x7fELF".as_slice(), &[0; 512]].concat(),
        ),
        (
            "an archive".to_owned(),
            [b"PK\x03\x04".as_slice(), &[7; 512]].concat(),
        ),
        (
            "a pickle".to_owned(),
            b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.".to_vec(),
        ),
        (
            "another format of the runtime".to_owned(),
            [&[0x20, 0, 0, 0], b"ORTM".as_slice(), &[0xff; 256]].concat(),
        ),
    ];
    files.extend((1..=12).map(|seed| (format!("noise {seed}"), noise(seed, 1 << (seed + 3)))));
    files
}
