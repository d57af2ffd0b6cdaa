//! Files that were made for a fixed number of images run on any number, each image on its own.

use super::assert_round_trips;
use super::proto::*;
use super::tiny::*;
use fgmf_net::{Session, Tensor, onnx};

fn images(n: usize) -> Tensor {
    let number = |i: usize| ((i * 29 + 7) % 41) as f32 / 20.0 - 1.0;
    Tensor::new(&[n, 2, 4, 6], (0..n * 48).map(number).collect())
}

/// The same nodes for a file that takes `n` images, 0 for any number.
fn made_for(n: i64, nodes: &[NodeProto], stored: &[TensorProto]) -> ModelProto {
    let mut m = model(nodes.to_vec(), stored.to_vec());
    m.graph.as_mut().unwrap().input = vec![value("x", &[n, 2, 4, 6])];
    m
}

fn read(m: &ModelProto) -> Session {
    let net = onnx::from_bytes(&bytes(m)).unwrap();
    assert_round_trips(&net, &images(3));
    Session::new(net)
}

/// The logits of three images are those of the same nodes with a free batch.
#[track_caller]
fn same(fixed: &ModelProto, free: &ModelProto) {
    let [a, b] = [fixed, free].map(|m| read(m).logits(&images(3)).unwrap().to_f32());
    assert_eq!(a, b);
    let alone = read(fixed).logits(&images(1)).unwrap().to_f32();
    assert_eq!(alone, a[..3]);
}

#[track_caller]
fn refused(m: &ModelProto, parts: &[&str]) {
    let error = onnx::from_bytes(&bytes(m)).unwrap_err().to_string();
    assert!(
        parts.iter().all(|p| error.contains(p)),
        "{parts:?} in {error}"
    );
}

fn transpose(line: &str, perm: &[i64]) -> NodeProto {
    with(line, vec![ints_attribute("perm", perm)])
}

fn head(from: &str) -> Vec<NodeProto> {
    vec![
        with(
            &format!("ReduceMean {from} axes -> pooled"),
            vec![int_attribute("keepdims", 0)],
        ),
        node("MatMul pooled head -> y"),
    ]
}

fn join(line: &str) -> NodeProto {
    with(line, vec![int_attribute("axis", 1)])
}

/// `[n, 2, 24]` tokens behind a class token, positions, and a mean over tokens.
#[test]
fn a_class_token_is_repeated() {
    let tokens = |first: &str, n: i64| {
        let mut nodes = vec![node("Reshape x s -> t")];
        if n == 0 {
            nodes.extend([
                node("Shape x -> sizes"),
                node("Gather sizes zero -> n"),
                node("Concat n rest -> target"),
            ]);
            nodes[3].attribute = vec![int_attribute("axis", 0)];
            nodes.push(node("Expand token target -> all"));
        } else if first == "expanded" {
            nodes.push(node("Expand token target -> all"));
        }
        let token = if n == 0 || first == "expanded" {
            "all"
        } else {
            "token"
        };
        nodes.extend([
            join(&format!("Concat {token} t -> joined")),
            node("Add joined p -> f"),
        ]);
        nodes.extend(head("f"));
        nodes
    };
    let stored = |n: i64| {
        let token = weight("token", &[if n > 1 { n } else { 1 }, 1, 24]);
        vec![
            ints("s", &[n, 2, 24]),
            ints("zero", &[0]),
            ints("rest", &[1, 24]),
            ints("axes", &[1]),
            ints("target", &[n.max(1), 1, 24]),
            token,
            weight("p", &[1, 3, 24]),
            weight("head", &[24, 3]),
        ]
    };
    let free_stored: Vec<TensorProto> = stored(0)
        .into_iter()
        .filter(|t| t.name != "target")
        .collect();
    let free = made_for(0, &tokens("", 0), &free_stored);
    for first in ["stored", "expanded"] {
        same(&made_for(1, &tokens(first, 1), &stored(1)), &free);
    }
    // For four images, the token is there four times, and has to be the same each time.
    let mut four = stored(4);
    let at = four.iter().position(|t| t.name == "token").unwrap();
    refused(
        &made_for(4, &tokens("stored", 4), &four),
        &["Concat", "`token`", "4 images"],
    );
    let once = weight("token", &[1, 1, 24]).float_data;
    four[at].float_data = once.iter().copied().cycle().take(96).collect();
    same(&made_for(4, &tokens("stored", 4), &four), &free);
    four[at] = weight("token", &[1, 1, 24]);
    same(&made_for(4, &tokens("expanded", 4), &four), &free);
}

