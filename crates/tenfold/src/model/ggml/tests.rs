//! Tests of reading GGUF files in ggml's words.

use super::*;

#[test]
fn names_are_translated_with_their_block() {
    let name =
        |architecture: &str, theirs: &str| Architecture::named(architecture).unwrap().our_name(theirs, 13);
    assert_eq!(
        name("llama", "blk.12.attn_q.weight").as_deref(),
        Some("model.layers.12.self_attn.q_proj.weight")
    );
    assert_eq!(name("llama", "output.weight").as_deref(), Some("lm_head.weight"));
    assert_eq!(name("bert", "token_embd_norm.bias").as_deref(), Some("bert.embeddings.LayerNorm.bias"));
    for (theirs, why) in [
        ("attn_q.weight", "a block's tensor without its block"),
        ("blk.0.ssm_in.weight", "another architecture's"),
        ("blk.13.attn_q.weight", "a block beyond the last"),
        ("blk.01.attn_q.weight", "another spelling of a block's number"),
        ("blk.0.attn_q.scale", "no weight and no bias"),
    ] {
        assert_eq!(name("llama", theirs), None, "{why}");
    }
    for architecture in ["llama", "gemma2", "phi3", "gpt2", "gptneox", "bert"] {
        let all: Vec<_> = tensors(architecture, 2).collect();
        assert!(all.iter().any(|(theirs, _)| theirs == "blk.1.ffn_up.bias"));
        assert!(all.iter().all(|(theirs, ours)| name(architecture, theirs).as_ref() == Some(ours)));
    }
}

fn column(rows: &[u8]) -> View {
    View::of(Dtype::U8, vec![rows.len(), 1], rows.to_vec())
}

#[test]
fn rows_of_two_heads_go_into_halves_and_back() {
    let (view, layout) = (column(&[0, 2, 1, 3, 4, 6, 5, 7]), Layout::Neighbours { heads: 2 });
    let halves = layout.restored(&view).unwrap();
    assert_eq!(*halves.bytes(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(layout.stored(&halves).unwrap().bytes(), view.bytes());
    assert!(Layout::Neighbours { heads: 3 }.restored(&view).is_none());
    assert!(Layout::Neighbours { heads: 8 }.restored(&view).is_none(), "heads of one row");
}

#[test]
fn queries_keys_and_values_go_head_by_head_and_back() {
    // Two heads of two rows: q0 q0 q1 q1, k0 k0 k1 k1, v0 v0 v1 v1.
    let (view, layout) = (column(&[0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23]), Layout::ByPart { heads: 2 });
    let by_head = layout.restored(&view).unwrap();
    assert_eq!(*by_head.bytes(), [0, 1, 10, 11, 20, 21, 2, 3, 12, 13, 22, 23]);
    assert_eq!(layout.stored(&by_head).unwrap().bytes(), view.bytes());
}

#[test]
fn only_the_tensors_that_llama_cpp_changes_are_changed() {
    for (architecture, tensor, layout) in [
        ("llama", "blk.0.attn_k.bias", Layout::Neighbours { heads: 2 }),
        ("smollm3", "blk.3.attn_q.weight", Layout::Neighbours { heads: 4 }),
        ("qwen2", "blk.0.attn_q.weight", Layout::Same),
        ("gemma", "blk.0.attn_norm.weight", Layout::PlusOne),
        ("gemma3", "blk.0.attn_q_norm.weight", Layout::PlusOne),
        ("gemma2", "output_norm.weight", Layout::PlusOne),
        ("gemma2", "blk.0.ffn_up.weight", Layout::Same),
        ("phi3", "blk.0.attn_qkv.weight", Layout::Same),
        ("gpt2", "blk.0.attn_qkv.weight", Layout::LinearMap),
        ("gpt2", "blk.0.attn_qkv.bias", Layout::Same),
        ("gpt2", "output.weight", Layout::Same),
        ("gptneox", "blk.0.attn_qkv.bias", Layout::ByPart { heads: 4 }),
    ] {
        assert_eq!(Layout::of(architecture, tensor, [4, 2]), layout, "{architecture} {tensor}");
    }
}