/// Windows of an image become the batch of an attention, and images again, as in Swin.
#[test]
fn windows_take_the_batch_along() {
    let cut = |n: i64| {
        let mut nodes = vec![
            node("Reshape x s1 -> cut"),
            transpose("Transpose cut -> windows", &[0, 2, 4, 3, 5, 1]),
            node("Reshape windows s2 -> tokens"),
            node("MatMul tokens w -> scaled"),
            node("Add scaled mask -> masked"),
            with("Softmax masked -> soft", vec![int_attribute("axis", 1)]),
            node("Reshape soft s3 -> apart"),
            transpose("Transpose apart -> back", &[0, 5, 1, 3, 2, 4]),
            node("Reshape back s4 -> f"),
        ];
        if n == 0 {
            nodes[4] = node("Reshape scaled s5 -> split");
            nodes.insert(5, node("Add split maskfive -> five"));
            nodes.insert(6, node("Reshape five s2 -> masked"));
        }
        nodes.extend(head("f"));
        nodes
    };
    let stored = |n: i64| {
        let any = if n == 0 { -1 } else { n };
        let mut mask = weight("mask", &[4, 6, 2]);
        if n > 1 {
            let once = mask.float_data.clone();
            mask.dims[0] = 4 * n;
            mask.float_data = once.iter().copied().cycle().take(48 * n as usize).collect();
        }
        let mut all = vec![
            ints("s1", &[any, 2, 2, 2, 2, 3]),
            ints("s2", &[if n == 0 { -1 } else { 4 * n }, 6, 2]),
            ints("s3", &[any, 2, 2, 2, 3, 2]),
            ints("s4", &[any, 2, 4, 6]),
            ints("axes", &[2, 3]),
            weight("w", &[2, 2]),
            weight("head", &[2, 3]),
        ];
        if n == 0 {
            let mask = weight("mask", &[4, 6, 2]).float_data;
            all.extend([
                ints("s5", &[-1, 4, 6, 2]),
                floats("maskfive", &[1, 4, 6, 2], &mask),
            ]);
        } else {
            all.push(mask);
        }
        all
    };
    let free = made_for(0, &cut(0), &stored(0));
    for n in [1, 3] {
        same(&made_for(n, &cut(n), &stored(n)), &free);
    }
}

/// Tokens first, the batch second, and an image that is taken out of its batch.
#[test]
fn the_batch_is_found_behind_other_axes() {
    let nodes = |out: NodeProto| {
        let mut nodes = vec![
            node("Reshape x s -> t"),
            transpose("Transpose t -> first", &[1, 0, 2]),
            node("Reshape first s2 -> heads"),
            transpose("Transpose heads -> order", &[1, 0, 2]),
            node("MatMul order w -> mixed"),
            transpose("Transpose mixed -> again", &[1, 0, 2]),
            node("Reshape again s3 -> f0"),
            transpose("Transpose f0 -> f1", &[1, 0, 2]),
            out,
        ];
        nodes.extend(head("f"));
        nodes
    };
    let stored = |n: i64| {
        let heads = if n == 0 { -1 } else { 3 * n };
        vec![
            ints("s", &[if n == 0 { -1 } else { n }, 6, 8]),
            // Heads of different images follow each other, tokens do not.
            ints("s2", &[6, heads, 8 / 4]),
            ints("s3", &[6, if n == 0 { -1 } else { n }, 8]),
            ints("axes", &[1]),
            ints("zero", &[0]),
            ints("all", &[1, 6, 8]),
            weight("w", &[2, 2]),
            weight("head", &[8, 3]),
        ]
    };
    let fixed = |n: i64| {
        let mut all = stored(n);
        all[1] = ints("s2", &[6, if n == 0 { -1 } else { 4 * n }, 2]);
        all
    };
    let plain = nodes(node("Relu f1 -> f"));
    let free = made_for(0, &plain, &fixed(0));
    for n in [1, 2] {
        same(&made_for(n, &plain, &fixed(n)), &free);
    }
    // The only image, by position, and put back by a shape.
    let mut taken = nodes(node("Relu f1 -> f2"));
    taken.splice(
        9..9,
        [node("Gather f2 zero -> f3"), node("Reshape f3 all -> f")],
    );
    same(&made_for(1, &taken, &fixed(1)), &free);
    let squeezed = with("Squeeze f2 zero -> f3", vec![]);
    taken[9] = squeezed;
    same(&made_for(1, &taken, &fixed(1)), &free);
}

#[test]
fn what_mixes_images_is_refused_by_name() {
    // A free batch laid along another axis than the images.
    let nodes = [
        node("Reshape x s -> t"),
        with("ReduceMean t axes -> f", vec![int_attribute("keepdims", 0)]),
        node("Reshape f s2 -> g"),
        node("MatMul g head -> y"),
    ];
    let stored = [
        ints("s", &[24, -1, 2]),
        ints("axes", &[0]),
        ints("s2", &[-1, 2]),
        weight("head", &[2, 3]),
    ];
    refused(
        &made_for(0, &nodes, &stored),
        &["Reshape", "`t`", "rest of its batch"],
    );
    // Made for one image, an axis without a place for the batch.
    let stored = [ints("s", &[24, 2]), weight("head", &[2, 3])];
    let nodes = [
        node("Reshape x s -> t"),
        with("Softmax t -> f", vec![int_attribute("axis", 0)]),
        node("MatMul f head -> y"),
    ];
    refused(
        &made_for(1, &nodes, &stored),
        &["Softmax", "`f`", "batch axis"],
    );
}
